"""Lays out what an ablation found: success, costs, answers, and the paper's numbers beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.ablation.numbers import SPEED, Answer, slowest
from skillrl.ablation.results import Cost
from skillrl.ablation.statistics import Rate, Speed, mean_curve
from skillrl.errors import SkillRLError
from skillrl.io.console import table

PAPER: Mapping[str, Mapping[str, float]] = {
    "alfworld": {
        "base": 14.8,
        "grpo": 77.6,
        "full": 89.9,
        "no_hierarchy": 76.8,
        "raw_trajectories": 61.7,
        "no_cold_start": 65.2,
        "no_evolution": 84.4,
    },
    "webshop": {
        "base": 7.8,
        "grpo": 66.1,
        "full": 72.7,
        "no_hierarchy": 61.4,
        "raw_trajectories": 50.2,
        "no_cold_start": 46.5,
        "no_evolution": 70.3,
    },
    "search": {"base": 15.2, "full": 47.1},
}
"""Success of arXiv 2602.08234, tables 1 and 3 (search: table 2, exact match), with a 7B model."""

Row = tuple[str, str, str, Mapping[str, Rate | None], Mapping[str, Mapping[str, Rate | None]]]
"""Arm, checkpoint and bank, then split -> rate, and split -> category -> rate."""


def success_table(rows: Sequence[Row], splits: Sequence[str], env: str) -> str:
    """Lays out success per arm and split: mean over seeds, and pooled over episodes.

    Args:
      rows: arms in order.
      splits: the splits that are shown, in order.
      env: whose numbers of the paper stand beside the headline of an arm.
    """
    paper = PAPER.get(env.removeprefix("agentgym_"), {})
    shown, seen = [], set[str]()
    for arm, checkpoint, bank, rates, _ in rows:
        cells: list[Any] = [f"{arm}: {checkpoint}, {bank}"]
        for split in splits:
            rate = rates.get(split)
            cells += (
                [_percent(rate.mean), _range(rate.low, rate.high), rate.n]
                if rate is not None
                else [None, None, None]
            )
            cells.append(None if rate is None else _range(rate.pooled_low, rate.pooled_high))
        cells.append(f"{paper[arm]:.1f}" if arm in paper and arm not in seen else None)
        seen.add(arm)
        shown.append(cells)
    headers = ["success %"]
    for split in splits:
        headers += [split, "over seeds", "n", "over episodes"]
    return table(shown, [*headers, "paper"])


def category_table(rows: Sequence[Row], split: str, categories: Mapping[str, str]) -> str:
    """Lays out mean success per category of one split.

    Args:
      rows: arms in order.
      split: which.
      categories: key -> heading.
    """
    shown = []
    for arm, checkpoint, bank, _, parts in rows:
        found = parts.get(split, {})
        rates = [found.get(key) for key in categories]
        cells = [None if rate is None else _percent(rate.mean) for rate in rates]
        shown.append([f"{arm}: {checkpoint}, {bank}", *cells])
    return table(shown, [f"{split}, %", *categories.values()])


def cost_table(
    costs: Mapping[str, Sequence[Cost]], tokens: Mapping[str, tuple[float | None, float | None]]
) -> str:
    """Lays out means over seeds of what each arm took.

    Args:
      costs: arm -> those of each seed.
      tokens: arm -> tokens of a step's prompt, and those of them that are skills.
    """
    rows = []
    for arm, found in costs.items():
        prompt, skills = tokens.get(arm, (None, None))
        rows.append(
            [
                arm,
                _number(prompt),
                _number(skills),
                _number(_mean([cost.teacher_requests for cost in found])),
                _number(_mean([cost.episodes for cost in found])),
                _number(_mean([cost.exam_episodes for cost in found])),
                _number(_mean([cost.skills for cost in found if cost.skills is not None])),
                _number(_mean([cost.seconds for cost in found])),
                _number(_mean([cost.shared_seconds for cost in found])),
            ]
        )
    headers = ["cost, mean over seeds", "tokens/step", "of skills", "teacher calls", "RL episodes"]
    headers += ["exam episodes", "skills at the end", "seconds", "+ shared"]
    return table(rows, headers)


def answers_table(answers: Sequence[Answer], speed: Speed | None, env: str) -> str:
    """Lays out the answers, each with its intervals and what is wanted.

    Args:
      answers: those that there are.
      speed: how fast full learns beside the arm without skills.
      env: decides what is wanted of `speed`.
    """
    rows: list[list[Any]] = [
        [
            one.what,
            _points(one.found.value),
            _range(one.found.low, one.found.high, sign="+"),
            one.found.tasks,
            _range(one.found.seeds_low, one.found.seeds_high, sign="+"),
            " ".join(f"{100 * value:+.0f}" for value in one.found.per_seed),
            str(one.wanted) if one.wanted is not None else "reported",
            None if one.met is None else ("yes" if one.met else "no"),
        ]
        for one in answers
    ]
    if speed is not None:
        bar = slowest(env)
        ratio = "never there" if speed.ratio is None else f"{speed.ratio:.2f}"
        met = speed.ratio is not None and speed.ratio <= bar
        curves = f"{speed.first or 'never'} / {speed.second or 'never'} iterations"
        ratio = f"<= {ratio}" if speed.at_most else ratio
        rows.append([SPEED, ratio, None, None, None, curves, f"<= {bar:g}", "yes" if met else "no"])
    headers = ["points of success", "found", "95 % over pairs", "pairs", "95 % over seeds"]
    return table(rows, [*headers, "each seed", "wanted", "met"])


def draw(path: Path, curves: Mapping[str, Sequence[Sequence[float]]], *, title: str) -> None:
    """Draws the training curve of each arm: the mean over seeds, in a band from least to most.

    Args:
      path: the picture; its ending says in which format.
      curves: arm -> the curve of each seed.
      title: what stands above.

    Raises:
      SkillRLError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise SkillRLError(
            "--plot needs matplotlib: pip install matplotlib, or leave --plot out; the same "
            "command then only draws, since nothing is run twice."
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, each in curves.items():
        there = [curve for curve in each if curve]
        mean = [100 * value for value in mean_curve(there)]
        if not mean:
            continue
        steps = range(1, len(mean) + 1)
        (line,) = axes.plot(steps, mean, label=name)
        low = [100 * min(values) for values in zip(*there, strict=False)]
        high = [100 * max(values) for values in zip(*there, strict=False)]
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="RL iteration", ylabel="success of training rollouts, %", title=title)
    axes.legend(fontsize="small")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:+.1f}"


def _range(low: float | None, high: float | None, *, sign: str = "") -> str | None:
    if low is None or high is None:
        return None
    joint = " to " if sign else "-"
    return f"{100 * low:{sign}.1f}{joint}{100 * high:{sign}.1f}"
