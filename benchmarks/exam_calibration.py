"""Do examinations find out which skills help? Banks with 4 helpful, 4 neutral and 4 harmful skills.

    python benchmarks/exam_calibration.py --simulated [--seeds 100] [--json PATH] [--plot PATH.png]
    python benchmarks/exam_calibration.py --env alfworld [--policy PATH] [--seeds 20] [--json PATH]

A bank is examined at `--events` events of at most `--episodes` episodes each, as in a run, and what
hurts is retired after each. Bars, after 8 events of 128 episodes: of the harmful skills at least
75 % are retired, of the helpful ones at most 2 %, of the neutral ones at most 5 %.

`--simulated` draws outcomes (benchmarks/exams/simulated.py): power against episodes, for arms that
share their task and their random draws (paired), their task alone, or neither (unpaired), and the
share of looks at which the 95 % interval held the truth. `--levels` compares levels of the interval
that must lie below zero. A few minutes on one core with 40 seeds.

Without it a policy plays: skills of benchmarks/exams/planted.py, whose advice is right, wrong or
empty. A seed takes events x episodes episodes; the tasks are those of the training split.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.exams import simulated  # noqa: E402
from benchmarks.exams.planted import HARMFUL, HELPFUL, NEUTRAL, WORTHS  # noqa: E402
from skillrl.evaluation.intervals import wilson  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from skillrl.skills.utility import RETIRE_LEVEL  # noqa: E402

EVENTS, EPISODES = 8, 128
BUDGETS = (32, 64, 128, 256, 512)
OF_EACH = 4  # skills of each worth in a bank


def simulate(
    seeds: Sequence[int], *, design: str, episodes: int, events: int, level: float
) -> dict[str, Any]:
    """One row of the table: what became of the skills of one bank per seed."""
    outcomes = [
        simulated.run(seed, design=design, episodes=episodes, events=events, level=level)
        for seed in seeds
    ]
    looks = [covered for outcome in outcomes for covered in outcome.covered]
    return {
        "design": design,
        "level": level,
        "events": events,
        "episodes": sum(outcome.episodes for outcome in outcomes) / len(outcomes),
        "seeds": len(seeds),
        "retired": {
            kind: sum(o.reached[-1][kind] for o in outcomes) / len(outcomes) for kind in WORTHS
        },
        "coverage": sum(looks) / len(looks),
    }


def simulate_all(
    seeds: Sequence[int],
    events: int,
    *,
    levels: Sequence[float],
    budgets: Sequence[int],
    designs: Sequence[str],
) -> list[dict]:
    """All budgets at the level that is used, and one of them at the others."""
    rows = []
    for level in levels:
        for design in designs:
            for episodes in budgets if level == RETIRE_LEVEL else (EPISODES,):
                rows.append(
                    simulate(seeds, design=design, episodes=episodes, events=events, level=level)
                )
                print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return rows


def play_all(
    env: str, policy: str, seeds: Sequence[int], *, events: int, episodes: int
) -> list[dict]:
    """Examines the planted bank of `env` with a policy; one row per seed."""
    from benchmarks.exams import played

    rows = []
    for seed in seeds:
        start = time.monotonic()
        rows.append(played.run(env, policy, seed, events=events, episodes=episodes))
        seconds = time.monotonic() - start
        print(f"seed {seed}: {rows[-1]['retired']}, {seconds:.0f} s", file=sys.stderr)
    return rows


def show_simulated(rows: Sequence[dict]) -> str:
    cells = [
        [
            f"{row['design']}, {100 * row['level']:g} %",
            f"{row['episodes']:.0f}",
            *(_share(row["retired"][kind], OF_EACH * row["seeds"]) for kind in WORTHS),
            f"{100 * row['coverage']:.1f}",
        ]
        for row in rows
    ]
    kinds = [f"{kind} retired %" for kind in WORTHS]
    return table(cells, ["design, level", "episodes", *kinds, "95 % intervals hold"])


def show_played(rows: Sequence[dict]) -> str:
    cells = []
    for kind in WORTHS:
        share = sum(row["retired"][kind] for row in rows) / len(rows)
        found = [e["mean"] for r in rows for n, e in r["found"].items() if r["worth"][n] == kind]
        mean = f"{100 * sum(found) / len(found):+.1f}" if found else "-"
        cells.append([kind, _share(share, OF_EACH * len(rows)), mean])
    return table(cells, ["skills", "retired %", "mean estimate, points"])


def meets_the_bars(retired: dict[str, float]) -> bool:
    return retired[HARMFUL] >= 0.75 and retired[HELPFUL] <= 0.02 and retired[NEUTRAL] <= 0.05


def plot(rows: Sequence[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4))
    for design in simulated.DESIGNS:
        of = [row for row in rows if row["design"] == design and row["level"] == RETIRE_LEVEL]
        episodes = [row["episodes"] for row in of]
        axis.plot(episodes, [100 * r["retired"][HARMFUL] for r in of], marker="o", label=design)
        axis.plot(episodes, [100 * r["retired"][NEUTRAL] for r in of], ls=":", color="grey")
    axis.axhline(75, lw=0.5, color="black")
    axis.axhline(5, lw=0.5, color="black")
    axis.set(xscale="log", xlabel="episodes of all examinations", ylabel="retired, %")
    axis.set_xticks(episodes, [f"{count:.0f}" for count in episodes])
    axis.minorticks_off()
    axis.set_title("harmful skills retired (dotted: neutral ones)", fontsize=10)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _share(share: float, count: int) -> str:
    low, high = wilson(round(share * count), count)
    return f"{100 * share:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--simulated", action="store_true", help="draw outcomes, play nothing")
    parser.add_argument("--env", default="alfworld", help="alfworld, webshop or search")
    parser.add_argument("--policy", default="", help="default: that of the environment's mock run")
    parser.add_argument("--seeds", type=int, default=20, help="how many banks")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of an event, when playing")
    parser.add_argument("--levels", default=f"{RETIRE_LEVEL}", help="such as 0.95,0.98")
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="simulated events")
    parser.add_argument("--designs", default=",".join(simulated.DESIGNS))
    parser.add_argument("--json", default="")
    parser.add_argument("--plot", type=Path, help="draw power here (needs matplotlib)")
    args = parser.parse_args(arguments)
    seeds = range(args.seeds)
    if args.simulated:
        levels = [float(level) for level in args.levels.split(",")]
        rows = simulate_all(
            seeds,
            args.events,
            levels=levels,
            budgets=[int(budget) for budget in args.budgets.split(",")],
            designs=args.designs.split(","),
        )
        print(show_simulated(rows))
        for row in rows:
            if row["design"] == "paired" and round(row["episodes"], -2) == 1000:
                print(f"level {row['level']:g}, {row['episodes']:.0f} episodes: "
                      f"bars {'' if meets_the_bars(row['retired']) else 'not '}met")  # fmt: skip
        result = {"simulated": rows, "effect": simulated.EFFECT, "coupled": simulated.COUPLED}
    else:
        rows = play_all(args.env, args.policy, seeds, events=args.events, episodes=args.episodes)
        print(show_played(rows))
        result = {"env": args.env, "events": args.events, "episodes": args.episodes, "rows": rows}
    if args.json:
        words = sys.argv[1:] if arguments is None else arguments
        result = {
            "command": " ".join(["python", "benchmarks/exam_calibration.py", *words])
        } | result
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
