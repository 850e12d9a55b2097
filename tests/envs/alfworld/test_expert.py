"""The text-only expert: reads every template sentence, wins every game, stays admissible."""

import random
import re
import types

import pytest

from benchmarks.controls.alfworld import play_task
from skillrl.envs.alfworld.expert import HouseholdGoal, TemplateExpert, parse_goal
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.errors import SkillRLError
from skillrl.types import Observation

GOALS = [
    ("put a mug in shelf", "pick_and_place_simple", "mug", "shelf"),
    ("put some mug on shelf", "pick_and_place_simple", "mug", "shelf"),
    ("look at bowl under the desklamp", "look_at_obj_in_light", "bowl", "desklamp"),
    ("look at a bowl under the floorlamp", "look_at_obj_in_light", "bowl", "floorlamp"),
    ("examine the bowl with the desklamp", "look_at_obj_in_light", "bowl", "desklamp"),
    ("put a clean pan in stoveburner", "pick_clean_then_place_in_recep", "pan", "stoveburner"),
    ("clean some pan and put it in fridge", "pick_clean_then_place_in_recep", "pan", "fridge"),
    ("put a hot egg in fridge", "pick_heat_then_place_in_recep", "egg", "fridge"),
    ("heat some egg and put it in fridge", "pick_heat_then_place_in_recep", "egg", "fridge"),
    ("put a cool egg in sinkbasin", "pick_cool_then_place_in_recep", "egg", "sinkbasin"),
    ("cool some egg and put it in sinkbasin", "pick_cool_then_place_in_recep", "egg", "sinkbasin"),
    ("put two cd in drawer", "pick_two_obj_and_place", "cd", "drawer"),
    ("find two cd and put them in drawer.", "pick_two_obj_and_place", "cd", "drawer"),
]


def _suite(max_steps=15):
    return AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=max_steps))


@pytest.mark.parametrize(("sentence", "category", "thing", "place"), GOALS)
def test_parse_goal(sentence, category, thing, place):
    assert parse_goal(sentence) == HouseholdGoal(category, thing, place)


@pytest.mark.parametrize("sentence", ["Wash the pan, then cook.", "", "put the mug on the shelf"])
def test_free_sentences_are_refused(sentence):
    with pytest.raises(SkillRLError, match="template"):
        TemplateExpert(sentence)


@pytest.mark.parametrize("split", ["train", "valid_seen", "valid_unseen"])
def test_wins_every_game_in_time_with_admissible_actions(split):
    suite = _suite()
    environment = suite.make()
    steps = []
    for task in suite.tasks(split)[:120]:
        expert = suite.expert(task)
        played = play_task(environment, task, lambda seen, expert=expert: expert.act(seen).action)
        assert played.won, task
        assert played.admissible, task
        steps.append(played.steps)
    steps.sort()
    assert 6 <= steps[60] <= 9
    assert steps[-1] <= 15


def test_thoughts_are_short_sentences_about_things_it_names():
    suite = _suite()
    environment = suite.make()
    for task in suite.tasks("train")[:60]:
        expert, seen = suite.expert(task), environment.reset(task)
        done = False
        while not done:
            move = expert.act(seen)
            assert re.fullmatch(r"[A-Z][a-z0-9, ]+\.", move.thought), move
            assert 4 <= len(move.thought.split()) <= 9, move
            result = environment.step(move.action)
            seen, done = result.observation, result.done


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_recovers_when_somebody_else_acts_in_between(rate):
    suite = _suite(max_steps=200)
    environment = suite.make()
    rng = random.Random(3)
    for task in suite.tasks("train")[:60]:
        expert = suite.expert(task)

        def act(seen, expert=expert):
            action = expert.act(seen).action
            assert action in seen.admissible
            return rng.choice(seen.admissible) if rng.random() < rate else action

        assert play_task(environment, task, act).won, task


