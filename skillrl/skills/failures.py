"""Which failures of the training rollouts the teacher is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from skillrl.skills.answers import check_training
from skillrl.types import Trajectory


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """Success of a category over the rollouts since the last event."""

    episodes: int
    wins: int

    @property
    def rate(self) -> float:
        """Share of wins; 0 without episodes."""
        return self.wins / self.episodes if self.episodes else 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the teacher will be shown.

    Attributes:
      rates: success per category, sorted by name.
      overall: success over all episodes.
      failing: categories below the threshold with enough episodes, weakest first.
      failures: failed episodes to analyse, category by category in turn.
      pairs: id of a failure -> a success at the same task.
    """

    rates: Mapping[str, Rate]
    overall: Rate
    failing: tuple[str, ...]
    failures: tuple[Trajectory, ...]
    pairs: Mapping[str, Trajectory]


def select_failures(
    trajectories: Collection[Trajectory],
    *,
    evolution_threshold: float = 0.4,
    min_episodes: int = 4,
    max_analysis_deep: int = 10,
    max_analysis_shallow: int = 5,
) -> Selection:
    """Chooses failures by stratified round-robin over the failing categories.

    Within a category the worst come first (low score, many invalid actions), one of each
    task before the second of any. At most `max_analysis_deep` if overall success is below
    the threshold, else `max_analysis_shallow`. Does not depend on the order of `trajectories`.

    Args:
      trajectories: training rollouts since the last event; failed environments are left out.
      evolution_threshold: a category whose success is below this is failing (delta).
      min_episodes: fewer episodes than this say nothing about a category.
      max_analysis_deep: most failures where overall success is below the threshold.
      max_analysis_shallow: most failures otherwise.

    Raises:
      SkillRLError: a trajectory is not of the training split.
    """
    check_training(trajectories, "evolve")
    usable = sorted((t for t in trajectories if not t.error), key=lambda t: t.id)
    rates: dict[str, Rate] = {}
    for name in sorted({t.task.category for t in usable}):
        members = [t for t in usable if t.task.category == name]
        rates[name] = Rate(len(members), sum(t.won for t in members))
    overall = Rate(len(usable), sum(t.won for t in usable))
    failing = tuple(
        sorted(
            (
                name
                for name, rate in rates.items()
                if rate.episodes >= min_episodes and rate.rate < evolution_threshold
            ),
            key=lambda name: (rates[name].rate, name),
        )
    )
    limit = max_analysis_deep if overall.rate < evolution_threshold else max_analysis_shallow
    queues = [_ranked([t for t in usable if t.task.category == name]) for name in failing]
    failures: list[Trajectory] = []
    while len(failures) < limit and any(queues):
        for queue in queues:
            if queue and len(failures) < limit:
                failures.append(queue.pop(0))
    winners: dict[str, Trajectory] = {}
    for item in usable:
        if item.won:
            best = winners.setdefault(item.task.id, item)
            if len(item.steps) < len(best.steps):
                winners[item.task.id] = item
    pairs = {item.id: winners[item.task.id] for item in failures if item.task.id in winners}
    return Selection(
        rates=rates, overall=overall, failing=failing, failures=tuple(failures), pairs=pairs
    )


def _ranked(members: Sequence[Trajectory]) -> list[Trajectory]:
    """Sorts failures, worst first; the second of a task only after the first of every other."""
    failures = sorted(
        (t for t in members if not t.won),
        key=lambda t: (t.score, -sum(bool(s.invalid) for s in t.steps), t.id),
    )
    turn: dict[str, int] = {}
    keyed = []
    for rank, item in enumerate(failures):
        nth = turn.get(item.task.id, 0)
        turn[item.task.id] = nth + 1
        keyed.append((nth, rank, item))
    return [item for _, _, item in sorted(keyed, key=lambda entry: entry[:2])]
