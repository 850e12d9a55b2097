"""Generated games: fixed lists, the same everywhere, balanced, disjoint, hard to win blindly."""

import collections
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

from benchmarks.controls.alfworld import CONTROLS, play_task
from skillrl.envs.alfworld import manifest, rooms
from skillrl.envs.alfworld.engine import GameEngine
from skillrl.envs.alfworld.files import index_games
from skillrl.envs.alfworld.generate import (
    CATEGORIES,
    generate_game,
    make_game,
    make_problem,
    make_room,
    write_game,
)
from skillrl.envs.alfworld.layout import Spec
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.alfworld.world import GameWorld, load_game
from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def entries():
    return manifest.load_manifest()


def _game(entry):
    return make_game(manifest.spec_of(entry))


def test_counts_and_balance(entries):
    assert {split: len(rows) for split, rows in entries.items()} == {
        "train": 2160,
        "valid_seen": 120,
        "valid_unseen": 120,
    }
    for split, rows in entries.items():
        count = collections.Counter(row["category"] for row in rows)
        assert set(count) == set(CATEGORIES)
        assert len(set(count.values())) == 1
        for start in range(0, len(rows), 6):  # every prefix is balanced
            assert [row["category"] for row in rows[start : start + 6]] == list(CATEGORIES)
        assert [row["id"] for row in rows] == [f"{split}/{i:04d}" for i in range(len(rows))]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("index", [0, 1, 2, 57, 71, 119])
def test_rebuilding_an_entry_gives_the_shipped_one(entries, split, index):
    assert manifest.build_entry(split, index) == entries[split][index]


def test_every_goal_sentence_is_the_one_its_seed_gives(entries):
    for rows in entries.values():
        for row in rows:
            assert make_problem(manifest.spec_of(row)).goal == row["goal"]


def test_rooms_of_valid_unseen_never_occur_in_train(entries):
    def layouts(split):
        return {make_room(row["scene"], row["room_seed"]).layout for row in entries[split]}

    assert not layouts("train") & layouts("valid_unseen")
    assert len(layouts("train")) > 500  # few rooms would be learned by heart
    for seen, train in zip(entries["valid_seen"], entries["train"], strict=False):
        assert [seen[k] for k in ("scene", "room_seed")] == [
            train[k] for k in ("scene", "room_seed")
        ]
    scenes = {split: {row["scene"] for row in rows} for split, rows in entries.items()}
    assert not scenes["train"] & scenes["valid_unseen"]


def test_no_two_games_are_the_same(entries):
    texts, tasks = set(), set()
    total = 0
    for rows in entries.values():
        for row in rows:
            problem = make_problem(manifest.spec_of(row))
            tasks.add(  # what can be told apart by reading, without ids and coordinates
                (
                    problem.room.layout,
                    problem.goal,
                    tuple(sorted((kind, place.id) for kind, _, place in problem.things)),
                )
            )
            text = _game(row)["pddl_problem"]
            texts.add(text[text.index("(:objects") :])
            total += 1
    assert len(texts) == len(tasks) == total


def test_texts_do_not_depend_on_the_process(entries):
    rows = [entries[split][i] for split in SPLITS for i in (0, 7, 40, 101)]
    here = [hashlib.sha256(json.dumps(_game(row)).encode()).hexdigest() for row in rows]
    code = (
        "import hashlib, json\n"
        "from skillrl.envs.alfworld import manifest as m\n"
        "from skillrl.envs.alfworld.generate import make_game\n"
        "rows = [m.load_manifest()[s][i] for s in m.SPLITS for i in (0, 7, 40, 101)]\n"
        "print(json.dumps([hashlib.sha256(json.dumps(make_game(m.spec_of(r))).encode())"
        ".hexdigest() for r in rows]))"
    )
    for seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        output = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        )
        assert json.loads(output.stdout) == here


def test_pinned_game():
    """A change of the generator changes every published number: it must not happen unnoticed."""
    game = make_game(
        Spec(scene=3, room_seed=0, category="pick_heat_then_place_in_recep", task_seed=5)
    )
    assert hashlib.sha256(game["pddl_problem"].encode()).hexdigest() == PINNED


PINNED = "78f66654787651c909a824c0b6d7e28c268288150879f86236001c8bea1b4ac6"


