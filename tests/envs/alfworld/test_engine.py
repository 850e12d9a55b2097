"""The native engine against recorded walks of the real one, and its odd corners by hand."""

import functools
import json
import pathlib

import hypothesis
import hypothesis.strategies as st
import pytest
from authored_game import IN_FRIDGE, KITCHEN, game, goal_in, kitchen, play

from skillrl.envs.alfworld.engine import NOTHING_HAPPENS, GameEngine
from skillrl.envs.alfworld.replay import replay
from skillrl.envs.alfworld.world import GameWorld, load_game
from skillrl.errors import SkillRLError

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "alfworld"
GAMES = sorted(FIXTURES.glob("*/*/game.tw-pddl"))


# The real engine.


@pytest.mark.parametrize("path", GAMES, ids=lambda p: p.parts[-3])
def test_answers_as_the_real_engine_did(path):
    world = load_game(path)
    recorded = json.loads(path.with_name("walks.json").read_text())
    assert world.task == recorded["goal"]
    assert world.solvable
    assert len(recorded["walks"]) >= 3
    for walk in recorded["walks"]:
        steps = [{"reward": 0, "done": False, **recorded["reset"]}, *walk["steps"]]
        answers = replay(world, [step["action"] for step in walk["steps"]])
        assert len(answers) == len(steps)
        for step, answer in zip(steps, answers, strict=True):
            context = (walk["kind"], step.get("action"))
            assert answer["observation"] == step["observation"], context
            assert answer["admissible"] == step["admissible_commands"], context
            assert {k: answer[k] for k in ("won", "done", "reward")} == {
                k: step[k] for k in ("won", "done", "reward")
            }, context


def test_the_fixtures_are_there_and_their_walkthroughs_win():
    assert len(GAMES) == 14
    for path in GAMES:
        world = load_game(path)
        assert replay(world, world.walkthrough)[-1]["won"], path


# Names and listings.


def test_ids_sort_minus_before_plus_and_a_plain_zero_before_both():
    # Apples by id: |00.00 ("_bar_00"), then "_bar__minus_", then "_bar__plus_"; numbers fall.
    assert GameEngine(kitchen().world).world.objects[:3] == ("apple 3", "apple 2", "apple 1")
    engine = kitchen()
    assert play(engine, "go to countertop 1").startswith("You arrive at countertop 1.")
    assert "apple 1" in play(engine, "examine countertop 1")  # the + countertop, the + apple
    assert "apple 3" in play(engine, "go to countertop 2")  # the - countertop, the 0 apple
    assert "apple 2" in play(engine, "go to fridge 1", "open fridge 1")


def test_receptacles_and_objects_of_a_class_share_their_numbers():
    world = kitchen().world
    assert "cabinet 2" in world.receptacles  # |+02 sorts before |+03
    assert "cabinet 1" in world.objects
    assert {"sink 1", "sinkbasin 1"} <= {*world.receptacles, *world.objects}


def test_ids_without_facts_do_not_exist():
    made = game(KITCHEN, goal=IN_FRIDGE)
    text = made["pddl_problem"]
    assert "apple 4" not in GameWorld.from_game(made).objects
    made["pddl_problem"] = text.replace("(:objects", "(:objects\nApple_bar_9 - object Faucet_bar_1")
    assert GameWorld.from_game(made).objects == kitchen().world.objects


def test_room_overview_and_looking_in_the_middle():
    engine = kitchen(task="cook")
    assert engine.reset().observation == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly "
        "around you, you see a cabinet 2, a coffeemachine 1, a countertop 2, a countertop 1, "
        "a fridge 1, a microwave 1, and a sinkbasin 1.\n\nYour task is to: cook."
    )
    assert play(engine, "look") == (
        "You are in the middle of a room. Looking quickly around you, you see nothing."
    )


def test_an_agent_that_starts_at_a_receptacle_is_facing_it():
    reply = kitchen("atLocation agent1 loc|1|1|0|0").reset()
    scene = reply.observation.split("\n\n")[1]
    assert scene == "You are facing the countertop 1, and fridge 1. Next to it, you see nothing."
    assert "go to fridge 1" not in reply.admissible
    assert "open fridge 1" in reply.admissible
    assert "take apple 1 from countertop 1" in reply.admissible


