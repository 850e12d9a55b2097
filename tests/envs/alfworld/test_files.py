"""Indexing directories of official-format games, and what is said about broken ones."""

import json
import pathlib

import pytest
from authored_game import game, goal_in

from skillrl.envs.alfworld.engine import GameEngine
from skillrl.envs.alfworld.files import CATEGORIES, index_games
from skillrl.envs.alfworld.world import GameWorld, load_game
from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "alfworld"
FACTS = """
receptacleAtLocation Shelf|+01.00|+00.00|+00.00 loc|1|1|0|0
canContain ShelfType BookType
inReceptacle Book|+01.00|+00.00|+00.00 Shelf|+01.00|+00.00|+00.00
objectAtLocation Book|+01.00|+00.00|+00.00 loc|1|1|0|0
pickupable Book|+01.00|+00.00|+00.00
cleanable Book|+01.00|+00.00|+00.00
"""
SIMPLE = game(FACTS, goal=goal_in("Book", "Shelf"), task="put a book in shelf")
FOLDER = "pick_and_place_simple-Book-None-Shelf-1/trial_T1"


def write(folder: pathlib.Path, content=SIMPLE, traj=None) -> pathlib.Path:
    folder.mkdir(parents=True)
    path = folder / "game.tw-pddl"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    if traj is not None:
        (folder / "traj_data.json").write_text(json.dumps(traj))
    return path


def test_a_flat_directory_serves_every_split():
    index = index_games(FIXTURES)
    assert list(index) == list(SPLITS)
    assert index["train"] == index["valid_seen"] == index["valid_unseen"]
    assert len(index["train"]) == 14
    assert index.skipped == {}
    assert [g.path for g in index["train"]] == sorted(FIXTURES.glob("*/*/game.tw-pddl"))
    for one in index["train"]:
        recorded = json.loads(one.path.with_name("walks.json").read_text())
        assert one.category == recorded["world"]["task_type"]
        assert one.goal == recorded["goal"]
        assert one.id == "/".join(one.path.parts[-3:-1])
    assert {one.category for one in index["train"]} == set(CATEGORIES)


@pytest.mark.parametrize("release", ["", "json_2.1.1"])
def test_split_folders(tmp_path, release):
    for split in ("valid_unseen", "train"):
        write(tmp_path / release / split / FOLDER)
    index = index_games(tmp_path)
    assert [g.id for g in index["train"]] == [f"train/{FOLDER}"]
    assert [g.id for g in index["valid_unseen"]] == [f"valid_unseen/{FOLDER}"]
    assert index["valid_seen"] == []


def test_games_are_skipped_as_officially_and_counted(tmp_path):
    unsaid = {key: value for key, value in SIMPLE.items() if key != "solvable"}
    write(tmp_path / FOLDER)
    write(tmp_path / "pick_and_place_simple-AppleSliced-None-Shelf-1" / "a")
    write(tmp_path / "pick_and_place_with_movable_recep-Book-Bowl-Shelf-1" / "a", "not even JSON")
    write(tmp_path / "x" / "no", {**SIMPLE, "solvable": False})
    write(tmp_path / "x" / "unsaid", unsaid)
    write(tmp_path / "y", traj={"task_type": "pick_and_place_with_movable_recep"})
    index = index_games(tmp_path)
    assert [g.id for g in index["train"]] == [FOLDER]
    assert index.skipped == {
        "path contains 'Sliced'": 1,
        "path contains 'movable'": 1,
        "not solvable": 1,
        "'solvable' is missing": 1,
        "task type 'pick_and_place_with_movable_recep'": 1,
    }


def test_the_name_of_the_directory_itself_excludes_nothing(tmp_path):
    write(tmp_path / "movableSliced" / FOLDER)
    assert len(index_games(tmp_path / "movableSliced")["train"]) == 1


def test_category_from_file_then_folder_then_goal(tmp_path):
    traj = {"task_type": "pick_heat_then_place_in_recep"}
    clean = game(FACTS, goal=goal_in("Book", "Shelf", "(isClean ?o)"))
    write(tmp_path / "1" / FOLDER, traj=traj)
    write(tmp_path / "2" / FOLDER, clean)
    write(tmp_path / "3", clean)
    write(tmp_path / "4")
    assert [g.category for g in index_games(tmp_path)["train"]] == [
        "pick_heat_then_place_in_recep",
        "pick_and_place_simple",
        "pick_clean_then_place_in_recep",
        "pick_and_place_simple",
    ]


