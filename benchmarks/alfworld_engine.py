"""Steps per second of the native ALFWorld engine on one core.

    python benchmarks/alfworld_engine.py [--game PATH] [--steps N] [--repeats K] [--json PATH]

Episodes of a uniformly random walk over the admissible commands are recorded first, so
that choosing an action costs nothing while the clock runs. Then the recorded commands are
played, with a reset at the start of each episode; every step builds its text and its list of
admissible commands. Nothing is remembered from one playing to the next. On a machine that
is busy with other things, compare the rate by CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import random
import statistics
import time

from skillrl.envs.alfworld.engine import GameEngine
from skillrl.envs.alfworld.world import GameWorld, load_game

FIXTURES = pathlib.Path(__file__).parents[1] / "tests" / "fixtures" / "alfworld"
KITCHEN = "pick_heat_then_place_in_recep-Cup-None-CounterTop-1"
EPISODE = 50  # steps, the limit that ALFWorld agents usually play under


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--game", type=pathlib.Path, help="a game.tw-pddl (default: the kitchen)")
    parser.add_argument("--steps", type=int, default=50_000, help="steps of one repeat")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers here as well")
    args = parser.parse_args()

    path = args.game or next((FIXTURES / KITCHEN).glob("*/game.tw-pddl"))
    start = time.perf_counter()
    world = load_game(path)
    load = time.perf_counter() - start
    episodes = record(world, args.steps, random.Random(args.seed))
    times = [play(world, episodes) for _ in range(args.repeats)]
    rates = sorted(args.steps / wall for wall, _ in times)
    result = {
        "receptacles": len(world.receptacles),
        "objects": len(world.objects),
        "steps": args.steps,
        "episode": EPISODE,
        "distinct_commands": len({command for commands in episodes for command in commands}),
        "repeats": args.repeats,
        "steps_per_s_median": round(statistics.median(rates)),
        "steps_per_s_min": round(rates[0]),
        "steps_per_s_max": round(rates[-1]),
        "steps_per_cpu_s_median": round(args.steps / statistics.median(cpu for _, cpu in times)),
        "load_ms": round(1000 * load, 1),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
    }
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:<{width}}  {f'{value:,}' if isinstance(value, int) else value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def record(world: GameWorld, steps: int, rng: random.Random) -> list[list[str]]:
    """Episodes of random admissible commands, `steps` in all."""
    engine = GameEngine(world)
    episodes = []
    for begin in range(0, steps, EPISODE):
        reply = engine.reset()
        commands: list[str] = []
        for _ in range(min(EPISODE, steps - begin)):
            commands.append(rng.choice(reply.admissible))
            reply = engine.step(commands[-1])
        episodes.append(commands)
    return episodes


def play(world: GameWorld, episodes: list[list[str]]) -> tuple[float, float]:
    """Seconds to play all episodes, their resets included: by the clock, and of CPU time."""
    engine = GameEngine(world)
    wall, cpu = time.perf_counter(), time.process_time()
    for commands in episodes:
        engine.reset()
        for command in commands:
            engine.step(command)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