def test_reads_texts_and_nothing_else():
    """A room told by hand: it looks, opens, takes, washes and delivers."""
    expert = TemplateExpert("put a clean mug in shelf")

    def act(text, *admissible):
        return expert.act(Observation(text, admissible)).action

    room = (
        "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, "
        "a countertop 1, a shelf 1, and a sinkbasin 1."
    )
    go = [f"go to {place}" for place in ("cabinet 1", "countertop 1", "shelf 1", "sinkbasin 1")]
    assert act(room, *go) == "go to cabinet 1"
    text = "You arrive at cabinet 1. The cabinet 1 is closed."
    assert act(text, *go[1:], "open cabinet 1") == "open cabinet 1"
    text = "You open the cabinet 1. The cabinet 1 is open. In it, you see a fork 1."
    assert act(text, *go[1:], "take fork 1 from cabinet 1") == "go to countertop 1"
    text = "You arrive at countertop 1. On the countertop 1, you see a mug 2, and a mug 1."
    take = "take mug 2 from countertop 1"
    assert act(text, *go[:1], *go[2:], take, "take mug 1 from countertop 1") == take
    text = "You pick up the mug 2 from the countertop 1."
    assert act(text, *go[:1], *go[2:]) == "go to sinkbasin 1"
    text = "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing."
    wash = "clean mug 2 with sinkbasin 1"
    assert act(text, *go[:3], wash) == wash
    text = "You clean the mug 2 using the sinkbasin 1."
    assert act(text, *go[:3], wash) == "go to shelf 1"
    text = "You arrive at shelf 1. On the shelf 1, you see nothing."
    assert act(text, *go[:2], "move mug 2 to shelf 1") == "move mug 2 to shelf 1"


def test_goes_back_to_what_it_visited_longest_ago():
    expert = TemplateExpert("look at bowl under the desklamp")

    def act(here, text, *admissible):
        others = [f"go to {p}" for p in ("bed 1", "desk 1", "drawer 1", "shelf 1") if p != here]
        return expert.act(Observation(text, (*others, *admissible))).action

    room = "Looking quickly around you, you see a bed 1, a desk 1, a drawer 1, and a shelf 1."
    assert act("", room) == "go to bed 1"
    nothing = "You arrive at bed 1. On the bed 1, you see nothing."
    assert act("bed 1", nothing) == "go to desk 1"
    lamp = "You arrive at desk 1. On the desk 1, you see a desklamp 1."
    assert act("desk 1", lamp) == "go to drawer 1"  # the lamp is for later
    shut = "You arrive at drawer 1. The drawer 1 is closed."
    assert act("drawer 1", shut, "open drawer 1") == "open drawer 1"
    opened = "You open the drawer 1. The drawer 1 is open. In it, you see a bowl 1."
    take = "take bowl 1 from drawer 1"
    assert act("drawer 1", opened, take) == take
    taken = "You pick up the bowl 1 from the drawer 1."
    assert act("drawer 1", taken, "move bowl 1 to drawer 1") == "go to shelf 1"
    nothing = "You arrive at shelf 1. On the shelf 1, you see nothing."
    assert act("shelf 1", nothing) == "go to bed 1"  # everything is known: the longest ago
    assert act("bed 1", "You arrive at bed 1. On the bed 1, you see nothing.") == "go to desk 1"
    assert act("desk 1", lamp, "use desklamp 1") == "use desklamp 1"


def test_remembers_only_what_was_done():
    """What lies where, it reads from the newest admissible actions: the prompt keeps no more."""
    suite = _suite()
    environment = suite.make()
    for task in suite.tasks("train")[:60]:
        expert, forgetful = suite.expert(task), suite.expert(task)
        seen, done = environment.reset(task), False
        while not done:
            censored = re.sub(r", you see [^.]*\.", ", you see nothing.", seen.text)
            first = "Looking quickly around" in seen.text
            text = seen.text if first else censored
            move = expert.act(seen)
            assert forgetful.act(Observation(text, seen.admissible)) == move
            result = environment.step(move.action)
            seen, done = result.observation, result.done
