"""The commands: flags, refusals, what is printed, and what is not imported."""

from __future__ import annotations

import inspect
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skillrl.cli import main
from skillrl.cli.commands import COMMANDS
from skillrl.config import presets, strict
from skillrl.config.settings import Config
from skillrl.envs.alfworld.manifest import load_manifest
from skillrl.errors import NoSpace, SkillRLError
from skillrl.io.atomic import critical_section
from skillrl.phases import prerequisites
from skillrl.phases.run_directory import RunDirectory, atomic_write
from skillrl.phases.simulated_parts import ALWAYS_REAL
from skillrl.rollouts import store as trajectory_store
from skillrl.skills.bank import SkillBank
from skillrl.skills.proposals import Refinement
from skillrl.skills.store import load_bank, save_bank
from skillrl.types import Provenance, Skill
from tests.skills.builders import WIN_CLEAN, played

ROOT = Path(__file__).resolve().parents[2]
LAUNCHERS = {
    "inspect": "inspect_bank",
    "convert": "convert_bank",
    "check": "check_env",
    "serve": "serve_env",
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list:
    """What the commands ask of the pipeline, in place of running it.

    A call that the function of the pipeline would not take is a TypeError here, too.
    """
    from skillrl import pipeline

    made: list = []

    def recorder(name: str):
        signature = inspect.signature(getattr(pipeline, name))

        def record(*arguments, **named):
            signature.bind(*arguments, **named)
            config, workdir = arguments
            made.append((name, config, workdir, named))

        return record

    for name in ("train", "collect", "distill", "sft", "rl", "evaluate"):
        monkeypatch.setattr(pipeline, name, recorder(name))
    return made


def bank_file(path: Path = Path("b.json")) -> Path:
    """A skill bank on disk."""
    save_bank(
        SkillBank(skills=(Skill(id="gen_001", title="Look around", principle="Look first."),)), path
    )
    return path


def earlier(*, trajectories: bool = True) -> str:
    """A run with the settings of `here` that holds trajectories; the flag that names it."""
    config = presets.resolve("toy", overrides=["model.policy_path=policy"]).config
    with RunDirectory("w", config) as run:
        if trajectories:
            atomic_write(run.file("collect", "trajectories.jsonl"), "")
    return "--workdir=w"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_env: str) -> list[str]:
    """Flags of a run that needs nothing; the current directory is empty."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy").symlink_to(presets.resolve_path("asset:tiny_qwen2_alfworld"))
    return [f"--env={toy_env}", "--set", "model.policy_path=policy"]


def test_train_is_called_with_the_resolved_config(here, calls, capsys):
    assert main.main(["train", *here, "--seed=3", "--set=rl.training_epochs=2"]) == 0
    ((name, config, workdir, named),) = calls
    assert (name, workdir, named) == ("train", Path("runs/toy-seed3"), {})
    assert (config.seed, config.rl.training_epochs, config.env.name) == (3, 2, "toy")
    assert config.model.teacher == "simulated"  # --mock is the default
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"real:      policy (policy); {ALWAYS_REAL}"
    assert out.splitlines()[1].startswith("simulated: environment (toy, toy tasks); teacher")


def test_nomock_is_the_papers_run(here, calls):
    assert main.main(["train", *here, "--nomock"]) == 0
    assert calls[0][1].rl == Config().rl
    assert main.main(["train", *here, "--no-mock"]) == 0
    assert calls[1][1] == calls[0][1]


@pytest.mark.parametrize("spelling", ["--skill-bank=b.json", "--skill_bank=b.json"])
def test_dashes_and_underscores(here, calls, spelling):
    bank_file()
    assert main.main(["sft", *here, spelling, "--num-examples", "7", earlier()]) == 0
    assert calls[0][3] == {
        "skill_bank": "b.json",
        "trajectories": None,
        "num_examples": 7,
    }


def test_dashes_of_values_stay(here, calls):
    bank_file(Path("my-bank.json"))
    assert main.main(["rl", *here, "--skill-bank", "my-bank.json", "--workdir=a-b"]) == 0
    assert calls[0][3]["skill_bank"] == "my-bank.json"
    assert calls[0][2] == Path("a-b")


def test_phase_flags_that_are_not_given_are_none(here, calls):
    for name in ("collect", "distill", "evaluate"):
        assert main.main([name, *here, earlier()]) == 0
    assert calls[0][3] == {"episodes": None, "output": None}
    assert calls[1][3] == {"trajectories": None, "output": None}
    assert calls[2][3] == {
        "checkpoint": "rl",
        "split": None,
        "bank": None,
        "concurrency": None,
        "repeats": None,
        "temperature": None,
        "output": None,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--sede=3"], ["sede", "seed"]),
        (["train", "--seed=three"], ["--seed=three"]),
        (["train", "--seed=-1"], ["seed is -1"]),
        (["collect", "--episodes=0"], ["episodes"]),
        (["evaluate", "--temperature=-1"], ["temperature"]),
        (["train", "--set", "rl.group_sise=3"], ["rl.group_sise", "rl.group_size?"]),
        (["train", "--set", "rl.group_size=-2"], ["rl.group_size is -2", "at least 1"]),
        (["train", "--set", "rl.group_size"], ["section.field=value"]),
        (["train", "--config=none.json"], ["none.json", "no such file"]),
        (["train", "alfworld"], ["alfworld", "too many"]),
        (["train", "--env=nowhere"], ["--env=nowhere", "toy"]),
        (["train", "--env="], ["--env: env.name", "must not be empty"]),
        (["train", "--set=model.policy_path=nope"], ["nope", "no such directory"]),
        (["train", "--set=model.teacher=o4"], ["teacher='o4'", "simulated"]),
        (["sft", "--set=model.embedder=bert"], ["embedder='bert'", "hashing"]),
        (
            ["collect", "--set=skill_retrieval.order=random"],
            ["skill_retrieval.order", "'random'", "paper, similar, stored, useful"],
        ),
        (["rl", "--set=rl.advantage=gripo"], ["gripo", "grpo"]),
        (["rl", "--set=rl.kl_estimator=k9"], ["k9", "k3"]),
        (["rl", "--set=model.policy=openai"], ["model.policy=openai", "model.policy=local"]),
        (
            ["train", "--env=alfworld", '--set=evaluation.final_splits=["valid_sen"]'],
            ["evaluation.final_splits", "'valid_sen'", "train, valid_seen, valid_unseen", "--set"],
        ),
        (["collect", "--env=alfworld", '--set=evaluation.splits=["x"]'], ["evaluation.splits"]),
        (["evaluate", "--env=alfworld", "--split=x"], ["--split", "'x'", "--split=valid_unseen"]),
        (
            ["train", "--set=rl.training_epochs=9", "--set=rl.warmup_iterations=9"],
            ["rl.warmup_iterations is 9", "at most 8"],
        ),
        (["inspect"], ["PATH"]),
        (["inspect", "none.json"], ["none.json"]),
        (["inspect", "policy"], ["no skill bank"]),
        (["inspect", "policy", "--from=1"], ["policy", "banks/*.json", "--from and --to"]),
        (["inspect", "b.json", "--why=gen_001", "--to=2"], ["--why", "leave --from and --to out"]),
        (["convert", "b.json"], ["--output=PATH"]),
        (["convert", "none.json", "--output=x"], ["none.json", "no such file"]),
        (["convert", "policy", "--output=x"], ["no skill bank"]),
        (["replay", "--game=g"], ["--actions, --output"]),
        (["dance"], ["dance", "train"]),
    ],
)
def test_bad_input_is_one_paragraph_and_status_2(here, capsys, arguments, words):
    common = [] if arguments[0] in ("inspect", "convert", "replay", "dance") else here
    assert main.main([arguments[0], *common, *arguments[1:]]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("skillrl")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(("kind", "status"), [(SkillRLError, 2), (NoSpace, 74)])
def test_errors_of_the_pipeline_are_one_paragraph(here, calls, capsys, monkeypatch, kind, status):
    def fail(*arguments, **named):
        raise kind("the disk\n   is full; free some")

    monkeypatch.setattr(sys.modules["skillrl.pipeline"], "train", fail)
    assert main.main(["train", *here]) == status
    assert capsys.readouterr().err == "skillrl train: error: the disk is full; free some\n"


def test_bugs_keep_their_traceback(here, calls, monkeypatch):
    def bug(*arguments, **named):
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["skillrl.pipeline"], "train", bug)
    with pytest.raises(ZeroDivisionError):
        main.main(["train", *here])


def test_ctrl_c_says_how_to_continue_without_the_key(here, calls, capsys, monkeypatch):
    def stop(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["skillrl.pipeline"], "train", stop)
    secret = "--set=model.teacher_api_key=sk-secret"
    assert main.main(["train", *here, "--workdir=my run", secret]) == 130
    error = capsys.readouterr().err
    assert "skillrl train --env=toy --set model.policy_path=policy '--workdir=my run'" in error
    assert "sk-secret" not in error


def test_sigterm_ends_as_ctrl_c_does_with_its_own_status(here, calls, capsys, monkeypatch):
    done = []

    def stop(*arguments, **named):
        with critical_section():
            signal.raise_signal(signal.SIGTERM)
            done.append("the write in hand")
        done.append("never")

    monkeypatch.setattr(sys.modules["skillrl.pipeline"], "train", stop)
    assert main.main(["train", *here]) == 143
    assert done == ["the write in hand"]
    error = capsys.readouterr().err
    assert "terminated; nothing is half written. The same command continues" in error
    assert "skillrl train --env=toy" in error
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # as it was


def test_an_ignored_sigterm_stays_ignored(here, calls, monkeypatch):
    monkeypatch.setattr(
        sys.modules["skillrl.pipeline"],
        "train",
        lambda *arguments, **named: signal.raise_signal(signal.SIGTERM),
    )
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert main.main(["train", *here]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "argument",
    [
        '--set=model={"teacher_api_key":"sk-secret"}',
        "--set=model.teacher_api_key = sk-secret",
        "--set=model.teacher_api_key=sk-a_key=sk-secret",
    ],
)
def test_ctrl_c_shows_no_key_however_it_was_written(argument):
    shown = main._without_key(argument)
    assert "sk-" not in shown
    assert shown.startswith("--set=model")


@pytest.mark.parametrize(
    "arguments",
    [
        ["model.teacher_api_key=sk-secret"],
        ["--set", "model.teacher_api_key", "sk-secret"],
        ["--model.teacher_api_key:sk-secret"],
        ["--teacher_api_key=sk-secret"],
        ["--set", '{"model": {"teacher_api_key": "sk-secret"}}'],
    ],
)
def test_misplaced_keys_are_not_shown(here, capsys, arguments):
    assert main.main(["train", *here, *arguments]) == 2
    assert "secret" not in capsys.readouterr().err


def test_dry_run_prints_and_leaves_nothing(here, calls, capsys):
    secret = "--set=model.teacher_api_key=sk-secret"
    assert (
        main.main(
            ["train", *here, "--dry-run", "--show_config", "--set=rl.training_epochs=7", secret]
        )
        == 0
    )
    out = capsys.readouterr().out
    body = out[out.index("{") : out.index("\n}\n") + 2]
    assert Config.from_dict(json.loads(body)).rl.training_epochs == 7
    assert "rl.training_epochs: --set" in out
    assert "model.teacher_api_key: --set" in out
    assert "rl: 7 iterations" in out
    assert "with the base policy and 36 of the expert" in out
    assert "sk-secret" not in out
    assert calls == []
    assert not Path("runs").exists()


def test_a_workdir_from_another_config_is_refused(here, calls, capsys):
    assert main.main(["train", *here, "--dry_run"]) == 0
    assert main.main(["train", *here, earlier(), "--seed=9"]) == 2
    assert "seed was 0, now 9" in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize("more", [[], ["--dry_run"]])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["distill"], ["no collected trajectories", "Run collect there first"]),
        (["distill", "--trajectories=x.jsonl"], ["--trajectories=x.jsonl", "no such file"]),
        (["sft"], ["no collected trajectories", "Run collect there first"]),
        (["rl"], ["no skill bank", "--skill_bank"]),
        (["rl", "--skill_bank=none.json"], ["none.json", "no such file"]),
        (["rl", "--set=model.policy_path="], ["no finished cold start", "model.policy_path=DIR"]),
    ],
)
def test_a_phase_without_its_predecessor_creates_nothing(here, capsys, arguments, words, more):
    assert main.main([arguments[0], *here, *arguments[1:], *more]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert not Path("runs").exists()


def test_the_plan_of_an_evaluation_is_what_it_plays(here, capsys):
    splits = [
        "--checkpoint=base",
        '--set=evaluation.splits=["valid_seen"]',
        '--set=evaluation.final_splits=["train"]',
    ]
    assert main.main(["evaluate", *here, "--dry_run", *splits]) == 0
    out = capsys.readouterr().out
    assert "evaluate: valid_seen, temperature 0, 1 x each task" in out
    flags = ["--split=valid_unseen", "--temperature=0.5", "--repeats=3"]
    more = "--set=evaluation.max_tasks=7"
    assert main.main(["evaluate", *here, "--dry_run", *splits, *flags, more]) == 0
    out = capsys.readouterr().out
    assert "evaluate: valid_unseen, temperature 0.5, 3 x the first 7 tasks" in out
    assert main.main(["train", *here, "--dry_run", *splits[1:]]) == 0
    assert "evaluate: train, temperature 0" in capsys.readouterr().out


def test_a_checkpoint_directory_is_the_policy_that_is_named(here, calls, capsys):
    Path("policy").rename("mine")
    here[-1] = "model.policy_path=asset:tiny_qwen2_alfworld"
    asked = ["evaluate", *here, "--checkpoint=mine", "--dry_run"]
    assert main.main(asked) == 0
    assert capsys.readouterr().out.startswith("real:      policy (mine); ")
    assert main.main([*asked, "--show_config"]) == 0
    assert "model.policy_path: --checkpoint" in capsys.readouterr().out
    assert main.main(["evaluate", *here, "--checkpoint=yours"]) == 2
    assert "neither base, sft or rl nor" in capsys.readouterr().err
    remote = "--set=model.policy=openai"
    assert main.main(["evaluate", *here, remote, "--checkpoint=mine"]) == 2
    assert "--checkpoint=mine: model.policy=openai" in capsys.readouterr().err
    assert main.main(["evaluate", *here, remote]) == 0
    assert len(calls) == 1


def test_a_split_without_games_is_refused_before_anything_is_played(here, capsys):
    for folder in sorted((ROOT / "tests/fixtures/alfworld").glob("look_at_obj*"))[:1]:
        shutil.copytree(folder, Path("games/train") / folder.name)
    arguments = ["--env=alfworld", "--set=env.data_dir=games", "--set=collect.expert_episodes=0"]
    assert main.main(["train", *here, *arguments]) == 2
    assert "'valid_unseen'; there are: train." in capsys.readouterr().err
    arguments += [f'--set=evaluation.{name}=["train"]' for name in ("splits", "final_splits")]
    assert main.main(["train", *here, *arguments, "--dry_run"]) == 0


def test_the_advice_of_a_refusal_can_be_followed_in_the_same_directory(here, calls):
    workdir = earlier(trajectories=False)
    assert main.main(["rl", *here, workdir, "--set=model.policy_path="]) == 2
    assert main.main(["rl", *here, workdir, f"--skill_bank={bank_file()}"]) == 0


def test_evaluate_takes_the_settings_of_the_run(here, calls):
    recorded = Config.from_dict({"seed": 9, "env": {"name": "toy"}, "rl": {"kl_coeff": 0.5}})
    RunDirectory(Path("w"), recorded).close()
    assert main.main(["evaluate", "--workdir=w", "--set=evaluation.repeats=3"]) == 0
    config = calls[0][1]
    assert (config.seed, config.rl.kl_coeff, config.evaluation.repeats) == (9, 0.5, 3)
    assert config.model.teacher == "openai"  # the mock preset stays out of it
    assert main.main(["evaluate", *here, "--workdir=w", "--mock"]) == 0
    assert calls[1][1].model.teacher == "simulated"


def test_replay_writes_every_answer(here, capsys):
    fixture_game = next((ROOT / "tests/fixtures/alfworld").glob("*/*/game.tw-pddl"))
    Path("in.json").write_text('["look", "help", "no such thing"]')
    arguments = [f"--game={fixture_game}", "--actions=in.json", "--output=out.json"]
    assert main.main(["replay", *arguments]) == 0
    entries = json.loads(Path("out.json").read_text())
    assert len(entries) == 4
    for entry in entries:
        assert set(entry) == {"observation", "admissible", "reward", "done", "won"}
    Path("in.json").write_text('{"actions": []}')
    assert main.main(["replay", *arguments]) == 2
    assert "JSON list" in capsys.readouterr().err


def test_replay_plays_a_generated_task_by_its_id(here, capsys):
    Path("in.json").write_text('["look"]')
    arguments = ["--actions=in.json", "--output=out.json"]
    assert main.main(["replay", "--game=valid_unseen/0007", *arguments]) == 0
    goal = load_manifest()["valid_unseen"][7]["goal"]
    assert f"Your task is to: {goal}." in json.loads(Path("out.json").read_text())[0]["observation"]
    assert main.main(["replay", "--game=valid_unseen/7", *arguments]) == 2
    assert "valid_unseen/0000 to valid_unseen/0119" in capsys.readouterr().err
    assert main.main(["replay", "--game=nowhere.tw-pddl", *arguments]) == 2
    assert "nowhere.tw-pddl" in capsys.readouterr().err


def test_tilde_is_the_home_directory(here, calls, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    bank_file(tmp_path / "home" / "b.json")
    assert main.main(["rl", *here, "--skill_bank=~/b.json"]) == 0
    assert calls[0][3]["skill_bank"] == str(tmp_path / "home" / "b.json")
    assert main.main(["distill", *here, "--trajectories=~/b.json", "--output=~/c.json"]) == 0
    assert calls[1][3]["output"] == str(tmp_path / "home" / "c.json")
    fixture_game = next((ROOT / "tests/fixtures/alfworld").glob("*/*/game.tw-pddl"))
    shutil.copyfile(fixture_game, tmp_path / "home" / "game.tw-pddl")
    Path("home/in.json").write_text('["look"]')
    arguments = ["--game=~/game.tw-pddl", "--actions=~/in.json", "--output=~/out.json"]
    assert main.main(["replay", *arguments]) == 0
    assert Path("home/out.json").is_file()
    split = tmp_path / "home" / "games" / fixture_game.parent.name
    shutil.copytree(fixture_game.parent, split)
    alone = ["--env=alfworld", "--set=env.data_dir=~/games", "--set=collect.expert_episodes=0"]
    assert main.main(["train", *here, *alone]) == 0


@pytest.mark.parametrize("flag", ["--workdir", "--config", "--set=model.policy_path"])
def test_the_home_of_nobody_is_a_missing_path(here, calls, flag):
    status = main.main(["train", *here, f"{flag}=~nobody-here/x"])
    assert status == (0 if flag == "--workdir" else 2)


def test_inspect_shows_a_file_or_the_newest_bank_of_a_run(tmp_path, capsys):
    first = SkillBank(
        skills=(Skill(id="gen_001", title="Look around", principle="Look before you go."),)
    )
    save_bank(first, tmp_path / "distill" / "bank.json")
    assert main.main(["inspect", str(tmp_path)]) == 0
    assert "Look around" in capsys.readouterr().out
    for version, title in ((2, "Older"), (10, "Newest")):
        bank = SkillBank(
            skills=(Skill(id="gen_001", title=title, principle="Look before you go."),)
        )
        save_bank(bank, tmp_path / "banks" / f"{version}.json")
    assert main.main(["inspect", str(tmp_path)]) == 0
    assert "Newest" in capsys.readouterr().out
    assert main.main(["inspect", str(tmp_path / "distill" / "bank.json")]) == 0
    assert "Look around" in capsys.readouterr().out


def run_with_two_banks(root: Path) -> Path:
    """A run directory with versions 1 and 2 of a bank, and the episode that the first came from."""
    episode = played(WIN_CLEAN, won=True)
    with RunDirectory(root, Config()) as run:
        trajectory_store.write(run.file("collect", "trajectories.jsonl"), [episode])
        made = Skill(
            title="Look", principle="Look first.", provenance=Provenance("o3", 0, (episode.id,))
        )
        first = SkillBank().add([made], reason="distilled")
        more = Refinement(target="gen_001", principle="Look twice.", reason="once is too few")
        for bank in (first, first.apply([more], step=5, policy_version=40)):
            save_bank(bank, run.file("banks", f"{bank.version}.json"))
    return run.path


def test_inspect_compares_versions_and_tells_a_life(tmp_path, capsys):
    run = str(run_with_two_banks(tmp_path / "run"))
    assert main.main(["inspect", run, "--from=1", "--to=2"]) == 0
    said = capsys.readouterr().out
    assert "version 1 to 2: 0 added, 1 refined" in said
    assert main.main(["inspect", run, "--from=1"]) == 0  # to the newest
    assert capsys.readouterr().out == said
    assert main.main(["inspect", run, "--to=2"]) == 0  # from the oldest
    assert capsys.readouterr().out == said
    assert main.main(["inspect", run, "--from=0"]) == 2
    assert "--from=0" in (error := capsys.readouterr().err)
    assert "has the versions 1, 2" in error
    assert main.main(["inspect", run, "--from=2", "--to=1"]) == 2
    assert "swap them" in capsys.readouterr().err
    assert main.main(["inspect", run, "--why=gen_001"]) == 0
    said = capsys.readouterr().out
    assert "proposed by o3, v1 step 0" in said
    assert "won in 7 steps" in said
    assert "v2 step 5 policy 40 refined\n        reason: once is too few" in said
    assert main.main(["inspect", run, "--why=gen_002"]) == 2
    assert "'gen_002'" in capsys.readouterr().err


def test_convert_writes_every_format_and_reads_it_again(tmp_path, capsys):
    run = run_with_two_banks(tmp_path / "run")
    words = []
    source = run
    for name, form in (("skills", "agent_skills"), ("r.json", "released"), ("b.json", "skillrl")):
        output = tmp_path / name
        command = ["convert", str(source), f"--output={output}", f"--format={form}"]
        assert main.main(command) == 0
        assert f"{output}: 1 skills of {source}" in capsys.readouterr().out or source == run
        assert main.main(command) == 2  # nothing is overwritten
        assert "something is there already" in capsys.readouterr().err
        words.append([(s.id, s.title, s.principle) for s in load_bank(output).skills])
        source = output
    assert words == [[("gen_001", "Look", "Look twice.")]] * 3
    assert main.main(["convert", str(source), "--output=x", "--format=yaml"]) == 2
    assert "'yaml'; there are: skillrl, released, agent_skills" in capsys.readouterr().err
    assert main.main(["inspect", str(tmp_path / "skills")]) == 0
    assert "gen_001  Look" in capsys.readouterr().out


def test_inspect_finds_what_distill_wrote_elsewhere(tmp_path, capsys):
    with RunDirectory(tmp_path / "run", Config()) as run:
        assert main.main(["inspect", str(run.path)]) == 2
        assert "has no skill bank yet" in capsys.readouterr().err
        prerequisites.remember(run, "distill", bank_file(tmp_path / "data" / "bank.json"))
    assert main.main(["inspect", str(run.path)]) == 0
    assert "Look around" in capsys.readouterr().out


def test_help_lists_every_flag_in_both_places(capsys):
    for name, command in COMMANDS.items():
        assert main.main([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert command.summary.split()[0] in text
        for flag in command.flags:
            assert f"{flag.name}" in text
    assert main.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in overview


def run_python(*arguments: str) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=60
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_launchers_are_the_same_commands(name):
    script = ROOT / "launchers" / f"{LAUNCHERS.get(name, name)}.py"
    done = run_python(str(script), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python {script}")
    assert COMMANDS[name].summary.split()[0] in done.stdout
    assert run_python(str(script), "--no-such-flag").returncode == 2


@pytest.mark.parametrize(
    "statement",
    [
        "import skillrl",
        "import skillrl; skillrl.Config(); skillrl.Task; skillrl.make_suite",
        "from skillrl.cli.main import main; main(['train', '--help'])",
        "from skillrl.cli.main import main; main(['train', '--set=rl.group_sise=1'])",
    ],
)
def test_jax_is_not_imported_before_it_is_needed(statement):
    heavy = "{'jax', 'jaxlib', 'flax', 'transformers', 'torch', 'tensorboardX', 'orbax'}"
    done = run_python("-c", f"import sys; {statement}\nassert not {heavy} & set(sys.modules)")
    assert done.returncode == 0, done.stderr


def test_the_public_names_exist():
    import skillrl

    for name in skillrl.__all__:
        assert getattr(skillrl, name) is not None
    assert set(skillrl.__all__) <= set(dir(skillrl))
    with pytest.raises(AttributeError, match="no attribute 'Skil'"):
        skillrl.Skil  # noqa: B018


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_terminal_that_is_not_utf_8_is_given_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bank = tmp_path / "b.json"
    save_bank(
        SkillBank(skills=(Skill(id="gen_001", title="Look … around", principle="Look 漢."),)), bank
    )
    written = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding="ascii", write_through=True))
    path = bank if name == "stdout" else tmp_path / "none…"
    assert main.main(["inspect", str(path)]) == (0 if name == "stdout" else 2)
    text = written.getvalue().decode("ascii")
    assert ("Look \\u2026 around" if name == "stdout" else "none\\u2026") in text


def test_what_is_typed_need_not_be_utf_8(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"go \xff\n:quit\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    output = tmp_path / "played.json"
    assert main.main(["play", "--set=env.max_steps=2", f"--output={output}"]) == 0
    assert json.loads(output.read_text())[1]["action"] == "go \ufffd"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("rollout.slots=1000000000000", "whole number of at most 2147483647"),
        ("rollout.slots=100000", "at most 65536"),
        ("rl.max_prompt_length=2000000", "at most 1048576"),
        ("rollout.suffix_buckets=[32, 100000000]", "rise to at most 1048576"),
        ("collect.expert_episodes=1000000000", "at most 10000000"),
        ("env.server.timeout=1e300", "at most 86400"),
        ("env.workers=1000000", "at most 4096"),
        ("rl.minibatches=99999999999999999999", "whole number"),
        ("model.teacher_model_id=\ud83d", "half an emoji"),
    ],
)
def test_sizes_and_texts_that_nothing_can_hold(setting: str, words: str, capsys) -> None:
    assert main.main(["train", "--dry_run", f"--set={setting}"]) == 2
    said = capsys.readouterr().err
    assert setting.partition("=")[0] in said
    assert words in said


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_flags_take_finite_numbers(value: str, capsys) -> None:
    assert main.main(["evaluate", "--dry_run", f"--temperature={value}"]) == 2
    assert f"--temperature={value}" in capsys.readouterr().err


def test_no_int_is_without_an_upper_bound() -> None:
    for name, rules, value, _ in strict.pairs(Config(), Config()):
        if isinstance(value, int) and not isinstance(value, bool) and rules.get("high") is None:
            with pytest.raises(SkillRLError, match="at most"):
                presets.resolve(overrides=[f"{name}={10**12}"])
