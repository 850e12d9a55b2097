"""What benchmarks/advice.py shows policies: each kind of prompt says what its name says."""

from __future__ import annotations

import collections
import importlib
import random

import pytest

from benchmarks.advice import SPLIT, demonstrators_win, environments
from skillrl.api import default_config
from skillrl.envs import make_suite

LINES = {"none": 0, "about nothing": 7, "about something else": 7}


@pytest.fixture(scope="module", params=environments())
def advised(request):
    """The module, the suite and twelve held-out tasks of an environment."""
    suite = make_suite(request.param, default_config(request.param).env)
    about = importlib.import_module(f"benchmarks.advised.{request.param}")
    return about, suite, suite.tasks(SPLIT)[:12]


def test_who_knows_all_wins_and_who_knows_less_wins_less(advised):
    about, suite, tasks = advised
    wins = {name: sum(won) for name, won in demonstrators_win(about, tasks, suite).items()}
    assert wins["both"] == len(tasks)
    assert max(count for name, count in wins.items() if name != "both") < len(tasks)


def test_prompts_say_what_their_name_says(advised):
    about, _, tasks = advised
    prompts = about.prompts()
    rules = {
        name: [s.principle for task in tasks for s in prompt(task, random.Random(task.id))]
        for name, prompt in prompts.items()
    }
    for name, count in LINES.items():
        assert len(rules[name]) == count * len(tasks)
    assert len(rules["both"]) == len(rules["procedures"]) + len(rules[about.EXPERIENCE])
    assert len(rules["both, among others"]) == len(rules["both"]) + 4 * len(tasks)
    assert not set(rules["both, held back"]) & set(rules["both"])
    # The same words are drawn, so that all that differs is what the other custom says.
    other = rules["both, of another custom"]
    told = len(rules[about.EXPERIENCE])
    same = sum((collections.Counter(rules["both"]) & collections.Counter(other)).values())
    assert len(other) - told <= same < len(other) == len(rules["both"])
    for task in tasks:  # the same task is shown the same
        both = prompts["both"]
        assert both(task, random.Random(task.id)) == both(task, random.Random(task.id))
