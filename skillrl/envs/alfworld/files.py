"""Finds official-format games in a directory.

Two layouts are understood: one folder per split (``train``, ``valid_seen``,
``valid_unseen``), as in the data release, or a flat directory of games. A flat directory
serves every split: all its games appear under each split's name.

What was read from a game is kept in the user's cache (`index_cache`), so that only games that
were added or changed since are read again.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping

from skillrl.envs.alfworld import index_cache
from skillrl.envs.alfworld.record import CATEGORIES, GAME, TRAJ, Record, read_record
from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.text import repair

__all__ = ["CATEGORIES", "GAME", "GameFile", "GameIndex", "data_directory", "index_games"]

VARIABLE = "ALFWORLD_DATA"
"""Environment variable with which alfworld itself is told where the data is."""

_EXCLUDED = ("movable", "Sliced")
_STATE = "initial_state.pddl"
_ARCHIVES = {TRAJ: "json_2.1.1_json.zip", _STATE: "json_2.1.1_pddl.zip"}
_GAMES_ARCHIVE = "json_2.1.3_tw-pddl.zip"
_NO_GAME = f"no {GAME}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GameFile:
    """Describes one game on disk.

    Attributes:
      id: folder of the game below the directory that was indexed, ``/`` between its parts.
      path: the ``game.tw-pddl``.
      category: task type, one of `CATEGORIES`.
      goal: the task sentence as printed, without the final period.
      human: what a person said the task is: the first annotation that is not blank, on one
        line, without the final period; "" where there is none.
      annotation: its position among the annotations of ``traj_data.json``; -1 for none.
    """

    id: str
    path: pathlib.Path
    category: str
    goal: str
    human: str = ""
    annotation: int = -1


class GameIndex(dict[str, list[GameFile]]):
    """Maps each split to its games, sorted by path; every split is a key.

    Attributes:
      skipped: reason -> number of games left out for it.
    """

    def __init__(self, games: Mapping[str, list[GameFile]], skipped: Mapping[str, int]):
        super().__init__(games)
        self.skipped = dict(skipped)


def data_directory(setting: str) -> str:
    """Returns the directory that ``env.data_dir`` means: ``env`` asks the variable ALFWORLD_DATA.

    Nothing else reads the variable: with an empty setting the games are generated, whatever
    the variable says.

    Raises:
      SkillRLError: the variable is asked for and not set.
    """
    if setting != "env":
        return setting
    found = os.environ.get(VARIABLE, "")
    if not found:
        raise SkillRLError(
            f"env.data_dir=env: the environment variable {VARIABLE} is not set. Set it to the "
            "directory that holds json_2.1.1, or give that directory itself: "
            "--set env.data_dir=DIR (a directory that is called env: ./env)."
        )
    return found


def index_games(directory: str | pathlib.Path, *, cache: bool = True) -> GameIndex:
    """Returns all playable games below `directory`.

    Left out and counted in ``skipped``, as the official loader does (alfworld 0.4.2,
    AlfredTWEnv.collect_game_files): games whose ``solvable`` is false or missing, paths (below
    `directory`) with ``movable`` or ``Sliced`` in them, folders with a ``traj_data.json`` and
    no game, and the task type with a movable receptacle. Rooms are not built here;
    `load_game` does that, one game at a time.

    Args:
      directory: holds split folders, or games at any depth. A directory whose only
        ``json_*`` folder with split folders is one level down (the data root) works too.
      cache: use and renew what the user's cache has of this directory.

    Raises:
      SkillRLError: no playable game below `directory`, or a broken file, which is named.
    """
    root = pathlib.Path(paths.expand(directory))
    if not root.is_dir():
        raise SkillRLError(
            f"{root}: no such directory. Give the directory that holds train, valid_seen and "
            f"valid_unseen, or one with {GAME} files at any depth."
        )
    root = _below_release(root)
    reader = _Reader(root, index_cache.load(root) if cache else {})
    splits = [split for split in SPLITS if (root / split).is_dir()]
    if splits:
        found = {split: reader.games(root / split) for split in splits}
    else:
        found = dict.fromkeys(SPLITS, reader.games(root))
    if not any(found.values()):
        raise SkillRLError(_nothing_playable(root, reader.skipped))
    if cache and reader.fresh != reader.known:
        index_cache.save(root, reader.fresh)
    return GameIndex({split: list(found.get(split, ())) for split in SPLITS}, reader.skipped)


def _below_release(root: pathlib.Path) -> pathlib.Path:
    if any((root / split).is_dir() for split in SPLITS):
        return root
    inner = [p for p in sorted(root.glob("json_*")) if any((p / s).is_dir() for s in SPLITS)]
    if len(inner) > 1:  # archives that were unpacked side by side: the games are in one of them
        inner = [p for p in inner if next(p.rglob(GAME), None)] or inner
    if len(inner) > 1:
        raise SkillRLError(
            f"{root}: holds several releases ({', '.join(p.name for p in inner)}). Give one of "
            f"them: {inner[-1]}, for example."
        )
    return inner[0] if inner else root


class _Reader:
    """Reads the games of one directory, those that are not known already.

    Attributes:
      known: place of a game -> what the cache has of it.
      fresh: the same of the games that are there now.
      skipped: reason -> number of games left out for it.
    """

    def __init__(self, root: pathlib.Path, known: Mapping[str, index_cache.IndexEntry]):
        self.known = known
        self.fresh: dict[str, index_cache.IndexEntry] = {}
        self.skipped: collections.Counter[str] = collections.Counter()
        self._root = root

    def games(self, folder: pathlib.Path) -> list[GameFile]:
        """Returns the playable ones below `folder`, sorted by path."""
        top = folder.relative_to(self._root).as_posix()
        places = dict(_places(str(folder), "" if top == "." else top))
        games = []
        for place in sorted(places, key=lambda place: place.split("/")):
            excluded = next((word for word in _EXCLUDED if word in place), None)
            if excluded:
                self.skipped[f"path contains {excluded!r}"] += 1
            elif GAME not in places[place]:
                self.skipped[_NO_GAME] += 1
            else:
                record = self._record(place, places[place])
                if record.skip:
                    self.skipped[record.skip] += 1
                else:
                    games.append(self._game(place, record))
        return games

    def _record(self, place: str, files: Mapping[str, os.DirEntry]) -> Record:
        stamp = tuple(_stamp(files[name]) for name in (GAME, TRAJ) if name in files)
        entry = self.known.get(place)
        if entry is None or entry.stamp != stamp:
            entry = index_cache.IndexEntry(stamp, read_record(self._root / place))
        self.fresh[place] = entry
        return entry.record

    def _game(self, place: str, record: Record) -> GameFile:
        return GameFile(
            id=place or ".",
            path=self._root / place / GAME,
            category=record.category,
            goal=record.goal,
            human=record.human,
            annotation=record.annotation,
        )


def _places(folder: str, place: str) -> Iterator[tuple[str, dict[str, os.DirEntry]]]:
    """Folders at or below `folder` that belong to a game -> the files of it that matter."""
    files, folders = {}, []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if repair(entry.name) is not entry.name:
                    raise SkillRLError(
                        f"{entry.path!a}: the name is not UTF-8 text, so no run could write it "
                        "down. Rename it."
                    )
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry)
                elif entry.name in (GAME, TRAJ, _STATE):
                    files[entry.name] = entry
    except OSError as error:
        raise SkillRLError(
            f"{folder}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if files:
        yield place, files
    for entry in folders:
        yield from _places(entry.path, f"{place}/{entry.name}" if place else entry.name)


def _stamp(entry: os.DirEntry) -> index_cache.Stamp:
    """Returns what changes when a file does."""
    try:
        found = entry.stat()
    except OSError as error:
        raise SkillRLError(
            f"{entry.path}: cannot be read ({error.strerror}). Check the path."
        ) from error
    return (entry.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _nothing_playable(root: pathlib.Path, skipped: Mapping[str, int]) -> str:
    reasons = "".join(f" Skipped {n}: {reason}." for reason, n in sorted(skipped.items()))
    text = f"{root}: no playable {GAME} below it.{reasons}"
    packed = sorted(path.name for path in root.glob("*.zip"))
    if packed:
        return f"{text} Archives lie there unopened: {', '.join(packed)}. Unpack them there."
    if skipped.get(_NO_GAME):
        there = [name for name in _ARCHIVES if next(root.rglob(name), None)]
        archives = " and ".join(_ARCHIVES[name] for name in there)
        return (
            f"{text} It has the {' and '.join(there)} of {archives}; the archive with the games, "
            f"{_GAMES_ARCHIVE}, is missing. Unpack it over them (the command alfworld-download "
            "fetches all three), or give another directory."
        )
    return (
        f"{text} Give the directory that holds train, valid_seen and valid_unseen (json_2.1.1 of "
        "the data release, with the game files unpacked into it), or a directory of such games."
    )