def test_admissible_list_is_complete_and_sorted():
    engine = kitchen()
    engine.step("go to countertop 1")
    assert list(engine.step("look").admissible) == [
        "examine countertop 1",
        "examine fridge 1",
        "go to cabinet 2",
        "go to coffeemachine 1",
        "go to countertop 2",
        "go to microwave 1",
        "go to sinkbasin 1",
        "help",
        "inventory",
        "look",
        "open fridge 1",
        "take apple 1 from countertop 1",
        "take knife 1 from countertop 1",
        "take mug 1 from countertop 1",
        "take teddybear 1 from countertop 1",
        "use desklamp 1",  # in the closed fridge
    ]


# Objects in odd places.


def test_an_object_in_two_receptacles_leaves_only_the_one_it_is_taken_from():
    engine = kitchen()
    play(engine, "go to countertop 1", "take mug 1 from countertop 1")
    assert "mug" not in play(engine, "examine countertop 1")
    there = engine.step("go to coffeemachine 1")
    assert there.observation.endswith("On the coffeemachine 1, you see a mug 1.")
    assert "take mug 1 from coffeemachine 1" not in there.admissible  # it is in the hand
    assert play(engine, "take mug 1 from coffeemachine 1") == NOTHING_HAPPENS
    play(engine, "go to cabinet 2", "move mug 1 to cabinet 2")
    assert play(engine, "go to coffeemachine 1").endswith("you see a mug 1.")
    assert "take mug 1 from coffeemachine 1" in engine.step("look").admissible


def test_a_goal_sees_every_parent_of_an_object():
    engine = kitchen(goal=goal_in("Mug", "CoffeeMachine"))
    assert engine.reset().won
    play(engine, "go to countertop 1", "take mug 1 from countertop 1")
    assert engine.step("look").won


def test_next_to_it_lists_what_was_moved_between_neighbours():
    engine = kitchen()
    alone = "You are facing the countertop 1, and fridge 1. Next to it, you see nothing."
    assert play(engine, "go to countertop 1", "look") == alone
    play(engine, "take apple 1 from countertop 1", "open fridge 1", "move apple 1 to fridge 1")
    assert play(engine, "look").endswith("Next to it, you see a apple 1.")
    play(engine, "take apple 2 from fridge 1", "move apple 2 to countertop 1")
    assert play(engine, "look").endswith("Next to it, you see a apple 2, and a apple 1.")
    play(engine, "take apple 1 from fridge 1", "move apple 1 to countertop 1")
    # Back where it was, but now it was removed from the fridge.
    assert play(engine, "look").endswith("Next to it, you see a apple 2, and a apple 1.")


def test_next_to_it_has_one_entry_for_each_receptacle_left():
    third = """
        receptacleAtLocation Shelf|+00.00|+00.00|+00.00 loc|1|1|0|0
        canContain ShelfType AppleType"""
    engine = kitchen(third)
    play(engine, "go to fridge 1", "open fridge 1", "take apple 2 from fridge 1")
    play(engine, "move apple 2 to countertop 1", "take apple 2 from countertop 1")
    assert play(engine, "look").endswith("you see nothing.")  # in the hand
    play(engine, "move apple 2 to shelf 1")
    assert play(engine, "look").endswith("Next to it, you see a apple 2, and a apple 2.")


def test_inside_a_movable_receptacle():
    engine = kitchen()
    assert "spoon" not in play(engine, "go to countertop 2")
    normal = "This is a normal plate 1. In it, you see a spoon 1."
    play(engine, "take plate 1 from countertop 2")
    assert play(engine, "examine plate 1") == normal
    play(engine, "go to sinkbasin 1", "clean plate 1 with sinkbasin 1")
    assert play(engine, "examine plate 1") == normal
    assert play(engine, "examine spoon 1") == NOTHING_HAPPENS


def test_an_empty_vessel():
    engine = kitchen()
    play(engine, "go to countertop 1", "take mug 1 from countertop 1")
    assert play(engine, "examine mug 1") == "This is a normal mug 1. In it, you see nothing."


