"""The fixed lists of generated games: 720 to train on, 120 seen and 120 unseen to validate.

Each list is interleaved by category, so that every prefix of it is balanced. ``valid_seen`` is
played in rooms of ``train``; ``valid_unseen`` in rooms that train never shows, and no two rooms
are furnished alike. The shipped manifest is the output of `build_manifest`, kept as a file so
that a change of the generator cannot silently change what was measured.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

from skillrl.envs.alfworld import rooms
from skillrl.envs.alfworld.generate import (
    CATEGORIES,
    ROOMS_FOR,
    Spec,
    make_game,
    make_problem,
    make_room,
)
from skillrl.envs.alfworld.play import solve
from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError

SIZES = {"train": 720, "valid_seen": 120, "valid_unseen": 120}
_FIRST_SEED = {"train": 0, "valid_seen": 100_000, "valid_unseen": 200_000}
_TRIES = 64  # task seeds per entry
_SEEN_ROOMS = 24  # of each kind, out of ALFRED's 30 floor plans

Entry = dict[str, Any]
"""id, scene, room_seed, task_seed, category, goal: JSON only."""


@functools.lru_cache(maxsize=1)
def load_manifest() -> dict[str, tuple[Entry, ...]]:
    """The shipped manifest: split -> entries in fixed order."""
    file = resources.files("skillrl") / "assets" / "alfworld" / "manifest.json"
    data = json.loads(file.read_text("utf-8"))
    return {split: tuple(data[split]) for split in SPLITS}


def spec_of(entry: Entry) -> Spec:
    """The spec that generates an entry's game."""
    return Spec(entry["scene"], entry["room_seed"], entry["category"], entry["task_seed"])


@functools.lru_cache(maxsize=1)
def room_seeds() -> dict[int, int]:
    """Scene -> the smallest room seed that furnishes it unlike every scene before."""
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


def build_entry(split: str, index: int) -> Entry:
    """Entry `index` of `split`, from nothing but its address: the first seed that is playable.

    Raises:
      SkillRLError: none of the seeds tried gives a game that the expert wins in time.
    """
    category = list(CATEGORIES)[index % len(CATEGORIES)]
    turn = index // len(CATEGORIES)
    kinds = ROOMS_FOR[category]
    kind, turn = kinds[turn % len(kinds)], turn // len(kinds)
    if split == "valid_unseen":
        offset = _SEEN_ROOMS + turn % (30 - _SEEN_ROOMS)
    else:
        offset = (turn + 5 * index) % _SEEN_ROOMS
    scene = rooms.FIRST_SCENE[kind] + offset
    first = _FIRST_SEED[split] + index * _TRIES
    for task_seed in range(first, first + _TRIES):
        spec = Spec(scene, room_seeds()[scene], category, task_seed)
        try:
            solve(make_game(spec))
        except SkillRLError:
            continue  # too long or already won: by design the next seed is tried
        return {
            "id": f"{split}/{index:04d}",
            "scene": scene,
            "room_seed": spec.room_seed,
            "task_seed": task_seed,
            "category": category,
            "goal": make_problem(spec).goal,
        }
    raise SkillRLError(f"{split}/{index:04d}: no playable game among {_TRIES} task seeds")


def build_manifest() -> dict[str, list[Entry]]:
    """All entries, built anew; takes some seconds."""
    return {split: [build_entry(split, i) for i in range(SIZES[split])] for split in SPLITS}


def save_manifest(manifest: dict[str, list[Entry]], path: str | Path) -> None:
    """Writes a manifest with one entry per line."""
    parts = [
        f'"{split}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        for split, entries in manifest.items()
    ]
    Path(path).write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
