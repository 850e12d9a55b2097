"""Directories that take the place of others whole or not at all."""

from __future__ import annotations

import os

import pytest

from skillrl.io.atomic import replace_directory
from skillrl.phases.leftovers import remove_leftovers


def made(path, text: str):
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_new_directory_takes_the_place_of_an_old_one_and_leaves_nothing_beside_it(tmp_path):
    place = made(tmp_path / "policy", "old")
    (place / "another").write_text("of the old one")
    replace_directory(made(tmp_path / "new", "new"), place)
    assert (place / "file").read_text() == "new"
    assert os.listdir(place) == ["file"]
    assert os.listdir(tmp_path) == ["policy"]


def test_a_directory_may_be_put_where_there_was_none(tmp_path):
    replace_directory(made(tmp_path / "new", "new"), tmp_path / "policy")
    assert (tmp_path / "policy" / "file").read_text() == "new"


def test_what_a_kill_between_the_two_renames_leaves_is_put_back(tmp_path, monkeypatch):
    place, new = made(tmp_path / "policy", "old"), made(tmp_path / "new", "new")
    rename, done = os.rename, []

    def killed(source, target):
        if done:
            raise KeyboardInterrupt
        done.append(source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        replace_directory(new, place)
    monkeypatch.undo()
    assert not place.exists()
    remove_leftovers(tmp_path)
    assert (place / "file").read_text() == "old"
