"""Examinations that are played: both arms alike but for the skill, and harmful skills leave."""

import dataclasses
import types

import pytest

from skillrl.agent.agent import SkillAgent, render_response
from skillrl.agent.prompt import PromptConfig
from skillrl.config.settings import Config, EvolutionConfig, RLConfig, SkillRetrievalConfig
from skillrl.errors import SkillRLError
from skillrl.inference.base import Generated
from skillrl.parallel import random_keys
from skillrl.phases.examine import ExamReport, examine, hold_exams
from skillrl.phases.run_directory import RunDirectory
from skillrl.rollouts import store
from skillrl.rollouts.player import Player
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import Retriever
from skillrl.skills.store import load_bank
from skillrl.teacher.hashing_embedder import HashingEmbedder
from skillrl.types import GENERAL, Skill
from tests.conftest import ToySuite

RIGHT, WRONG = "Say what you are asked.", "Say the opposite."


class Obedient:
    """An engine that does what the skills in its prompt say, and keeps what it was asked."""

    version, slots, tokens = 12, 4, 0

    def __init__(self):
        self.asked, self._hand = [], {}

    def submit(self, waiting, sampling):
        self._hand |= waiting
        return list(waiting)

    def step(self):
        done, self._hand = self._hand, {}
        return {key: self._answer(request) for key, request in done.items()}

    def reset(self):
        self._hand = {}

    def _answer(self, request):
        self.asked.append(request)
        text = "\n".join(request.text)
        goal = "yes" if "Task: yes" in text else "no"
        opposite = {"yes": "no", "no": "yes"}[goal]
        said = opposite if WRONG in text else goal if RIGHT in text else "yes"
        return Generated((1,), (-0.5,), True, render_response("", said))


class Larger(ToySuite):
    """Forty tasks per split."""

    def tasks(self, split):
        found = super().tasks(split) * 10
        return [dataclasses.replace(t, id=f"{split}/{i:04d}") for i, t in enumerate(found)]


def skill(name, principle, category=GENERAL):
    return Skill(id=name, title=name, principle=principle, category=category)


BANK = SkillBank((skill("right", RIGHT), skill("wrong", WRONG), skill("empty", "It is Monday.")))


@pytest.fixture
def player():
    return Player(
        suite=Larger(None),
        agent=SkillAgent(None, role="You act.", config=PromptConfig()),
        engine=Obedient(),
        retriever=Retriever(HashingEmbedder(), SkillRetrievalConfig()),
        max_response_length=8,
    )


def examined(player, bank=BANK, split="train", episodes=48):
    return examine(
        player,
        bank,
        player.suite.tasks(split),
        episodes=episodes,
        seed=3,
        iteration=10,
        temperature=1.0,
    )


def test_the_arms_of_a_pair_differ_in_the_skill_alone(player):
    bank, report = examined(player)
    assert (report.episodes, len(report.played), report.errored) == (48, 48, 0)
    by_task = {}
    for request in player.engine.asked:
        by_task.setdefault(request.rng_address, []).append(request.text)
    for (phase, iteration, number, member, repeat, step), texts in by_task.items():
        assert (phase, iteration, member, repeat, step) == (random_keys.EXAM, 10, 0, 0, 0)
        assert number in {random_keys.task_number(t.task.id) for t in report.played}
        assert len(texts) == 4  # with all three, and without each
        lines = [set("\n".join(text).splitlines()) for text in texts]
        whole = max(lines, key=len)
        gone = sorted(next(iter(whole - other)) for other in lines if other != whole)
        assert [line.split(":")[0] for line in gone] == ["- empty", "- right", "- wrong"]
    ids = [t.id for t in report.played]
    assert len(set(ids)) == len(ids)
    assert all("#exam.v12." in name for name in ids)
    assert all(t.bank_version == bank.version for t in report.played)


def test_the_bank_knows_what_each_skill_is_worth(player):
    bank, report = examined(player)
    assert bank.version == BANK.version  # the words are the same
    wrong, empty = bank.get("wrong").exams, bank.get("empty").exams
    assert (wrong.pairs, wrong.gain) == (12, -12)  # without it all are won
    assert (empty.pairs, empty.gain, empty.squares) == (12, 0, 0)
    assert (wrong.step, wrong.policy_version) == (10, 12)
    assert report.exams["wrong"] == wrong
    assert report.found["wrong"].startswith("-")
    assert report.metrics() == {"exam_episodes": 48.0, "exam_pairs": 36.0}
    assert report.to_json()["skills"]["wrong"]["gain"] == -12


def test_the_same_examination_gives_the_same_bank(player):
    first, report = examined(player)
    second, again = examined(player)
    assert first == second
    assert report == again


def test_held_out_tasks_are_never_examined(player):
    with pytest.raises(SkillRLError, match="valid_seen"):
        examined(player, split="valid_seen")
    assert player.engine.asked == []


def test_nothing_to_examine_plays_nothing(player):
    assert examined(player, SkillBank()) == (SkillBank(), ExamReport())
    assert examined(player, episodes=1) == (BANK, ExamReport())
    assert ExamReport().metrics() == {}


def session(tmp_path, suite, share):
    config = Config(
        rl=RLConfig(batch_size=24, group_size=8, minibatches=1),
        evolution=EvolutionConfig(validation_interval=2, exam_share=share),
    )
    run = RunDirectory(tmp_path, config, lock=False)
    return types.SimpleNamespace(config=config, run=run, suite=suite, seed=3)


def test_what_hurts_is_retired_with_its_reason_and_evidence(player, tmp_path):
    left, report = hold_exams(session(tmp_path, player.suite, 1.0), player, BANK, iteration=10)
    assert report.retired == ("wrong",)
    assert [s.id for s in left.skills] == ["right", "empty"]
    event = left.history[-1]
    assert (event.action, event.skill, event.step, event.policy_version) == (
        "retired",
        "wrong",
        10,
        12,
    )
    assert event.reason.startswith("hurts: -")
    written = list(store.read(tmp_path / "rl" / "exams" / "00010.jsonl"))
    assert written == list(report.played)
    assert set(event.sources) <= {t.id for t in written}
    assert len(event.sources) == 24  # twelve lost with it, twelve won without
    assert load_bank(tmp_path / "banks" / f"{left.version}.json") == left


def test_without_a_share_nothing_is_played_and_nothing_written(player, tmp_path):
    found = hold_exams(session(tmp_path, player.suite, 0.0), player, BANK, iteration=10)
    assert found == (BANK, ExamReport())
    assert player.engine.asked == []
    assert list(tmp_path.iterdir()) == []
