"""A killed iteration goes on within its episodes: what was answered is not asked again."""

import json
import logging

import pytest

from skillrl.errors import NoSpace, SkillRLError
from skillrl.inference.base import Generate, Generated
from skillrl.rollouts.collector import collect
from skillrl.rollouts.journal import Journal, key_of
from skillrl.types import VersionSpan
from tests.rollouts.test_collector import SAMPLING, Engine, Says, Suite, jobs

HEADER = {"policy": 3, "bank": 1}
ASKED = Generate((1, 2), (3,), (3, 0, 5, 0, 0, 0), ("a", "b", "c"))
ANSWER = Generated((7, 8), (-0.1, -1 / 3), True, None, (VersionSpan("v", 0, 2),))


class Killed(BaseException):
    """What no clean-up sees coming."""


class Counting(Engine):
    """Counts its answers, and is killed after `limit` of them."""

    def __init__(self, limit=None, slots=4):
        super().__init__(slots)
        self.limit, self.answers = limit, 0

    def step(self):
        found = super().step()
        self.answers += len(found)
        if self.limit is not None and self.answers > self.limit:
            raise Killed
        return found


def session(tmp_path, number, *, limit=None, header=HEADER, suite=None, count=9):
    """Plays what is left to play; returns the trajectories and how many answers that took."""
    engine = Counting(limit)
    earlier = sorted(tmp_path.glob("*.jsonl"))
    with Journal(tmp_path / f"{number}.jsonl", header, earlier=earlier) as journal:
        found = collect(
            jobs(count, members=2),
            suite=suite or Suite(),
            engine=engine,
            sampling=SAMPLING,
            journal=journal,
        )
    return found, engine.answers


def test_it_goes_on_where_it_was_killed_again_and_again(tmp_path):
    wanted, all_answers = session(tmp_path / "whole", 0)
    given = 0
    for number, limit in enumerate((5, 9, 2, 13)):
        with pytest.raises(Killed):
            session(tmp_path / "cut", number, limit=limit)
        given += 2 * (limit // 2)  # it answers two at a time; the last ones were not heard
    found, answers = session(tmp_path / "cut", 9)
    assert found == wanted
    assert given > 10
    assert answers == all_answers - given
    again, none = session(tmp_path / "cut", 10)
    assert (again, none) == (wanted, 0)


def test_finished_episodes_are_not_played_again(tmp_path):
    wanted, _ = session(tmp_path, 0)
    suite = Suite()
    assert session(tmp_path, 1, suite=suite)[0] == wanted
    assert not suite.made


def test_an_episode_that_errored_is_played_again(tmp_path):
    def lost():
        raise OSError("gone")

    found, _ = session(tmp_path, 0, suite=Suite({("t3", 2): lost}))
    assert [t.task.id for t in found if t.error] == ["t3", "t3"]
    suite = Suite()
    found, answers = session(tmp_path, 1, suite=suite)
    assert not any(t.error for t in found)
    assert suite.made  # the environments of these two alone, up to where they were
    assert answers == 2 * (len(found[6].steps) - 2)


def test_where_the_environment_answers_otherwise_the_rest_is_sampled_anew(tmp_path, caplog):
    other = Suite({("t3", 2): lambda: Says(None)})
    found, _ = session(tmp_path, 0, suite=other)  # t3 ends there, with an error
    assert found[6].error
    (tmp_path / "0.jsonl").write_text(
        "".join(
            line
            for line in (tmp_path / "0.jsonl").read_text().splitlines(keepends=True)
            if '"trajectory"' not in line
        )
    )

    class Elsewhere(Suite):
        def make(self):
            environment = super().make()
            see = environment._see
            environment._see = lambda what: see(f"{what}, elsewhere")
            return environment

    with caplog.at_level(logging.WARNING):
        found, answers = session(tmp_path, 1, suite=Elsewhere())
    assert answers == sum(len(t.steps) for t in found)
    assert "looks otherwise than before" in caplog.text


def test_what_was_kept_of_another_policy_is_not_used(tmp_path):
    wanted, answers = session(tmp_path, 0)
    assert session(tmp_path, 1, header=HEADER | {"policy": 4}) == (wanted, answers)


def test_an_answer_comes_back_equal_and_a_row_that_was_cut_off_does_not(tmp_path, caplog):
    key = key_of(next(iter(jobs(1))).task, 0, 0)
    with Journal(tmp_path / "a.jsonl", HEADER, earlier=()) as journal:
        for number in range(3):
            journal.keep_answer(key, number, ASKED, ANSWER)
    path = tmp_path / "a.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    journal = Journal(tmp_path / "b.jsonl", HEADER, earlier=[path])
    assert [journal.answer(key, number, ASKED) for number in range(3)] == [ANSWER, ANSWER, None]
    assert not (tmp_path / "b.jsonl").exists()
    lines = path.read_text().splitlines(keepends=True)
    row = json.loads(lines[1])
    row["answer"]["ids"][0] = 9
    path.write_text(lines[0] + json.dumps(row) + "\n" + lines[2])
    journal = Journal(tmp_path / "b.jsonl", HEADER, earlier=[path])
    assert journal.answer(key, 0, ASKED) is None
    assert "a.jsonl, line 2" in caplog.text


def test_a_disk_that_refuses_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "a.jsonl", HEADER, earlier=())
    with pytest.raises(SkillRLError, match="cannot be written"):
        journal.keep_answer(("t", 0, 0), 0, ASKED, ANSWER)


def test_a_disk_that_is_full_is_told_once(tmp_path):
    with pytest.raises(NoSpace, match="cannot be written"):
        fill(Journal("/dev/full", HEADER, earlier=()))


def fill(journal):
    with journal:
        journal._file = open("/dev/full", "w")  # noqa: SIM115
        journal.keep_answer(("t", 0, 0), 0, ASKED, ANSWER)


def test_a_number_that_is_not_finite_is_left_to_who_plays(tmp_path):
    with Journal(tmp_path / "a.jsonl", HEADER, earlier=()) as journal:
        journal.keep_answer(("t", 0, 0), 0, ASKED, Generated((1,), (float("nan"),), True))
        assert not (tmp_path / "a.jsonl").exists()


def test_what_was_asked_in_either_environment_is_found_again(tmp_path, caplog):
    class Elsewhere(Suite):
        def make(self):
            environment = super().make()
            see = environment._see
            environment._see = lambda what: see(f"{what}, elsewhere")
            return environment

    with pytest.raises(Killed):
        session(tmp_path, 9, limit=12)
    with pytest.raises(Killed):
        session(tmp_path, 1, limit=12, suite=Elsewhere())
    assert "looks otherwise than before" in caplog.text
    caplog.clear()
    session(tmp_path, 5, suite=Elsewhere())
    assert "looks otherwise than before" not in caplog.text
