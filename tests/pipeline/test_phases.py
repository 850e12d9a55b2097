"""The phases as separate commands, and what may and may not reach the teacher."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import pytest

from skillrl.agent.agent import Act
from skillrl.config.settings import Config
from skillrl.envs import make_suite
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.inference.base import Generated
from skillrl.io.files import read_json
from skillrl.parallel import random_keys
from skillrl.phases.build import open_teacher
from skillrl.phases.sft import make_examples
from skillrl.rollouts import store
from skillrl.rollouts.player import make_job, play
from skillrl.skills.store import load_bank, save_bank
from skillrl.teacher import register_teacher
from skillrl.teacher.base import TeacherError
from skillrl.teacher.simulated import SimulatedTeacher
from skillrl.types import GENERAL
from tests.pipeline import tiny

REQUESTS: list[tuple[str, str]] = []
"""(purpose, text) of all that the recording teacher was asked."""


class Recording(SimulatedTeacher):
    """Keeps what it is asked."""

    def complete(self, messages, *, purpose):
        REQUESTS.append((purpose, "\n".join(message["content"] for message in messages)))
        return super().complete(messages, purpose=purpose)


class Unreliable(SimulatedTeacher):
    """Fails at the first evolution, and teaches something new at the later ones."""

    asked = 0

    def complete(self, messages, *, purpose):
        if purpose != "evolve":
            return super().complete(messages, purpose=purpose)
        Unreliable.asked += 1
        if Unreliable.asked == 1:
            raise TeacherError("the teacher is on holiday; come back later")
        new = {
            "title": "Breathe",
            "principle": "Count to ten before each action.",
            "when_to_apply": "always",
            "category": GENERAL,
            "sources": re.findall(r"train/\d+#\S+?\.r\d+", messages[-1]["content"])[:1],
            "cause": "haste",
        }
        return json.dumps({"add": [new], "refine": []})


register_teacher("recording")(lambda config, cache: Recording())
register_teacher("unreliable")(lambda config, cache: Unreliable())


MARK = "xylograph"
"""A word of every held-out task and of no other text."""


class MarkedEnvironment:
    """An environment whose every text about a held-out task has the mark."""

    played = 0

    def __init__(self, environment):
        self._environment = environment

    def reset(self, task):
        self._held_out = task.split != "train"
        MarkedEnvironment.played += self._held_out
        return self._marked(self._environment.reset(task))

    def step(self, action):
        result = self._environment.step(action)
        return dataclasses.replace(result, observation=self._marked(result.observation))

    def close(self):
        self._environment.close()

    def _marked(self, seen):
        if not self._held_out:
            return seen
        return dataclasses.replace(seen, text=f"{MARK} {seen.text}")


def mark_held_out_tasks(patch):
    """Has every held-out task of ALFWorld carry the mark in its id, its goal and its texts."""
    tasks, make = AlfworldSuite.tasks, AlfworldSuite.make

    def marked(self, split):
        found = tasks(self, split)
        if split == "train":
            return found
        return [
            dataclasses.replace(task, id=f"{task.id}-{MARK}", goal=f"{task.goal} ({MARK})")
            for task in found
        ]

    patch.setattr(AlfworldSuite, "tasks", marked)
    patch.setattr(AlfworldSuite, "make", lambda self: MarkedEnvironment(make(self)))


@pytest.fixture(scope="module")
def stepwise(compiled, flags, tmp_path_factory):
    """The phases one by one on one work directory, with marked held-out tasks."""
    path = tmp_path_factory.mktemp("stepwise") / "run"
    with pytest.MonkeyPatch.context() as patch:
        mark_held_out_tasks(patch)
        for command in ("collect", "distill", "sft", "rl"):
            status, out, err = tiny.run(command, *flags(path, model={"teacher": "recording"}))
            assert status == 0, err
            assert str(path) in out
    return path


def test_the_phases_one_by_one_are_the_whole(stepwise, whole):
    found, wanted = tiny.contents(stepwise), tiny.contents(whole.path)
    same = ("collect/", "distill/", "sft/examples", "rl/", "banks/", "policy/")
    for name in sorted({n for n in found | wanted if n.startswith(same)}):
        assert found.get(name) == wanted.get(name), name
    assert not any(name.startswith("evaluation/") for name in found)
    assert read_json(stepwise / "summary.json")["eval"] == {}


def test_the_cold_started_policy_is_exported_by_its_own_command(stepwise, whole, flags, tmp_path):
    files = tiny.contents(stepwise / "sft" / "policy")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    trained = (whole.path / "policy" / "model.safetensors").read_bytes()
    assert files["model.safetensors"] != trained


def test_held_out_tasks_never_reach_the_teacher(stepwise):
    purposes = {purpose for purpose, _ in REQUESTS}
    assert {"distill_general", "distill_success", "distill_failure", "evolve"} <= purposes
    text = "\n".join(text for _, text in REQUESTS)
    assert re.search(r"\btrain/\d{4}\b", text)  # whole trajectories are named, so this would show
    assert not re.search(r"valid_(un)?seen", text)
    suite = make_suite("alfworld", Config().env)
    environment = suite.make()
    first = {split: [] for split in ("train", "valid_unseen")}
    for split, found in first.items():
        for task in suite.tasks(split)[:24]:
            found.append(environment.reset(task).text)
    assert any(observation in text for observation in first["train"])
    assert not any(observation in text for observation in first["valid_unseen"])


def test_no_mark_of_a_held_out_task_is_in_what_the_run_teaches_or_learns(stepwise):
    assert MarkedEnvironment.played >= 4  # two periodic evaluations of two tasks
    assert REQUESTS
    assert not [purpose for purpose, text in REQUESTS if MARK in text]
    files = tiny.contents(stepwise)
    learned = ("distill/", "sft/", "banks/", "rl/", "collect/", "checkpoints/")
    assert all(any(name.startswith(folder) for name in files) for folder in learned)
    assert not [name for name, data in files.items() if MARK.encode() in data]


def test_held_out_games_were_played_meanwhile(stepwise):
    rows = [r for r in tiny.rows(stepwise / "metrics.jsonl") if "quick_valid_unseen" in r]
    assert rows  # else the test above would show nothing
    for bank in (load_bank(path) for path in (stepwise / "banks").glob("*.json")):
        for skill in bank.skills:
            assert all(source.startswith("train/") for source in skill.provenance.sources)
    for event in tiny.rows(stepwise / "rl" / "evolution.jsonl"):
        assert event["analysed"]
        assert all(name.startswith("train/") for name in event["analysed"])


def test_collect_goes_on_where_it_was_cut(flags, whole, compiled, tmp_path):
    wanted = (whole.path / "collect" / "trajectories.jsonl").read_bytes()
    lines = wanted.splitlines(keepends=True)
    file = tmp_path / "run" / "collect" / "trajectories.jsonl"
    arguments = ["collect", *flags(tmp_path / "run")]
    assert tiny.run(*arguments)[0] == 0
    assert file.read_bytes() == wanted
    for left in (3, 6, 10):  # in the policy's episodes, between, in the expert's
        file.write_bytes(b"".join(lines[:left]) + lines[left][:100])
        status, _, err = tiny.run(*arguments)
        assert status == 0, err
        assert file.read_bytes() == wanted
    rows = tiny.rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["episodes"] for row in rows] == [6]  # one row, whatever was repeated


def test_more_episodes_are_added_to_those_there_are(flags, compiled, tmp_path):
    file = tmp_path / "run" / "collect" / "trajectories.jsonl"
    for count in (2, 5):
        status, out, err = tiny.run("collect", *flags(tmp_path / "run"), f"--episodes={count}")
        assert status == 0, err
        assert f"--episodes={count} is fewer than collect.episodes=6" in out
        assert not (tmp_path / "run" / "phases.json").exists()  # train adds the sixth
        sources = [t.source for t in store.read(file)]
        expert = tiny.SETTINGS["collect"]["expert_episodes"]
        assert (sources.count("policy"), sources.count("expert")) == (count, expert)
    own = [t.task.id for t in store.read(file) if t.source == "policy"]
    assert own == [f"train/{i:04d}" for i in range(5)]
    for more, count in (([], 6), (["--episodes=7"], 7)):
        assert tiny.run("collect", *flags(tmp_path / "run"), *more)[0] == 0
        assert "collect" in read_json(tmp_path / "run" / "phases.json")
        assert [t.source for t in store.read(file)].count("policy") == count


def test_output_elsewhere_leaves_the_run_as_it_is(flags, whole, tmp_path):
    (tmp_path / "report.json").write_text("mine")
    before = tiny.contents(whole.path)
    arguments = [*whole.flags, f"--output={tmp_path / 'bank.json'}"]
    status, _, err = tiny.run("distill", *arguments)
    assert status == 0, err
    assert load_bank(tmp_path / "bank.json") == load_bank(whole.path / "distill" / "bank.json")
    assert (tmp_path / "report.json").read_text() == "mine"
    after = tiny.contents(whole.path)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {".lock", "environment.json", "wall_seconds.json"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("distill", ["no collected trajectories", "--workdir"]),
        ("sft", ["no collected trajectories", "--workdir"]),
        ("rl", ["no finished cold start", "--workdir", "model.policy_path"]),
    ],
)
def test_without_its_predecessor_a_phase_refuses(flags, tmp_path, command, words):
    arguments = [*flags(tmp_path / "run"), "--set=model.policy_path="]
    status, _, err = tiny.run(command, *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert all(word in err for word in words), err


def test_sft_without_a_bank_and_rl_from_a_policy_without_one(flags, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole.path / "collect", run / "collect")
    shutil.copyfile(whole.path / "config.json", run / "config.json")
    for command in ("sft", "rl"):
        status, _, err = tiny.run(command, *flags(run))
        assert status == 2
        assert all(w in err for w in ("no skill bank", "--workdir", "--skill_bank")), err


def test_another_number_of_examples_does_not_pass_for_the_same(whole, flags, stepwise):
    before = tiny.contents(stepwise / "checkpoints")
    arguments = flags(stepwise, model={"teacher": "recording"})
    status, _, err = tiny.run("sft", *arguments, "--num_examples=7")
    assert status == 2
    assert "36 examples, now there are 7" in err
    assert "--num_examples" in err
    assert tiny.contents(stepwise / "checkpoints") == before


def test_another_bank_does_not_pass_for_the_same(whole, flags, stepwise, tmp_path):
    before = tiny.contents(stepwise)
    bank = load_bank(stepwise / "distill" / "bank.json")
    other = tmp_path / "bank.json"
    save_bank(dataclasses.replace(bank, skills=bank.skills[:2]), other)
    arguments = flags(stepwise, model={"teacher": "recording"})
    status, _, err = tiny.run("sft", *arguments, f"--skill_bank={other}")
    assert status == 2
    assert "cold-started on 36 examples, now there are as many others" in err
    for name in ("sft/examples.jsonl", "metrics.jsonl"):
        assert tiny.contents(stepwise)[name] == before[name]


def test_collect_leaves_a_file_that_is_not_its_own_alone(whole, flags, compiled, tmp_path):
    foreign = tmp_path / "notes.json"
    foreign.write_text('{"my": "notes"}')  # without a newline: as if torn
    status, _, err = tiny.run("collect", *flags(tmp_path / "run"), f"--output={foreign}")
    assert status == 2
    assert "does not begin with a trajectory" in err
    assert foreign.read_text() == '{"my": "notes"}'


def test_rl_starts_from_any_policy_and_bank(flags, whole, compiled, tmp_path):
    bank = whole.path / "distill" / "bank.json"
    arguments = [*flags(tmp_path / "run"), f"--skill_bank={bank}", "--set=rl.training_epochs=0"]
    arguments += [f"--set=model.policy_path={whole.path / 'policy'}"]
    status, _, err = tiny.run("rl", *arguments)
    assert status == 0, err
    found, wanted = ((d / "policy" / "model.safetensors").read_bytes()
                     for d in (tmp_path / "run", whole.path))  # fmt: skip
    assert found == wanted  # no iteration, no change
    assert load_bank(tmp_path / "run" / "banks" / "1.json") == load_bank(bank)


def test_a_teacher_that_fails_stops_nothing_and_is_counted(flags, whole, compiled, tmp_path):
    run, bank = tmp_path / "run", whole.path / "distill" / "bank.json"
    arguments = flags(
        run,
        model={"teacher": "unreliable", "policy_path": str(whole.path / "policy")},
        rl={"training_epochs": 3},
        evolution={"validation_interval": 1},
        evaluation={"quick_tasks": 0},
    )
    status, _, err = tiny.run("rl", *arguments, f"--skill_bank={bank}")
    assert status == 0, err
    failed, second, third = tiny.rows(run / "rl" / "evolution.jsonl")
    assert (failed["teacher_failures"], failed["bank_after"]) == (1, failed["bank_before"])
    assert "on holiday" in failed["teacher_error"]
    assert failed["analysed"]
    # What the second event teaches is in the bank and in the prompts of the next iteration.
    assert second["added"] == ["dyn_001"]
    new = load_bank(run / "banks" / f"{second['bank_after']}.json").get("dyn_001")
    assert (new.title, new.provenance.step) == ("Breathe", 2)
    played = list(store.read(run / "rl" / "trajectories" / "00003.jsonl"))
    assert all("dyn_001" in t.skills for t in played)
    assert third["added"] == []  # said before
    assert third["refused"][0]["title"] == "Breathe"
    summary = read_json(run / "summary.json")
    assert summary["bank"]["evolved_skills_used"] == ["dyn_001"]
    assert [event["teacher_failures"] for event in summary["bank"]["events"]] == [1, 0, 0]


class Imitator:
    """An engine that says what it was told to say."""

    version, slots, tokens = 0, 1, 0

    def __init__(self, answers):
        self.answers = iter(answers)

    def submit(self, waiting, sampling):
        self.keys = list(waiting)
        return self.keys

    def step(self):
        ids = next(self.answers)
        return {key: Generated(ids, (0.0,) * len(ids), finished=True) for key in self.keys}

    def reset(self):
        self.keys = []


def test_demonstrations_have_the_prompts_of_rl(whole):
    collected = store.read(whole.path / "collect" / "trajectories.jsonl")
    won = [t for t in collected if t.won][:3]
    bank = load_bank(whole.path / "distill" / "bank.json")
    with tiny.opened(whole.path) as (run, _, player):
        teacher = open_teacher(run)
        for demonstration in won:
            examples = make_examples(
                [demonstration],
                bank,
                agent=player.agent,
                retriever=player.retriever,
                teacher=teacher,
                rewrite_expert=False,
            )
            assert len(examples) == len(demonstration.steps)
            job = make_job(
                player, demonstration.task, bank, phase=random_keys.RL, iteration=1, member=1
            )
            engine = Imitator([example.response_ids for example in examples])
            imitating = dataclasses.replace(player, engine=engine)
            (played,) = play(imitating, [job], temperature=1.0)
            assert played.won
            assert [step.action for step in played.steps] == [
                step.action for step in demonstration.steps
            ]
            for example, step in zip(examples, played.steps, strict=True):
                assert example.prefix_ids == played.prefix_ids
                assert example.suffix_ids == step.suffix_ids
                assert example.response_ids == step.response_ids


def test_an_experts_thoughts_are_its_own_or_the_teachers(whole):
    """Rewritten ones may use the skills of the prompt, which the expert has not read."""
    collected = store.read(whole.path / "collect" / "trajectories.jsonl")
    one = next(t for t in collected if t.won and t.source == "expert")

    class Writer:
        def complete(self, messages, *, purpose, **_):
            return json.dumps([f"I read rule {number}." for number in range(len(one.steps))])

    with tiny.opened(whole.path) as (_, model, player):
        for rewrite_expert in (False, True):
            found = make_examples(
                [one],
                load_bank(whole.path / "distill" / "bank.json"),
                agent=player.agent,
                retriever=player.retriever,
                teacher=Writer(),
                rewrite_expert=rewrite_expert,
            )
            texts = [model.tokenizer.decode(example.response_ids) for example in found]
            assert ["I read rule" in text for text in texts] == [rewrite_expert] * len(one.steps)


def test_addresses_of_a_run_are_all_different(whole):
    """No two draws of one run share their randomness, across phases, members and repeats."""
    bank = load_bank(whole.path / "distill" / "bank.json")
    seen = set()
    with tiny.opened(whole.path) as (run, _, player):
        task, other = run.suite.tasks("train")[:2]
        jobs = [
            make_job(player, task, bank, phase=random_keys.COLLECT),
            make_job(player, task, bank, phase=random_keys.COLLECT, repeat=1),
            make_job(player, task, bank, phase=random_keys.EVAL),
            make_job(player, task, bank, phase=random_keys.RL, iteration=0),
            make_job(player, task, bank, phase=random_keys.RL, iteration=1),
            make_job(player, task, bank, phase=random_keys.RL, iteration=0, member=1),
            make_job(player, other, bank, phase=random_keys.RL, iteration=0),
        ]
        for job in jobs:
            episode, environment = job.start(), run.suite.make()
            wants = episode.send(None)
            wants = episode.send(environment.reset(wants.task))
            for _ in range(2):
                seen.add(wants.rng_address)
                wants = episode.send(Generated((), (), finished=True, text="look"))
                assert isinstance(wants, Act)
                wants = episode.send(environment.step("look"))
            episode.close()
    assert len(seen) == 2 * len(jobs)
