"""Playing by hand and replaying: what a person sees, and what is written."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

import skillrl.envs.alfworld  # noqa: F401  (registered before registries are copied)
from skillrl.agent.agent import make_agent
from skillrl.agent.prompt import HistoryStep
from skillrl.cli import main
from skillrl.config.presets import resolve, resolve_path
from skillrl.envs import make_suite, registered
from skillrl.envs.replay import actions_of
from skillrl.models.tokenizer import Tokenizer
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import save_bank
from skillrl.types import Skill

STEPS = Path(__file__).resolve().parents[1] / "envs" / "check" / "steps.py"


@pytest.fixture
def sit(monkeypatch, tmp_path, capsys):
    """Plays with piped lines; gives status and what was printed."""
    monkeypatch.chdir(tmp_path)

    def play(lines: str, *flags: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        own = ["--env=steps", f"--set=env.module={STEPS}"] if "--env=alfworld" not in flags else []
        status = main.main(["play", *own, *flags])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    with registered():
        yield play


def test_a_whole_episode_by_number_and_by_word(sit):
    status, out = sit("1\ngo up\n3\n", "--task=train/2")
    assert status == 0
    assert out == (
        "steps (stairs): train/2, Low\n"
        "You climb.\n"
        "Task: ring on stair 2\n"
        "Type an action or its number; :help lists the commands.\n"
        "\nObservation 1: You stand on stair 0.\n  1  go up\n  2  ring\n"
        "[1/25] > 1\n"
        "\nObservation 2: You stand on stair 1.\n  1  go up\n  2  go down\n  3  ring\n"
        "[2/25] > go up\n"
        "\nObservation 3: You stand on stair 2.\n  1  go up\n  2  go down\n  3  ring\n"
        "[3/25] > 3\n"
        "\nThe end: You stand on stair 2.\n"
        "\nWon after 3 of at most 25 steps; score 1, reward 1.\n"
    )
    assert list(Path().iterdir()) == []


def test_the_first_task_of_a_split_and_the_end_of_the_input(sit):
    status, out = sit("", "--split=valid_seen")
    assert status == 0
    assert "valid_seen/6, High" in out
    assert out.endswith("Left after 0 of at most 25 steps; score 0, reward 0.\n")


def test_an_episode_that_runs_out_of_steps_is_not_won(sit):
    _, out = sit("go up\n" * 9, "--set=env.max_steps=3")
    assert out.endswith("Not won after 3 of at most 3 steps; score 0, reward 0.\n")


def test_what_an_environment_says_reaches_no_terminal_raw(sit, tmp_path):
    """Neither observations, actions, goals nor thoughts; nor what a person typed into a pipe."""
    wild = "\\x1b]0;owned\\x07\\r\\u202e"
    source = STEPS.read_text().replace("You stand", f"{wild}You stand")
    source = source.replace("go up", f"go{wild} up").replace("You climb.", wild)
    source = source.replace("ring on stair", f"ring{wild} on stair")
    (tmp_path / "wild.py").write_text(source.replace('Move("up"', f'Move("up{wild}"'))
    _, out = sit(":expert\n1\n:prompt\n\x1b[2J\n:quit\n", f"--set=env.module={tmp_path}/wild.py")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out)
    shown = "\\x1b]0;owned\\x07\\x0d\\u202e"
    for text in (f"{shown}You stand", f"go{shown} up", f"ring{shown} on", f"up{shown}", "\\x1b[2J"):
        assert text in out


ANSWERS = {
    "return StepResult(": "return dict(",
    "text = f": "text = 5 or f",
    "score = 1.0 if won else 0.0": "score = float('nan')",
    "self.steps += 1": "raise KeyError('lost\x1b[2J')",
}


@pytest.mark.parametrize("old", sorted(ANSWERS))
def test_an_environment_that_misbehaves_is_named_in_one_paragraph(sit, tmp_path, old, capsys):
    odd = tmp_path / "odd.py"
    odd.write_text(STEPS.read_text().replace(old, ANSWERS[old]))
    status, out = sit("go up\n", f"--set=env.module={odd}")
    said = out.splitlines()[-1]
    assert status == 2
    assert said.startswith("skillrl play: error: steps: step 1 ('go up')")
    assert "\x1b" not in out
    Path("said.json").write_text('["go up"]')
    flags = ["--env=steps", f"--set=env.module={odd}", "--actions=said.json", "--output=o.json"]
    assert main.main(["replay", *flags, "--task=train/1"]) == 2
    assert "error: steps: step 1 ('go up')" in capsys.readouterr().err


def test_commands_cost_no_step(sit):
    _, out = sit(":help\n:expert\n:dance\n\n7\n2 x\n:skills\n:again\n:quit\n", "--task=train/1")
    assert ":prompt   shows" in out
    assert "go up   (up)" in out
    assert "There is no :dance." in out
    assert "There is no action 7; they go from 1 to 2." in out
    assert "Type 2 alone" in out
    assert "--skill_bank" in out
    assert out.count("Task: ring on stair 1") == 2
    assert "Left after 0 of" in out


def test_what_is_not_admissible_is_played_and_said(sit):
    _, out = sit("fly\n:quit\n")
    assert "(not an admissible action: said by an agent, it counts as invalid)" in out
    assert "Observation 2: What?" in out


def test_the_expert_is_asked_once_per_step(sit):
    _, out = sit(":expert\n1\n1\n:expert\n:expert\n:quit\n", "--task=train/2")
    assert out.count("ring   (there)") == 2


@pytest.mark.parametrize("piped", [["go to cabinet 1", "dance"], []])
def test_the_prompt_is_the_agents(sit, piped):
    """As ids of the policy's tokenizer, rendered by the agent of a run."""
    flags = ["--env=alfworld", "--task=valid_unseen/0000", "--set=agent.history_length=2"]
    _, out = sit("\n".join([*piped, ":prompt", ":quit"]), *flags)
    config = resolve("alfworld", overrides=["agent.history_length=2"]).config
    suite = make_suite("alfworld", config.env)
    tokenizer = Tokenizer.load(resolve_path(config.model.policy_path))
    agent = make_agent(config, suite, tokenizer)
    task = suite.tasks("valid_unseen")[0]
    environment, past = suite.make(), []
    now = environment.reset(task)
    for action in piped:
        past.append(HistoryStep(now.text, action, action not in now.admissible))
        now = environment.step(action).observation
    prefix, _, _ = agent.prefix(task, ())
    suffix, _ = agent.suffix(now, past, prefix_length=len(prefix))
    assert tokenizer.decode([*prefix, *suffix], keep_special=True) in out
    assert f"({len(prefix)} tokens of prefix, {len(suffix)} of this step)" in out


