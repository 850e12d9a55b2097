"""Steps per second of the native ALFWorld engine and of the real one, in the same run.

    python benchmarks/alfworld_real.py [--steps N] [--repeats K] [--json PATH]

Needs the extra: ``pip install -e ".[alfworld]"``. Both engines are driven as the environment
drives them, with the same commands: a uniformly random walk over the admissible ones, recorded
before the clock runs. The real engine answers through its process; its reset is measured apart,
and so is the first reset of a game, which loads it. The rounds of both engines alternate, so
that a busy moment of the machine hits both; on a machine that is busy all the time, compare
the rates by CPU time (of the real engine's process, from /proc). Every answer is compared on
the way.

Rooms: a kitchen of the fixtures with 7 receptacles, and one of 38, which is the fixtures' with
35 and three more cabinets.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from skillrl.envs.alfworld.native import Backend, NativeBackend
from skillrl.envs.alfworld.textworld import TextworldBackend, require_textworld
from skillrl.envs.alfworld.world import load_game
from skillrl.types import Task

FIXTURES = pathlib.Path(__file__).parents[1] / "tests" / "fixtures" / "alfworld"
SMALL = "pick_cool_then_place_in_recep-Apple-None-SinkBasin-22"
LARGE = "pick_heat_then_place_in_recep-Cup-None-CounterTop-1"
MORE_CABINETS = 3
EPISODE = 50
NATIVE_ROUNDS = 100  # recorded steps played per clock reading of the native engine


class Seconds(NamedTuple):
    """What all steps of a round took, by the clock and of CPU time, and its resets."""

    wall: float
    cpu: float
    resets: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers here as well")
    args = parser.parse_args()
    require_textworld()
    result: dict[str, Any] = {
        "steps": args.steps,
        "repeats": args.repeats,
        "episode": EPISODE,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "rooms": [],
    }
    print(f"{'':>24} {'steps/s':>19} {'steps/CPU s':>19} {'':>8} {'real engine':>20}")
    print(f"{'receptacles':>13} {'objects':>10} {'native':>10} {'real':>8}", end="")
    print(f" {'native':>10} {'real':>8} {'ratio':>8} {'start s':>10} {'reset s':>9}")
    with tempfile.TemporaryDirectory() as folder:
        small = next((FIXTURES / SMALL).glob("*/game.tw-pddl"))
        for path in (small, larger_kitchen(pathlib.Path(folder))):
            row = measure(path, args.steps, args.repeats, random.Random(args.seed))
            result["rooms"].append(row)
            print(
                f"{row['receptacles']:>13} {row['objects']:>10} {row['native_steps_per_s']:>10,}"
                f" {row['real_steps_per_s']:>8} {row['native_steps_per_cpu_s']:>10,}"
                f" {row['real_steps_per_cpu_s']:>8} {row['cpu_ratio']:>8,}"
                f" {row['real_start_s']:>10} {row['real_reset_s']:>9}"
            )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def larger_kitchen(folder: pathlib.Path) -> pathlib.Path:
    """The large kitchen of the fixtures with three more cabinets, as a file in `folder`."""
    game = json.loads(next((FIXTURES / LARGE).glob("*/game.tw-pddl")).read_text())
    objects, facts = [], []
    for number in range(MORE_CABINETS):
        cabinet = f"Cabinet_bar__plus_09_dot_0{number}_bar__plus_00_dot_00_bar__plus_00_dot_00"
        place = f"loc_bar_3{number}_bar_30_bar_0_bar_0"
        objects += [f"{cabinet} - receptacle", f"{place} - location"]
        facts += [
            f"(receptacleType {cabinet} CabinetType)",
            f"(receptacleAtLocation {cabinet} {place})",
            f"(openable {cabinet})",
        ]
    text = game["pddl_problem"]
    for section, lines in (("(:objects", objects), ("(:init", facts)):
        assert text.count(section) == 1
        text = text.replace(section, "\n".join([section, *lines]))
    path = folder / "game.tw-pddl"
    path.write_text(json.dumps({**game, "pddl_problem": text}))
    return path


def measure(path: pathlib.Path, steps: int, repeats: int, rng: random.Random) -> dict[str, Any]:
    """Steps per second in one room; raises AssertionError where the engines differ."""
    world = load_game(path)
    task = Task(
        id=path.parts[-3], split="train", category="", goal=world.task, payload={"game": str(path)}
    )
    native, real = NativeBackend(), TextworldBackend()
    try:
        real.reset(task)  # starts the process
        real.close()
        start = time.perf_counter()
        real.reset(task)
        started = time.perf_counter() - start  # of the process, its imports and the game
        episodes = record(native, task, steps, rng)
        rounds: dict[str, list[Seconds]] = {"native": [], "real": []}
        for _ in range(repeats):
            theirs, seconds = play(real, task, episodes, lambda: process_seconds(real))
            rounds["real"].append(seconds)
            several = []
            for _ in range(NATIVE_ROUNDS):
                ours, seconds = play(native, task, episodes, time.process_time)
                several.append(seconds)
            rounds["native"].append(
                Seconds(*(sum(x) / len(several) for x in zip(*several, strict=True)))
            )
            assert ours == theirs, f"{path}: the engines differ"
    finally:
        real.close()
    wall = {name: sorted(steps / each.wall for each in those) for name, those in rounds.items()}
    cpu = {
        name: steps / statistics.median(each.cpu for each in those)
        for name, those in rounds.items()
    }
    return {
        "receptacles": len(world.receptacles),
        "objects": len(world.objects),
        "native_steps_per_s": round(statistics.median(wall["native"])),
        "native_min_max": [round(wall["native"][0]), round(wall["native"][-1])],
        "native_steps_per_cpu_s": round(cpu["native"]),
        "real_steps_per_s": round(statistics.median(wall["real"]), 1),
        "real_min_max": [round(wall["real"][0], 1), round(wall["real"][-1], 1)],
        "real_steps_per_cpu_s": round(cpu["real"], 1),
        "cpu_ratio": round(cpu["native"] / cpu["real"]),
        "real_start_s": round(started, 2),
        "real_reset_s": round(
            statistics.median(each.resets for each in rounds["real"]) / len(episodes), 2
        ),
    }


def process_seconds(backend: TextworldBackend) -> float:
    """CPU seconds of the real engine's process so far, to a hundredth."""
    assert backend._process is not None
    fields = pathlib.Path(f"/proc/{backend._process.pid}/stat").read_text().rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def record(backend: Backend, task: Task, steps: int, rng: random.Random) -> list[list[str]]:
    """Episodes of random admissible commands, `steps` in all."""
    episodes = []
    for begin in range(0, steps, EPISODE):
        reply = backend.reset(task)
        commands: list[str] = []
        for _ in range(min(EPISODE, steps - begin)):
            commands.append(rng.choice(reply.admissible))
            reply = backend.step(commands[-1])
        episodes.append(commands)
    return episodes


def play(
    backend: Backend, task: Task, episodes: list[list[str]], cpu: Callable[[], float]
) -> tuple[list[Any], Seconds]:
    """All answers, and what they took."""
    answers: list[Any] = []
    total = [0.0, 0.0, 0.0]
    for commands in episodes:
        begin = time.perf_counter()
        answers.append(backend.reset(task))
        middle, used = time.perf_counter(), cpu()
        answers += [backend.step(command) for command in commands]
        total[0] += time.perf_counter() - middle
        total[1] += cpu() - used
        total[2] += middle - begin
    return answers, Seconds(*total)


if __name__ == "__main__":
    main()