def test_size_of_rooms_and_vocabulary(entries):
    objects, places = collections.Counter(), collections.Counter()
    for rows in entries.values():
        for row in rows:
            problem = make_problem(manifest.spec_of(row))
            room = problem.room
            assert 8 <= len(room.receptacles) <= 14
            assert sum(r.openable for r in room.receptacles) <= 5
            assert len({r.location for r in room.receptacles} | {room.start}) == (
                len(room.receptacles) + 1
            )
            assert 10 <= len(problem.things) <= 20
            kinds = collections.Counter(kind for kind, _, _ in problem.things)
            assert max(kinds.values()) <= 4
            for kind, _, place in problem.things:
                assert kind == rooms.LAMP or kind in rooms.CAN_CONTAIN[place.kind]
            objects.update(kinds)
            places.update(r.kind for r in room.receptacles)
    assert set(objects) == set(rooms.LIKELY)
    assert set(places) == set(rooms.CAN_CONTAIN)
    assert min(objects.values()) >= 20


def test_can_contain_agrees_with_alfred_where_the_fixtures_show_it():
    shown = collections.defaultdict(set)
    for path in (ROOT / "tests/fixtures/alfworld").rglob("initial_state.pddl"):
        for line in path.read_text().splitlines():
            words = line.strip(" ()").split()
            if words[:1] == ["canContain"]:
                shown[words[1].removesuffix("Type")].add(words[2].removesuffix("Type"))
    assert shown
    for place, things in rooms.CAN_CONTAIN.items():
        missing = shown[place] & set(rooms.LIKELY) - set(things)
        assert not missing, (place, missing)


def test_start_shows_no_object_and_is_not_won(entries):
    for row in entries["valid_unseen"]:
        reply = GameEngine(GameWorld.from_game(_game(row))).reset()
        assert not reply.won
        assert reply.observation.splitlines()[2].startswith("You are in the middle of a room.")
        assert not any(a.startswith(("take ", "open ")) for a in reply.admissible)


@pytest.mark.parametrize("index", range(6))
def test_written_game_plays_the_same(entries, tmp_path, index):
    row = entries["valid_seen"][index]
    spec = manifest.spec_of(row)
    game = generate_game(spec)
    path = write_game(game, spec, tmp_path)
    parts = path.relative_to(tmp_path).parts
    assert parts[0].startswith(f"{row['category']}-")
    assert parts[0].endswith(f"-{row['scene']}")
    assert parts[1].startswith("trial_T")
    assert (path.parent / "initial_state.pddl").read_text() == game["pddl_problem"]
    found = index_games(tmp_path)["train"]
    assert [(g.category, g.goal) for g in found] == [(row["category"], row["goal"])]
    ours, theirs = GameEngine(GameWorld.from_game(game)), GameEngine(load_game(path))
    assert ours.reset() == theirs.reset()
    for command in game["walkthrough"]:
        reply = ours.step(command)
        assert reply == theirs.step(command)
    assert reply.won


def test_loading_the_manifest_generates_nothing(monkeypatch):
    def refuse(*_):
        raise AssertionError("a game was generated")

    for name in ("make_game", "make_problem", "make_room"):
        monkeypatch.setattr(manifest, name, refuse)
    manifest.load_manifest.cache_clear()
    assert manifest.load_manifest()["train"]


@pytest.mark.parametrize("name", CONTROLS)
def test_policies_that_do_not_read_the_task_rarely_win(name):
    suite = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=25))
    environment = suite.make()
    tasks = [*suite.tasks("valid_seen"), *suite.tasks("valid_unseen")]
    won = sum(play_task(environment, t, CONTROLS[name](i).act).won for i, t in enumerate(tasks))
    assert won / len(tasks) <= (0.03 if name == "uniform" else 0.20)


def test_bad_specs_say_what_is_wrong():
    with pytest.raises(SkillRLError, match="scene 99"):
        make_game(Spec(99, 0, "pick_and_place_simple", 0))
    with pytest.raises(SkillRLError, match="pick_nothing"):
        make_game(Spec(1, 0, "pick_nothing", 0))
    with pytest.raises(SkillRLError, match="cannot be played in a Bathroom"):
        make_game(Spec(401, 0, "pick_heat_then_place_in_recep", 0))
