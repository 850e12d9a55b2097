"""Trains all four phases from Python, on a smaller scale, and draws the curve as it grows.

    python examples/train_with_plot.py

Four minutes on two cores; the picture is `curve.png` in the directory that the first line
names, drawn anew with every iteration. Drawing needs matplotlib (pip install matplotlib);
without it the numbers are printed and the rest is the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import skillrl


class Curve:
    """Success in training, iteration by iteration."""

    def __init__(self, path: Path):
        """`path` is the picture."""
        self.path, self.rows = path, []

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Takes a row of metrics; draws those of RL."""
        if row["phase"] != "rl":
            return
        self.rows.append((row["step"], row["success"]))
        print(f"iteration {row['step']}: {100 * row['success']:.0f} % of the episodes won")
        try:
            import matplotlib

            matplotlib.use("Agg")
            from matplotlib import pyplot
        except ImportError:
            return
        figure, axes = pyplot.subplots(figsize=(5, 3), layout="constrained")
        axes.plot(*zip(*self.rows, strict=True), marker="o")
        axes.set(xlabel="iteration", ylabel="success in training", ylim=(0, 1))
        axes.xaxis.set_major_locator(pyplot.MaxNLocator(integer=True))
        figure.savefig(self.path)
        pyplot.close(figure)


def main(iterations: int = 4, tasks: int = 24, workdir: str | None = None) -> dict[str, Any]:
    """Trains; returns the summary of the run."""
    directory = Path(workdir or tempfile.mkdtemp(prefix="skillrl-"))
    print(f"the run is in {directory}")
    config = skillrl.resolve(
        "alfworld",
        overrides=[
            f"rl.training_epochs={iterations}",
            f"evaluation.max_tasks={tasks}",
            "evaluation.quick_tasks=0",
            "logging.progress=false",
        ],
    ).config
    curve = Curve(directory / "curve.png")
    summary = skillrl.train(config, directory, on_metrics=curve)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print("no picture: matplotlib is not installed (pip install matplotlib)")
    else:
        print(f"the picture: {curve.path}")
    return summary


if __name__ == "__main__":
    main()