def test_what_no_receptacle_can_contain_stays_in_the_hand():
    engine = kitchen()
    play(engine, "go to countertop 1", "take teddybear 1 from countertop 1")
    assert not [c for c in engine.step("look").admissible if c.startswith(("move", "take"))]
    assert play(engine, "move teddybear 1 to countertop 1") == NOTHING_HAPPENS


def test_fixed_things_are_listed_but_not_taken():
    engine = kitchen()
    assert "a houseplant 1" in play(engine, "go to countertop 2")
    assert play(engine, "take houseplant 1 from countertop 2") == NOTHING_HAPPENS


def test_openable_is_a_matter_of_the_instance():
    engine = kitchen()
    there = engine.step("go to cabinet 2")
    assert there.observation.endswith("On the cabinet 2, you see nothing.")
    assert "open cabinet 2" not in there.admissible
    assert play(engine, "open cabinet 2") == play(engine, "close cabinet 2") == NOTHING_HAPPENS


def test_open_close_and_what_is_inside():
    engine = kitchen()
    assert play(engine, "go to fridge 1") == "You arrive at fridge 1. The fridge 1 is closed."
    assert play(engine, "take apple 2 from fridge 1") == NOTHING_HAPPENS
    inside = "The fridge 1 is open. In it, you see a apple 2, and a desklamp 1."
    assert play(engine, "open fridge 1") == f"You open the fridge 1. {inside}"
    assert play(engine, "examine fridge 1") == inside
    assert play(engine, "open fridge 1") == NOTHING_HAPPENS
    assert play(engine, "close fridge 1") == "You close the fridge 1."


# Treating things.


def test_texts_of_treated_objects():
    engine = kitchen()
    plain = "There's nothing special about apple 1."
    play(engine, "go to countertop 1", "take apple 1 from countertop 1")
    assert play(engine, "examine apple 1") == plain
    assert play(engine, "cool apple 1 with fridge 1") == "You cool the apple 1 using the fridge 1."
    assert play(engine, "examine apple 1") == "This is a cold apple 1."
    play(engine, "go to sinkbasin 1", "clean apple 1 with sinkbasin 1")
    assert play(engine, "examine apple 1") == "This is a cool and clean apple 1."
    play(engine, "go to microwave 1", "heat apple 1 with microwave 1")
    assert play(engine, "examine apple 1") == "This is a hot and clean apple 1."
    assert "apple" not in play(engine, "examine microwave 1")


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ("isSliced", "This is a sliced apple 1."),
        ("isClean", "This is a clean apple 1."),
        ("isHot", "This is a hot apple 1."),
        ("isCool isSliced", "This is a cool sliced apple 1."),
        ("isHot isSliced", "This is a hot sliced apple 1."),
        ("isClean isSliced", "This is a clean sliced apple 1."),
        ("isClean isCool isSliced", "This is a cool and clean sliced apple 1."),
        ("isClean isHot isSliced", "This is a hot and clean sliced apple 1."),
    ],
)
def test_states_from_the_start_are_honoured(facts, text):
    more = "\n".join(f"{fact} Apple|+00.20|+00.00|+00.00" for fact in facts.split())
    engine = kitchen(more)
    play(engine, "go to countertop 1", "take apple 1 from countertop 1")
    assert play(engine, "examine apple 1") == text


def test_slicing():
    engine = kitchen()
    play(engine, "go to countertop 1", "take knife 1 from countertop 1")
    commands = [c for c in engine.step("look").admissible if c.startswith("slice")]
    # Also the apple in the closed fridge; not the knife in the hand, not the apple elsewhere.
    assert commands == ["slice apple 1 with knife 1", "slice apple 2 with knife 1"]
    for _ in range(2):
        assert (
            play(engine, "slice apple 2 with knife 1") == "You sliced the apple 2 with the knife 1."
        )
    assert play(engine, "slice knife 1 with knife 1") == NOTHING_HAPPENS
    play(engine, "move knife 1 to countertop 1", "open fridge 1", "take apple 2 from fridge 1")
    assert play(engine, "examine apple 2") == "This is a sliced apple 2."


def test_lamps_go_on_and_never_off():
    engine = kitchen()
    assert play(engine, "use desklamp 1") == NOTHING_HAPPENS
    play(engine, "go to fridge 1")
    for _ in range(2):
        assert play(engine, "use desklamp 1") == "You turn on the desklamp 1."


