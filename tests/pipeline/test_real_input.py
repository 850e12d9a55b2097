"""A checkpoint that transformers wrote and official-format games, through real commands."""

from __future__ import annotations

import shutil

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from skillrl.io.files import read_json  # noqa: E402
from skillrl.models.tokenizer import Tokenizer  # noqa: E402
from skillrl.rollouts import store  # noqa: E402
from tests.pipeline import tiny  # noqa: E402

pytestmark = pytest.mark.torch

GAMES = tiny.ROOT / "tests" / "fixtures" / "alfworld"
SETTINGS = {
    "env": {"data_dir": str(GAMES), "max_steps": 3},
    "collect": {"episodes": 4, "expert_episodes": 0},  # its goals are free sentences
    "rl": {"training_epochs": 1, "warmup_iterations": 0, "max_prompt_length": 2048},
    "rollout": {"suffix_buckets": [1408]},  # large rooms: many admissible actions
    "evolution": {"validation_interval": 1},
}


@pytest.fixture(scope="module")
def checkpoint(policy, tmp_path_factory):
    """A tiny random Qwen2 as `save_pretrained` leaves it, with the tokenizer beside it."""
    directory = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=Tokenizer.load(policy).vocab_size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=False,
        )
    )
    model.save_pretrained(directory, max_shard_size="40KB")
    assert len(list(directory.glob("*.safetensors"))) > 1
    for file in policy.glob("*token*.json"):
        shutil.copyfile(file, directory / file.name)
    return directory


@pytest.fixture(scope="module")
def trained(compiled, checkpoint, flags, tmp_path_factory):
    """One iteration of RL from the checkpoint, with a bank distilled from the same games."""
    path = tmp_path_factory.mktemp("real") / "run"
    arguments = flags(path, model={"policy_path": str(checkpoint)}, **SETTINGS)
    for command in ("collect", "distill", "rl"):
        status, out, err = tiny.run(command, *arguments)
        assert status == 0, err
        real = out.splitlines()[0]
        assert real.startswith("real:")
        assert f"games of {GAMES}" in real
        assert str(checkpoint) in real
    return path


def test_the_checkpoint_is_evaluated_on_the_games(trained, checkpoint, tmp_path):
    output = tmp_path / "result.json"
    arguments = [f"--workdir={trained}", "--checkpoint=base", f"--output={output}"]
    status, _, err = tiny.run("evaluate", *arguments)
    assert status == 0, err
    result = read_json(output)["eval"]["valid_unseen"]
    assert (result["n"], result["errored"]) == (3, 0)
    played = list(store.read(output.with_suffix(".valid_unseen.jsonl")))
    assert [t.task.id for t in played] == sorted(t.task.id for t in played)
    for trajectory in played:
        assert (GAMES / trajectory.task.id / "game.tw-pddl").is_file()
        assert any(action.startswith("go to ") for action in trajectory.steps[0].admissible)


def test_rl_trained_on_the_games(trained):
    (row,) = [r for r in tiny.rows(trained / "metrics.jsonl") if r["phase"] == "rl"]
    assert row["episodes"] == 4
    assert row["errored"] == 0
    assert row["sampler_gap_fresh"] < 1e-4
    assert row["grad_norm"] > 0
    simulated = " ".join(read_json(trained / "summary.json")["simulated"])
    assert "environment" not in simulated
    assert "policy" not in simulated


def test_what_was_trained_is_a_checkpoint_for_transformers(trained, checkpoint):
    before = transformers.Qwen2ForCausalLM.from_pretrained(checkpoint)
    after = transformers.Qwen2ForCausalLM.from_pretrained(trained / "policy")
    pairs = zip(before.state_dict().items(), after.state_dict().items(), strict=True)
    moved = []
    for (name, old), (other, new) in pairs:
        assert (name, old.shape) == (other, new.shape)
        moved.append(float((old - new).abs().max()))
    assert 0 < max(moved) < 0.1
    # AutoTokenizer insists on Qwen2's own splitting of words, which this tokenizer lacks.
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(trained / "policy")
    text = "You are in the middle of a room."
    assert tokenizer.encode(text) == Tokenizer.load(trained / "policy").encode(text)
