"""The layout of the data release: splits, filters, people's goals, archives, and the cache."""

import functools
import json
import logging
import os
import pathlib
import shutil
import types

import pytest

from benchmarks.controls.alfworld import play_task
from skillrl.config.settings import AlfworldConfig, Config, diff
from skillrl.envs.alfworld import files, index_cache
from skillrl.envs.alfworld.files import GAME, index_games
from skillrl.envs.alfworld.generate import make_game, write_game
from skillrl.envs.alfworld.manifest import load_manifest, spec_of
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError
from skillrl.phases import simulated_parts

HUMAN = ["  Put the warm egg\nin the sink.  ", "Heat an egg, then put it away", "Warm egg to sink"]


@functools.cache
def _game(split: str, index: int):
    spec = spec_of(load_manifest()[split][index])
    return make_game(spec), spec


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache for every test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def release(tmp_path):
    """The layout of the data release, with six generated games in each split."""
    root = tmp_path / "data" / "json_2.1.1"
    for split in SPLITS:
        for index in range(6):
            write_game(*_game(split, index), root / split)
    return root


def game_files(root: pathlib.Path) -> list[pathlib.Path]:
    return sorted(root.rglob(GAME))


def annotate(path: pathlib.Path, *sentences: object) -> None:
    traj = path.with_name("traj_data.json")
    content = json.loads(traj.read_text())
    content["turk_annotations"] = {"anns": [{"task_desc": text} for text in sentences]}
    traj.write_text(json.dumps(content))


def suite(data_dir="", **own) -> AlfworldSuite:
    return AlfworldSuite(
        types.SimpleNamespace(data_dir=str(data_dir), max_steps=25, alfworld=AlfworldConfig(**own))
    )


def test_every_split_has_its_own_games_in_the_order_of_their_paths(release):
    played = suite(release.parent)
    for split in SPLITS:
        tasks = played.tasks(split)
        expected = [
            path.parent.relative_to(release).as_posix() for path in game_files(release / split)
        ]
        assert [task.id for task in tasks] == expected
        assert len({task.category for task in tasks}) == 6
    task = played.tasks("valid_unseen")[0]
    expert = played.expert(task)
    assert play_task(played.make(), task, lambda seen: expert.act(seen).action).won


def test_folders_without_a_game_are_left_out_and_counted(release, caplog):
    game_files(release / "train")[0].unlink()
    assert len(suite(release).tasks("train")) == 5
    assert "games left out: 1 (no game.tw-pddl)" in caplog.text
    assert "the same games" not in caplog.text


def test_several_releases_side_by_side_are_not_mixed(release):
    other = release.parent / "json_2.1.2" / "train" / "task" / "trial"
    other.mkdir(parents=True)
    shutil.copyfile(game_files(release)[0], other / GAME)
    with pytest.raises(SkillRLError, match=r"several releases \(json_2.1.1, json_2.1.2\)"):
        index_games(release.parent)


def test_games_that_were_unpacked_beside_their_annotations(release):
    """json_2.1.1 with traj_data.json alone, json_2.1.3_tw-pddl with the games."""
    games = index_games(release)
    shutil.move(release, release.parent / "json_2.1.3_tw-pddl")
    (release / "train" / "task" / "trial").mkdir(parents=True)
    (release / "train" / "task" / "trial" / "traj_data.json").write_text("{}")
    beside = index_games(release.parent)
    assert [[game.id for game in found] for found in beside.values()] == [
        [game.id for game in found] for found in games.values()
    ]


def test_games_of_a_split_that_is_not_ours_are_left_alone(release):
    """The archive of release 0.4.2 has valid_train, too."""
    before = index_games(release)
    shutil.copytree(release / "valid_seen", release / "valid_train")
    assert index_games(release) == before