def test_a_lamp_that_can_be_picked_up_says_that_it_is_on():
    engine = kitchen("pickupable DeskLamp|+00.50|+00.00|+00.00")
    play(engine, "go to fridge 1", "open fridge 1", "take desklamp 1 from fridge 1")
    assert play(engine, "examine desklamp 1") == "There's nothing special about desklamp 1."
    assert play(engine, "use desklamp 1") == NOTHING_HAPPENS
    engine.reset()
    play(
        engine, "go to fridge 1", "use desklamp 1", "open fridge 1", "take desklamp 1 from fridge 1"
    )
    assert play(engine, "examine desklamp 1") == "This desklamp 1 is on."


# Goals.


def test_a_goal_met_at_the_start_can_be_lost_and_regained():
    engine = kitchen(
        "isCool Apple|-00.20|+00.00|+00.00", goal=goal_in("Apple", "Fridge", "(isCool ?o)")
    )
    first = engine.reset()
    assert (first.won, first.done, first.reward) == (True, False, 0)
    still = engine.step("go to fridge 1")
    assert (still.won, still.done, still.reward) == (True, True, 1)
    assert engine.step("nonsense").done
    engine.step("open fridge 1")
    lost = engine.step("take apple 2 from fridge 1")
    assert (lost.won, lost.done, lost.reward) == (False, False, 0)
    assert engine.step("move apple 2 to fridge 1").won


def test_treatment_can_win_and_its_opposite_lose():
    held_hot = "(exists (?o - object ?a - agent) (and (isHot ?o) (holds ?a ?o)))"
    engine = kitchen(goal=held_hot)
    play(engine, "go to countertop 1", "take apple 1 from countertop 1", "go to microwave 1")
    assert engine.step("heat apple 1 with microwave 1").won
    assert engine.step("go to fridge 1").won
    assert not engine.step("cool apple 1 with fridge 1").won


def test_two_objects_in_the_same_receptacle():
    both = (
        "(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 AppleType)"
        " (receptacleType ?r CounterTopType) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and"
        " (not (= ?o1 ?o2)) (objectType ?o2 AppleType) (inReceptacle ?o2 ?r))))))"
    )
    engine = kitchen(goal=both)
    assert not engine.reset().won  # one apple on each countertop
    play(engine, "go to fridge 1", "open fridge 1", "take apple 2 from fridge 1")
    assert engine.step("move apple 2 to countertop 1").won


def test_light_and_object_in_either_order():
    goal = (
        "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and"
        " (objectType ?ot DeskLampType) (toggleable ?ot) (isToggled ?ot)"
        " (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))"
        " (exists (?o - object ?a - agent) (and (objectType ?o PlateType) (holds ?a ?o)))"
    )
    engine = kitchen(goal=goal)
    play(engine, "go to fridge 1", "use desklamp 1", "go to countertop 2")
    assert not engine.step("take plate 1 from countertop 2").won
    assert engine.step("go to fridge 1").won


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        ("(forall (?r - receptacle) (not (opened ?r)))", True),
        ("(not (exists (?r - receptacle) (not (opened ?r))))", False),
        ("(or (opened Fridge_bar__plus_01_dot_00_bar__plus_00_dot_00_bar__plus_00_dot_00))", False),
        ("(and)", True),
    ],
)
def test_other_goal_forms(goal, met):
    if goal.startswith("(not (exists"):
        with pytest.raises(SkillRLError, match="can never be met"):  # cabinets do not open
            kitchen(goal=goal)
        return
    engine = kitchen(goal=goal)
    assert engine.reset().won is met
    engine.step("go to fridge 1")
    assert engine.step("open fridge 1").won is (goal == "(and)" or not met)


@pytest.mark.parametrize(
    "goal",
    [
        goal_in("Book", "Fridge"),
        goal_in("Apple", "Bed"),
        goal_in("Mug", "Fridge"),  # a fridge cannot contain it
        goal_in("Spoon", "Plate"),
    ],
)
def test_a_goal_that_nothing_can_meet_is_refused(goal):
    with pytest.raises(SkillRLError, match="the goal can never be met"):
        kitchen(goal=goal)


# Texts and dialects.


