"""The fuzz script: a few inputs of every kind, and that it sees each sort of fault."""

from __future__ import annotations

import importlib.util
import logging
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from skillrl.errors import SkillRLError

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "fuzz.py"
COUNTS = {
    "config": 120,
    "bank": 150,
    "agent_skills": 80,
    "trajectories": 150,
    "games": 100,
    "teacher": 120,
    "runs": 40,
    "requests": 250,
}


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_kind_has_a_count(fuzz):
    assert set(COUNTS) == set(fuzz.KINDS)
    assert sum(share for _, share in fuzz.KINDS.values()) == 20_000


@pytest.mark.parametrize("kind", COUNTS)
def test_damaged_inputs_are_refused_or_used(fuzz, kind):
    with fuzz.workplace() as place:
        tally = fuzz.run(kind, 7, range(COUNTS[kind]), place)
    first = "\n".join(f"{what}: {shown!r:.600}\n{at}" for what, (shown, at) in tally.first.items())
    assert not tally.failures, first
    assert tally.accepted + tally.refused == COUNTS[kind]
    assert tally.accepted > COUNTS[kind] // 20  # it comes through to where things are used


def kind_of(attempt):
    return lambda rng, place: ("the input", attempt), 1


def refuse():
    raise SkillRLError("no")


def loop():
    while True:
        pass


def test_what_counts_as_a_failure(fuzz, monkeypatch, tmp_path):
    wrong = lambda: fuzz.files.hold(1 + 1 == 3, "bad sum")  # noqa: E731
    attempts = {"fine": lambda: None, "refused": refuse, "torn": lambda: {}["x"], "wrong": wrong}
    for name, attempt in (attempts | {"hangs": loop}).items():
        monkeypatch.setitem(fuzz.KINDS, name, kind_of(attempt))
    monkeypatch.setattr(fuzz, "LIMIT", 0.05)
    found = {name: fuzz.run(name, 0, [4], tmp_path) for name in (*attempts, "hangs")}
    assert [found[name].accepted for name in found] == [1, 0, 0, 0, 0]
    assert [found[name].refused for name in found] == [0, 1, 0, 0, 0]
    named = ["".join(found[name].failures) for name in ("torn", "wrong", "hangs")]
    for name, word in zip(named, ["KeyError", "Accepted bad sum", "Hang"], strict=True):
        assert word in name
    ((shown, trace),) = found["torn"].first.values()
    assert shown == "the input"
    assert "KeyError: 'x'" in trace


def test_a_number_says_which_input(fuzz, tmp_path):
    make, _ = fuzz.KINDS["bank"]
    inputs = [make(random.Random("bank 3 5"), tmp_path)[0] for _ in range(2)]
    assert inputs[0] == inputs[1]
    assert inputs[0] != make(random.Random("bank 3 6"), tmp_path)[0]


def test_the_script_prints_a_table_and_its_status(fuzz, monkeypatch, capsys):
    arguments = ["--kind=trajectories", "--count=20", "--seed=2"]
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *arguments])
    assert fuzz.main() == 0
    header, _, row = capsys.readouterr().out.splitlines()[-3:]
    assert header.split() == ["kind", "inputs", "accepted", "refused", "failures", "seconds"]
    assert row.split()[:2] == ["trajectories", "20"]
    monkeypatch.setitem(fuzz.KINDS, "trajectories", kind_of(lambda: {}["x"]))
    assert fuzz.main() == 1
    assert "20 x KeyError" in capsys.readouterr().out