def test_files_as_an_editor_on_windows_leaves_them(release):
    before = index_games(release, cache=False)
    for path in [*game_files(release), *release.rglob("traj_data.json")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert index_games(release, cache=False) == before
    play_task(suite(release).make(), suite(release).tasks("train")[0], lambda seen: "look")


# People's goals.


def test_goals_in_peoples_words(release):
    for path in game_files(release):
        annotate(path, *HUMAN)
    path = game_files(release / "train")[2]
    annotate(path, "", "   .", 7, "Something else")
    template, human = suite(release), suite(release, goals="human")
    for split in SPLITS:
        for plain, told in zip(template.tasks(split), human.tasks(split), strict=True):
            number = 3 if str(path) == plain.payload["game"] else 0
            assert told.id == f"{plain.id}@human{number}"
            assert told.goal == ("Something else" if number else "Put the warm egg in the sink")
            assert (told.category, told.payload) == (plain.category, plain.payload)
            assert human.expert(told) is None
            assert template.expert(plain) is not None


def test_the_prompt_states_one_goal_and_the_game_no_other(release):
    for path in game_files(release):
        annotate(path, *HUMAN)
    played = suite(release, goals="human")
    task = played.tasks("train")[0]
    text = played.make().reset(task).text
    template = suite(release).tasks("train")[0].goal
    assert "task" not in text.lower()
    assert template not in text


def test_a_task_sentence_with_blank_lines_goes_as_a_whole(release):
    path = game_files(release / "train")[0]
    game = json.loads(path.read_text())
    goal = suite(release).tasks("train")[0].goal
    path.write_text(
        json.dumps({**game, "grammar": game["grammar"].replace(goal, "one\n\ntwo\n\nthree")})
    )
    played = suite(release)
    task = played.tasks("train")[0]
    assert task.goal == "one\n\ntwo\n\nthree"
    text = played.make().reset(task).text
    assert text.startswith("You are in the middle of a room.")
    assert "\n" not in text


def test_games_that_nobody_described_are_left_out_of_peoples_goals(release, caplog):
    for path in game_files(release):
        annotate(path, *HUMAN)
    mute, bare, odd = game_files(release / "train")[:3]
    annotate(mute, "", None)
    bare.with_name("traj_data.json").unlink()
    kind = json.loads(odd.with_name("traj_data.json").read_text())["task_type"]
    odd.with_name("traj_data.json").write_text(
        json.dumps({"task_type": kind, "turk_annotations": {"anns": "none"}})
    )
    played = suite(release, goals="human")
    assert len(played.tasks("train")) == 3
    assert "games left out: 3 (no annotation with a goal)" in caplog.text
    assert len(suite(release).tasks("train")) == 6


def test_peoples_goals_need_the_files_that_hold_them(release):
    for path in game_files(release):
        path.with_name("traj_data.json").unlink()
    with pytest.raises(SkillRLError, match=r"json_2\.1\.1_json\.zip"):
        suite(release, goals="human")
    with pytest.raises(SkillRLError, match="generated games have no goals in people's words"):
        suite(goals="human")


@pytest.mark.parametrize(
    ("rewrite", "human"),
    [
        (lambda traj: {"images": [{"low_idx": 3}], **traj}, "Heat it"),
        (lambda traj: {"turk_annotations": traj["turk_annotations"]}, "Heat it"),  # no task type
        (lambda traj: {**traj, "task_id": 'a "task_type" quoted'}, "Heat it"),
        (lambda traj: {**traj, "task_id": "turk_annotations"}, "Heat it"),
        (lambda traj: {"plan": {"task_type": "pick"}, **traj}, "Heat it"),
        (lambda traj: {key: traj[key] for key in traj if key != "turk_annotations"}, ""),
    ],
)
@pytest.mark.parametrize("indent", [None, 4])
def test_annotations_and_task_types_are_found_wherever_they_stand(release, rewrite, human, indent):
    path = game_files(release / "train")[0]
    annotate(path, "Heat it.")
    category = suite(release).tasks("train")[0].category
    traj = path.with_name("traj_data.json")
    traj.write_text(json.dumps(rewrite(json.loads(traj.read_text())), indent=indent))
    game = index_games(release)["train"][0]
    assert (game.category, game.human) == (category, human)


def test_a_broken_traj_data_is_named(release):
    traj = game_files(release / "train")[0].with_name("traj_data.json")
    traj.write_text('{"task_type": "pick_')
    with pytest.raises(SkillRLError, match=r"traj_data\.json: not valid JSON"):
        suite(release)


# Where the data is.


def test_the_variable_is_read_only_when_asked(release, monkeypatch):
    with pytest.raises(SkillRLError, match="ALFWORLD_DATA is not set"):
        suite("env")
    monkeypatch.setenv("ALFWORLD_DATA", str(release.parent))
    assert [task.id for task in suite("env").tasks("train")] == [
        task.id for task in suite(release).tasks("train")
    ]
    assert suite("env").simulated == ""
    assert suite("").simulated == "generated games"
    named = simulated_parts.list_parts(Config.from_dict({"env": {"data_dir": "env"}}), "")
    assert named[0].what == "alfworld, games of $ALFWORLD_DATA"


@pytest.mark.parametrize(
    ("kept", "complaint"),
    [
        (["traj_data.json"], r"It has the traj_data\.json of json_2\.1\.1_json\.zip; "),
        (["initial_state.pddl"], r"initial_state\.pddl of json_2\.1\.1_pddl\.zip; "),
        (
            ["traj_data.json", "initial_state.pddl"],
            r"json_2\.1\.1_json\.zip and json_2\.1\.1_pddl\.zip; ",
        ),
    ],
)
def test_a_missing_archive_is_named(release, kept, complaint):
    for path in sorted(release.rglob("*")):
        if path.is_file() and path.name not in kept:
            path.unlink()
    missing = r"with the games, json_2\.1\.3_tw-pddl\.zip, is missing\. Unpack it over them"
    with pytest.raises(SkillRLError, match=complaint + ".*" + missing) as caught:
        suite(release.parent)
    assert "Skipped 18: no game.tw-pddl" in str(caught.value)


def test_archives_that_nobody_unpacked_are_pointed_at(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "json_2.1.2_tw-pddl.zip").write_bytes(b"PK")
    with pytest.raises(SkillRLError, match=r"unopened: json_2\.1\.2_tw-pddl\.zip\. Unpack them"):
        suite(tmp_path / "data")


# The cache.


@pytest.fixture
def reads(monkeypatch):
    """Folders whose game was read, in order."""
    seen = []
    read = files.read_record

    def count(folder):
        seen.append(folder.name)
        return read(folder)

    monkeypatch.setattr(files, "read_record", count)
    return seen


def test_games_are_read_once(release, reads, cache):
    first = index_games(release)
    assert len(reads) == 18
    reads.clear()
    second = index_games(release.parent)  # the same games by another name
    assert (second, second.skipped) == (first, first.skipped)
    assert reads == []
    assert len(list(cache.rglob("*.json"))) == 1
    assert index_games(release, cache=False) == first
    assert len(reads) == 18


def test_added_changed_and_removed_games_are_noticed(release, reads):
    index_games(release)
    reads.clear()
    changed, told, removed = game_files(release / "train")[:3]
    game = json.loads(changed.read_text())
    changed.write_text(json.dumps({**game, "solvable": False}))
    annotate(told, "Now somebody says so")
    for path in list(removed.parent.iterdir()):
        path.unlink()
    added = write_game(*_game("train", 7), release / "train")
    index = index_games(release)
    assert sorted(reads) == sorted([changed.parent.name, told.parent.name, added.parent.name])
    assert [game.path for game in index["train"]] == [
        path for path in game_files(release / "train") if path != changed
    ]
    assert {game.human for game in index["train"] if game.path == told} == {"Now somebody says so"}
    assert index.skipped == {"not solvable": 1}
    assert index == index_games(release, cache=False)


def test_a_change_that_keeps_size_and_time_is_noticed(release, reads):
    index_games(release)
    reads.clear()
    path = game_files(release / "train")[0]
    before = path.stat()
    text = path.read_text()
    path.write_text(text.replace('"solvable": true', '"solvable": null'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert index_games(release).skipped == {"not solvable": 1}
    assert len(reads) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace('"format":1', '"format":0'),
        lambda text: text.replace('"root":"', '"root":"/elsewhere'),
        lambda text: text.replace("pick_two_obj_and_place", "pick_a_fight"),
        lambda text: json.dumps({**json.loads(text), "games": {"train/x": [1, 2]}}),
        lambda text: "\x00" * 100,
    ],
)
def test_a_damaged_cache_is_read_as_empty_and_written_anew(release, reads, cache, damage):
    first = index_games(release)
    (kept,) = cache.rglob("*.json")
    good = kept.read_text()
    kept.write_text(damage(good))
    reads.clear()
    assert index_games(release) == first
    assert len(reads) == 18
    assert json.loads(kept.read_text()) == json.loads(good)


def test_a_cache_that_cannot_be_written_is_a_warning(release, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert len(index_games(release)["train"]) == 6
    assert "is not kept" in caplog.text


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert index_cache.cache_file(tmp_path).parent == tmp_path / ".cache/skillrl/alfworld"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert index_cache.cache_file(tmp_path).parent == tmp_path / "c/skillrl/alfworld"
    assert index_cache.cache_file(tmp_path) != index_cache.cache_file(tmp_path / "c")


def test_a_run_may_change_its_engine_but_not_its_goals():
    def env(**own):
        return Config.from_dict({"env": {"alfworld": own}})

    assert diff(Config(), env(engine="textworld")) == []
    assert diff(Config(), env(goals="human")) == ['env.alfworld.goals was "template", now "human"']
    with pytest.raises(SkillRLError, match="must be one of native, textworld"):
        env(engine="java")