def test_empty_missing_and_unplayable_directories_say_what_to_do(tmp_path):
    with pytest.raises(SkillRLError, match=r"nowhere: no such directory.*Give the directory"):
        index_games(tmp_path / "nowhere")
    with pytest.raises(SkillRLError, match=r"no playable game\.tw-pddl below it.*Give the"):
        index_games(tmp_path)
    write(tmp_path / "a", {**SIMPLE, "solvable": False})
    with pytest.raises(SkillRLError, match="Skipped 1: not solvable"):
        index_games(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds a list, not an object"),
        (
            {"solvable": True, "pddl_problem": SIMPLE["pddl_problem"]},
            "the key 'grammar' is missing",
        ),
        ({**SIMPLE, "pddl_problem": 3}, "'pddl_problem' should be a text, not int"),
        ({**SIMPLE, "grammar": "nothing"}, "no 'Your task is to: ' sentence"),
    ],
)
def test_broken_files_are_named_by_the_index_and_the_loader(tmp_path, content, complaint):
    path = write(tmp_path / FOLDER, content)
    for read in (lambda: index_games(tmp_path), lambda: load_game(path)):
        with pytest.raises(SkillRLError, match=complaint) as caught:
            read()
        assert str(path) in str(caught.value)
        assert "Restore the file" in str(caught.value)


def problem(old: str, new: str) -> dict:
    assert old in SIMPLE["pddl_problem"]
    return {**SIMPLE, "pddl_problem": SIMPLE["pddl_problem"].replace(old, new)}


BOOK = "Book_bar__plus_01_dot_00_bar__plus_00_dot_00_bar__plus_00_dot_00"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({**SIMPLE, "pddl_problem": ""}, "not one"),
        ({**SIMPLE, "pddl_problem": SIMPLE["pddl_problem"][:-40]}, "probably cut off"),
        ({**SIMPLE, "pddl_problem": SIMPLE["pddl_problem"] + ")"}, "closes more brackets"),
        (problem("(:init", "(:begin"), r"no \(:init"),
        (problem(f"(pickupable {BOOK})", "(pickupable Cup_bar_1)"), "does not declare"),
        (problem(f"(pickupable {BOOK})", "(pickupable)"), "has 0 arguments instead of 1"),
        (problem(f"(pickupable {BOOK})", "(not (pickupable x))"), "is not a plain fact"),
        (problem("(atLocation agent1", "(wasAt agent1"), "0 facts that give a place for the agent"),
        (problem("(inReceptacle ?o ?r)", "(checked ?r)"), "not tracked"),
        (problem("(inReceptacle ?o ?r)", "(inReceptacle ?o)"), "has 1 arguments instead of 2"),
        (problem("(inReceptacle ?o ?r)", "(when (x) (y))"), "cannot read"),
        (problem("(:objects", "(:objects x -)(:more"), "has no type"),
        (problem("BookType - otype", ""), "'booktype', which :objects does not declare"),
        (problem("(:objects", "(:objects ((x))"), "stands in a list of names"),
        ({**SIMPLE, "grammar": SIMPLE["grammar"].replace("action Put", "")}, "no 'move' or 'put'"),
    ],
)
def test_unplayable_problems_are_named_by_the_loader(tmp_path, content, complaint):
    path = write(tmp_path / FOLDER, content)
    with pytest.raises(SkillRLError, match=complaint) as caught:
        load_game(path)
    assert str(path) in str(caught.value)


def test_costs_in_the_facts_and_comments_are_skipped():
    costs = "(:init ; a comment (\n(= (total-cost) 0) (= (distance a b) 3)"
    assert GameWorld.from_game(problem("(:init", costs)).objects == ("book 1",)


def test_facts_about_things_of_another_type_have_no_effect():
    odd = problem("(:init", f"(:init (openable {BOOK}) (objectAtLocation Shelf_bar_1 Shelf_bar_1)")
    odd["pddl_problem"] = odd["pddl_problem"].replace(
        "(:objects", "(:objects Shelf_bar_1 - receptacle"
    )
    world = GameWorld.from_game(odd)
    assert world.objects == ("book 1",)
    assert world.receptacles == ("shelf 2", "shelf 1")  # it counts, though it is nowhere
    assert not world.traits["openable"]
    listed = GameEngine(world).reset().admissible
    assert listed == ("go to shelf 1", "help", "inventory", "look")


def test_solvable_is_what_the_file_says():
    assert GameWorld.from_game(SIMPLE).solvable
    assert not GameWorld.from_game({**SIMPLE, "solvable": False}).solvable


@pytest.mark.parametrize("walkthrough", [5, "look", [5]])
def test_a_walkthrough_that_is_no_list_of_actions_is_refused(walkthrough):
    with pytest.raises(SkillRLError, match="'walkthrough' should be a list of actions"):
        GameWorld.from_game({**SIMPLE, "walkthrough": walkthrough})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SkillRLError, match=r"gone\.tw-pddl: cannot be read"):
        load_game(tmp_path / "gone.tw-pddl")
