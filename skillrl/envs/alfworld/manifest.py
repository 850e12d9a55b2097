"""Fixes the lists of generated games: 2160 to train on, 120 seen and 120 unseen to validate.

Each list is interleaved by category, so that every prefix of it is balanced. Every game of
``train`` is furnished anew, so that a policy has to read what a room holds: with a few dozen
rooms it learns them by heart instead. ``valid_seen`` is played in rooms of ``train``;
``valid_unseen`` in rooms that are furnished unlike any of train's. The shipped manifest is
the output of `build_manifest`, kept as a file so that a change of the generator cannot
silently change what was measured. All of them are households of one custom
(`skillrl.envs.alfworld.customs`), which the base policy has not practised in.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

from skillrl.envs.alfworld import rooms
from skillrl.envs.alfworld.customs import known_homes
from skillrl.envs.alfworld.generate import (
    CATEGORIES,
    ROOMS_FOR,
    make_game,
    make_problem,
    make_room,
)
from skillrl.envs.alfworld.layout import Spec
from skillrl.envs.alfworld.play import solve
from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError

SIZES = {"train": 2160, "valid_seen": 120, "valid_unseen": 120}
_FIRST_SEED = {"train": 0, "valid_seen": 300_000, "valid_unseen": 200_000}
_TRIES = 64  # task seeds per entry
CUSTOM = 1  # of all households of the manifest
_MAX_STEPS = 15  # within which somebody who knows the custom wins
SEEN_ROOMS = 24
"""How many of ALFRED's 30 floor plans of each kind are not held out."""


Entry = dict[str, Any]
"""id, scene, room_seed, task_seed, custom, category, goal: JSON only."""


@functools.lru_cache(maxsize=1)
def load_manifest() -> dict[str, tuple[Entry, ...]]:
    """Returns the shipped manifest: split -> entries in fixed order."""
    file = resources.files("skillrl") / "assets" / "alfworld" / "manifest.json"
    data = json.loads(file.read_text("utf-8"))
    return {split: tuple(data[split]) for split in SPLITS}


def spec_of(entry: Entry) -> Spec:
    """Returns the spec that generates an entry's game."""
    return Spec(
        scene=entry["scene"],
        room_seed=entry["room_seed"],
        category=entry["category"],
        task_seed=entry["task_seed"],
        custom=entry["custom"],
    )


@functools.lru_cache(maxsize=1)
def room_seeds() -> dict[int, int]:
    """Returns scene -> the smallest room seed that furnishes it unlike every scene before.

    The last six scenes of each kind, with these seeds, are the rooms of ``valid_unseen``.
    """
    seeds: dict[int, int] = {}
    layouts = set()
    for kind in rooms.KINDS:
        for scene in range(rooms.FIRST_SCENE[kind], rooms.FIRST_SCENE[kind] + 30):
            seed = 0
            while make_room(scene, seed).layout in layouts:
                seed += 1
            layouts.add(make_room(scene, seed).layout)
            seeds[scene] = seed
    return seeds


@functools.lru_cache(maxsize=1)
def held_out_layouts() -> frozenset[tuple[tuple[str, int], ...]]:
    """Returns what the rooms of ``valid_unseen`` are furnished with."""
    scenes = [first + i for first in rooms.FIRST_SCENE.values() for i in range(SEEN_ROOMS, 30)]
    return frozenset(make_room(scene, room_seeds()[scene]).layout for scene in scenes)


def _train_room(scene: int, index: int) -> int:
    """Returns the room seed of entry `index` of ``train``: one that is not held out."""
    seed = index * _TRIES
    while make_room(scene, seed).layout in held_out_layouts():
        seed += 1
    return seed


def build_entry(split: str, index: int) -> Entry:
    """Builds entry `index` of `split` from its address alone: the first playable seed.

    Raises:
      SkillRLError: none of the seeds tried gives a game that the expert wins in time.
    """
    category = list(CATEGORIES)[index % len(CATEGORIES)]
    turn = index // len(CATEGORIES)
    kinds = ROOMS_FOR[category]
    kind, turn = kinds[turn % len(kinds)], turn // len(kinds)
    if split == "valid_unseen":
        scene = rooms.FIRST_SCENE[kind] + SEEN_ROOMS + turn % (30 - SEEN_ROOMS)
        room_seed = room_seeds()[scene]
    else:  # entry i of valid_seen is another task in the room of entry i of train
        scene = rooms.FIRST_SCENE[kind] + (turn + 5 * index) % SEEN_ROOMS
        room_seed = _train_room(scene, index)
    first = _FIRST_SEED[split] + index * _TRIES
    for task_seed in range(first, first + _TRIES):
        spec = Spec(scene, room_seed, category, task_seed, CUSTOM)
        try:
            solve(make_game(spec), _MAX_STEPS, homes=known_homes(CUSTOM))
        except SkillRLError:
            continue  # too long or already won: by design the next seed is tried
        return {
            "id": f"{split}/{index:04d}",
            "scene": scene,
            "room_seed": room_seed,
            "task_seed": task_seed,
            "custom": CUSTOM,
            "category": category,
            "goal": make_problem(spec).goal,
        }
    raise SkillRLError(f"{split}/{index:04d}: no playable game among {_TRIES} task seeds")


def build_manifest() -> dict[str, list[Entry]]:
    """Builds all entries anew, which takes some seconds."""
    return {split: [build_entry(split, i) for i in range(SIZES[split])] for split in SPLITS}


def save_manifest(manifest: dict[str, list[Entry]], path: str | Path) -> None:
    """Writes a manifest with one entry per line."""
    parts = [
        f'"{split}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        for split, entries in manifest.items()
    ]
    Path(path).write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