@pytest.mark.parametrize(
    ("sentence", "printed"),
    [
        ("look, apple; and", "look, apple"),
        *((f"one{stop}two{stop}", "one") for stop in ";|<>[]#{}"),
        ('put the "red" mug', "put the red mug."),
        ("It's done.", "It's done.."),
        ("  a\tb  // & : ! ? % \\ ( ) é", "  a\tb  // & : ! ? % \\ ( ) é."),
        ("two\nlines", "two\nlines."),
    ],
)
def test_task_sentences(sentence, printed):
    made = game(KITCHEN, goal=IN_FRIDGE, task="MARK")
    made["grammar"] = made["grammar"].replace("MARK", sentence)
    world = GameWorld.from_game(made)
    assert GameEngine(world).reset().observation.endswith(f"\n\nYour task is to: {printed}")
    assert printed in (world.task, world.task + ".")


def test_help_loses_its_leading_newline_only():
    assert play(kitchen(), "help") == "Available commands:\n  look: look around\n"


def test_older_dialect():
    engine = kitchen(put="put {o} in/on {r}", help_action=False)
    assert "help" not in engine.reset().admissible
    assert play(engine, "help") == NOTHING_HAPPENS
    play(engine, "go to countertop 1")
    listed = engine.step("take apple 1 from countertop 1").admissible
    assert "put apple 1 in/on countertop 1" in listed
    assert play(engine, "move apple 1 to countertop 1") == NOTHING_HAPPENS
    text = play(engine, "put apple 1 in/on countertop 1")
    assert text == "You put the apple 1 in/on the countertop 1."
    newer = kitchen()
    play(newer, "go to countertop 1", "take apple 1 from countertop 1")
    assert play(newer, "put apple 1 in/on countertop 1") == NOTHING_HAPPENS


def test_only_surrounding_blanks_are_forgiven():
    engine = kitchen()
    assert play(engine, " \tgo to fridge 1\n").startswith("You arrive")
    for text in ("", "Look", "look.", "> look", "open  fridge 1", "look around", "go fridge 1"):
        assert play(engine, text) == NOTHING_HAPPENS, text


def test_inventory():
    engine = kitchen()
    assert play(engine, "inventory") == "You are not carrying anything."
    play(engine, "go to countertop 1", "take mug 1 from countertop 1")
    assert play(engine, "inventory") == "You are carrying: a mug 1."


# Properties.


@functools.cache
def _world(number: int) -> GameWorld:
    return load_game(GAMES[number]) if number < len(GAMES) else kitchen().world


worlds = st.integers(0, len(GAMES)).map(_world)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(worlds, st.randoms(use_true_random=False), st.integers(1, 40))
def test_admissible_commands_are_understood_and_others_change_nothing(world, rng, steps):
    engine = GameEngine(world)
    reply = engine.reset()
    heard = {"help", "look", "use fridge 1"}
    for _ in range(steps):
        listed = reply.admissible
        assert list(listed) == sorted(set(listed))
        heard.update(listed)
        before = engine.facts()
        other = rng.choice(sorted(heard - set(listed)) or ["sing"])
        refused = engine.step(other)
        assert (refused.observation, refused.admissible) == (NOTHING_HAPPENS, listed)
        assert refused.won == reply.won
        assert engine.facts() == before
        reply = engine.step(rng.choice(listed))
        assert reply.observation != NOTHING_HAPPENS
        assert reply.done == reply.won == bool(reply.reward)
    fresh = engine.reset()
    assert fresh == GameEngine(world).reset()
    assert engine.facts() == GameEngine(world).facts()


VERBS = "go open close take move put clean heat cool use slice look inventory examine help"
THINGS = "to in/on from with apple fridge sinkbasin knife 1 2 -1"
WORDS = st.sampled_from([*VERBS.split(), *THINGS.split(), "", "\t"])


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(worlds, st.lists(st.text(max_size=30) | st.lists(WORDS).map(" ".join)))
def test_no_text_raises_and_only_listed_ones_are_understood(world, commands):
    engine = GameEngine(world)
    listed = engine.reset().admissible
    for command in commands:
        reply = engine.step(command)
        assert (reply.observation != NOTHING_HAPPENS) == (command.strip() in listed)
        listed = reply.admissible
