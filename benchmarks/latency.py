"""Whether the device waits for environments: tokens per second with slow and with instant ones.

    python benchmarks/latency.py [--rounds N] [--json PATH]

64 episodes of 10 steps (8 groups x 8 members; prefix 1,000 tokens, suffix 150, response 24, as
the agentic workload of `rollout.py`) on 32 slots, through the collector that training uses, each
environment on a thread of its own. A slow environment sleeps, at its reset and at every step, for
as long as one response takes: the time of the instant rounds times slots / responses. Rounds of
both alternate after one that compiles; medians. Lock-step would reach about half of the instant
figure; bar 0.8. Both must give the same tokens. About 3 minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import own  # noqa: E402
from flops import SHAPES  # noqa: E402
from hardware import describe  # noqa: E402

from skillrl.agent.agent import Act, Episode, Reset  # noqa: E402
from skillrl.inference.base import Generate, Sampling  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from skillrl.parallel.random_keys import ADDRESS_WIDTH  # noqa: E402
from skillrl.rollouts.collector import Job, collect  # noqa: E402
from skillrl.types import Observation, StepResult, Task, Trajectory  # noqa: E402

WORK = {"steps": 10, "groups": 8, "members": 8, "prefix": 1000, "suffix": 150, "new": 24}
EPISODES, ROWS = 64, 4  # rows of 8 members: 32 slots
SLOTS = ROWS * WORK["members"]
BAR = 0.8


@dataclasses.dataclass(frozen=True)
class Sleepy:
    """A suite and its environments, which answer nothing, after `seconds`."""

    seconds: float

    def make(self) -> Sleepy:
        return Sleepy(self.seconds)

    def reset(self, task: Task) -> Observation:
        time.sleep(self.seconds)
        return Observation("")

    def step(self, action: str) -> StepResult:
        time.sleep(self.seconds)
        return StepResult(observation=Observation(""), done=False, won=False, reward=0.0, score=0.0)

    def close(self) -> None:
        pass


def play(engine: Any, work: own.Work, seconds: float, steps: int) -> tuple[float, dict]:
    """Seconds of all episodes, and their tokens by (group, member, step)."""
    found: dict[tuple[int, int, int], tuple[int, ...]] = {}

    def episode(task: Task, group: int, member: int) -> Episode:
        yield Reset(task)
        prefix = tuple(work.prefix[group].tolist())
        for step in range(steps):
            suffix = tuple(work.suffix[step, group, member].tolist())
            answer = yield Generate(prefix, suffix, (0,) * ADDRESS_WIDTH)
            found[group, member, step] = answer.ids
            yield Act("")
        return Trajectory(task=task, prefix_ids=(), steps=(), won=False, member=member)

    _, groups, members, _ = work.suffix.shape
    jobs = []
    for group in range(groups):
        task = Task(id=str(group), split="train", category="", goal="")
        for member in range(members):
            jobs.append(
                Job(task=task, start=functools.partial(episode, task, group, member), member=member)
            )
    sampling = Sampling(temperature=0.0, max_tokens=WORK["new"])
    begun = time.perf_counter()
    collect(
        jobs,
        suite=Sleepy(seconds),  # type: ignore[arg-type]
        engine=engine,
        sampling=sampling,
        workers=EPISODES,
        width=EPISODES,
    )
    return time.perf_counter() - begun, found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_args()
    sizes = SHAPES["tiny"]
    config = own.model_config(sizes)
    params = own.random_policy(config)
    work = own.random_work(sizes, **WORK)
    engine = own.make_engine(config, work, shared=True, rows=ROWS, prefill=4)
    assert engine.slots == SLOTS
    result: dict[str, Any] = {**describe(), "work": WORK, "slots": SLOTS, "rounds": args.rounds}
    version = 0

    def once(seconds: float, steps: int = WORK["steps"]) -> tuple[float, dict]:
        nonlocal version
        engine.publish(params, version)
        version += 1
        return play(engine, work, seconds, steps)

    once(0.0, steps=2)  # compiles
    responses = EPISODES * WORK["steps"]
    instant, slow, sleeps = [], [], []
    for _ in range(args.rounds):
        took, expected = once(0.0)
        instant.append(took)
        sleeps.append(statistics.median(instant) * SLOTS / responses)
        took, found = once(sleeps[-1])
        slow.append(took)
        assert found == expected, "tokens depend on how long environments take"
        assert all(len(ids) == WORK["new"] for ids in found.values())
    rates = [responses * WORK["new"] / statistics.median(times) for times in (instant, slow)]
    result |= {
        "instant_s": instant,
        "slow_s": slow,
        "sleep_s": sleeps,
        "tokens_per_s": dict(zip(("instant", "slow"), rates, strict=True)),
        "ratio": rates[1] / rates[0],
        "bar": BAR,
        "load_after": os.getloadavg()[0],
    }
    rows = [
        ["instant", "0", f"{statistics.median(instant):.2f}", f"{rates[0]:,.0f}", ""],
        [
            "as long as a response",
            f"{statistics.median(sleeps):.3f}",
            f"{statistics.median(slow):.2f}",
            f"{rates[1]:,.0f}",
            f"{result['ratio']:.2f} (bar {BAR})",
        ],
    ]
    print(table(rows, ["environment", "its seconds", "s in all", "new tokens/s", "slow / instant"]))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