def test_the_prompt_without_a_tokenizer_says_so(sit):
    _, out = sit(":prompt\n", "--set=model.policy_path=")
    assert "user: Task: ring on stair 1.\n" in out
    assert "lengths are estimated" in out


def test_skills_are_those_that_are_retrieved(sit, tmp_path):
    low = Skill(
        id="low_001",
        title="Count",
        principle="Count the stairs.",
        when_to_apply="you climb",
        category="low",
    )
    high = Skill(id="hig_001", title="Rest", principle="Rest.", category="high")
    save_bank(SkillBank(skills=(low, high)), tmp_path / "bank.json")
    flags = ["--skill_bank=bank.json", "--set=skill_retrieval.similarity_threshold=-1"]
    _, out = sit(":skills\n:prompt\n", *flags, "--task=train/1")
    assert "low_001 (low, skill) Count\n      Count the stairs. When: you climb" in out
    assert "- Count: Count the stairs. When: you climb." in out
    assert "Rest" not in out


def test_a_record_can_be_replayed(sit, capsys):
    sit("1\nfly\n3\n", "--task=train/1", "--output=hand.json")
    entries = json.loads(Path("hand.json").read_text())
    assert [entry["action"] for entry in entries] == [None, "go up", "fly", "ring"]
    assert entries[-1] == {
        "action": "ring",
        "observation": "You stand on stair 1.",
        "admissible": ["go up", "go down", "ring"],
        "reward": 1.0,
        "score": 1.0,
        "done": True,
        "won": True,
    }
    common = ["--env=steps", f"--set=env.module={STEPS}", "--output=again.json"]
    replay = ["replay", *common, "--actions=hand.json"]
    assert main.main([*replay, "--task=train/1"]) == 0
    assert "3 actions played, won; 4 entries" in capsys.readouterr().out
    assert Path("again.json").read_text() == Path("hand.json").read_text()
    Path("hand.json").write_text('["go up", "ring", "ring"]')
    assert main.main([*replay, "--task=train/1"]) == 2
    assert "was over after 2 actions (won), but there are 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["play", "--task=train/0"], "the nearest of 9 is train/"),
        (["play", "--split=test"], "--split=test: there are train, valid_seen, valid_unseen"),
        (["play", "--split=train", "--task=valid_seen/6"], "no task of this id in train"),
        (["play", "--skill_bank=none.json"], "none.json"),
        (["replay", "--task=train/1"], "--actions, --output"),
        (["replay", "--actions=a", "--output=b"], "--game (or --task)"),
        (["replay", "--task=a", "--game=b", "--actions=c", "--output=d"], "not both"),
        (["replay", "--game=b", "--actions=c", "--output=d"], "--game is for alfworld only"),
        (["check", "--episodes=0"], "episodes"),
        (["check", "--set=env.module=none.py"], "there is no file"),
    ],
)
def test_slips_are_one_paragraph_and_status_2(sit, capsys, flags, words):
    command, *flags = flags
    assert main.main([command, "--env=steps", f"--set=env.module={STEPS}", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_lost_environment_is_one_paragraph_and_what_was_played_is_kept(sit, tmp_path):
    lost = 'raise __import__("skillrl.errors").errors.EnvironmentLost("given up")'
    source = STEPS.read_text().replace('raise RuntimeError("it is over")', lost)
    source = source.replace("if self.done:", 'if action == "cut":')
    (tmp_path / "losing.py").write_text(source)
    own = ["--set=env.module=losing.py", "--output=hand.json"]
    status, out = sit("1\ncut\n", *own)
    assert status == 2
    assert out.endswith("skillrl play: error: given up\n")
    assert [e["action"] for e in json.loads(Path("hand.json").read_text())] == [None, "go up"]


def test_check_ends_with_a_table_and_a_status(sit, capsys, tmp_path):
    common = ["check", "--env=steps", "--episodes=1"]
    with registered():
        assert main.main([*common, f"--set=env.module={STEPS}"]) == 0
    out = capsys.readouterr().out
    assert "  manifests       ok        train 3, valid_seen 3, valid_unseen 3\n" in out
    assert out.endswith("steps keeps the contract.\n")
    broken = STEPS.read_text().replace("score = 1.0 if won", "score = 2.0 if True")
    (tmp_path / "broken.py").write_text(broken)
    assert main.main([*common, "--set=env.module=broken.py"]) == 1
    out = capsys.readouterr().out
    assert "  answers         3 FOUND " in out
    assert (
        "1. answers, task train/1 (and 2 more like it)\n     expected: score lies between 0 and 1\n"
        in out
    )
    assert out.endswith("steps breaks the contract: 3 findings.\n")


def test_alfworld_keeps_the_contract(capsys):
    assert main.main(["check", "--env=alfworld", "--episodes=1"]) == 0
    assert "alfworld keeps the contract." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], []),
        (["a"], ["a"]),
        ([{"action": None}, {"action": "b"}], ["b"]),
        ([{"observation": "x"}], None),
        ([{"action": 3}], None),
        (["a", {"action": "b"}], None),
        ({"actions": []}, None),
    ],
)
def test_actions_of_a_file(value, expected):
    assert actions_of(value) == expected
