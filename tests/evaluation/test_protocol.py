"""The evaluation protocol of AHEAD as a preset, and what departs from it."""

import pytest

from skillrl.config.presets import resolve
from skillrl.envs.alfworld.generate import CATEGORIES
from skillrl.errors import SkillRLError
from skillrl.evaluation.protocol import PROTOCOLS, departures, get_protocol, warning
from skillrl.types import Task

PROTOCOL = PROTOCOLS["alfworld_ahead"]
SPLITS = ("valid_seen", "valid_unseen")


class Games:
    """A suite with a number of games of each category."""

    name, categories, simulated, max_steps, role = "alfworld", CATEGORIES, "", 50, ""

    def __init__(self, counts):
        self.counts = counts

    def tasks(self, split):
        return [
            Task(id=f"{split}/{category}/{n}", split=split, category=category, goal="go")
            for category, count in self.counts[split].items()
            for n in range(count)
        ]

    def make(self):
        raise NotImplementedError

    def expert(self, task):
        return None


def config(*overrides):
    return resolve(mock=False, config_path="alfworld_ahead", overrides=overrides).config


def test_the_numbers_of_the_protocol():
    assert {split: sum(counts.values()) for split, counts in PROTOCOL.counts.items()} == {
        "valid_seen": 140,
        "valid_unseen": 134,
    }
    assert all(set(counts) == set(CATEGORIES) for counts in PROTOCOL.counts.values())
    seen, unseen = PROTOCOL.counts["valid_seen"], PROTOCOL.counts["valid_unseen"]
    shown = {CATEGORIES[key]: (seen[key], unseen[key]) for key in CATEGORIES}
    assert shown == {
        "Pick": (35, 24),
        "Look": (13, 18),
        "Clean": (27, 31),
        "Heat": (16, 23),
        "Cool": (25, 21),
        "PickTwo": (24, 17),
    }


def test_the_preset_on_the_released_games_is_the_protocol():
    assert tuple(config().evaluation.splits) == SPLITS
    assert departures(config(), Games(PROTOCOL.counts), splits=SPLITS) == []
    assert warning(config(), Games(PROTOCOL.counts), splits=SPLITS) == ""


def test_other_games_are_named_by_category():
    seen = dict(PROTOCOL.counts["valid_seen"], pick_heat_then_place_in_recep=15)
    del seen["look_at_obj_in_light"]
    games = Games({**PROTOCOL.counts, "valid_seen": seen})
    (found,) = departures(config(), games, splits=SPLITS)
    assert found == "valid_seen has other games (Look 0, there 13; Heat 15, there 16)"
    said = warning(config(), games, splits=SPLITS)
    assert "not the protocol alfworld_ahead (AHEAD, arXiv 2608.24114" in said
    assert found in said


@pytest.mark.parametrize(
    ("overrides", "played", "words"),
    [
        (["evaluation.max_tasks=20"], {}, "evaluation.max_tasks is 20, there 0"),
        (["env.max_steps=30"], {}, "env.max_steps is 30, there 50"),
        (["agent.history_length=4"], {}, "agent.history_length is 4, there 2"),
        ([], {"temperature": 0.0}, "temperature is 0, there 0.4"),
        ([], {"repeats": 3}, "repeats is 3, there 1"),
        ([], {"splits": ["valid_seen"]}, "valid_unseen is not played"),
        ([], {"splits": [*SPLITS, "train"]}, "train is no part of it"),
    ],
)
def test_other_settings_are_named(overrides, played, words):
    played = {"splits": SPLITS, **played}
    assert departures(config(*overrides), Games(PROTOCOL.counts), **played) == [words]


def test_no_protocol_and_no_such_protocol():
    assert departures(resolve().config, Games({}), splits=["valid_seen"]) == []
    assert get_protocol("") is None
    with pytest.raises(SkillRLError, match=r"evaluation.protocol is 'x'.*Use one of: alfworld_"):
        get_protocol("x")
