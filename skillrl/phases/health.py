"""Tells whether training still goes somewhere: skipped updates, and signs of divergence."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.errors import Alarmed, SkillRLError
from skillrl.parallel import processes

_LOG = logging.getLogger(__name__)

KL_LIMIT = 5.0
"""Nats per token from pi_ref: runs that learn stay below 1, and ``k3_clamped`` ends at 10."""

_RECENT = 5
_INVALID, _INVALID_ROWS = 0.95, 3
_SOLVED, _SAME_ROWS = 0.9, 10
_LOSS_FACTOR, _LOSS_ROWS = 1.5, 5
_FIRST, _CHANGED_ROWS = 3, 5  # rows that are averaged at the beginning, and lately
_ENTROPY_LOST, _ENTROPY_GROWN, _ENTROPY = 0.05, 5.0, 1.0  # factors, and nats a token
_LENGTH_FACTOR = 4.0
_LOSS = 0.5  # nats a token: below it batches differ by more than the factor, and nothing diverges


class Skips:
    """Counts updates in a row that changed nothing, since a number was not finite."""

    def __init__(self, limit: int, setting: str):
        """`limit` in a row are too many; `setting` is where it comes from."""
        self._limit, self._setting = limit, setting
        self._row = self._most = 0

    def count(self, metrics: Mapping[str, float]) -> None:
        """Looks at the metrics of one update."""
        self._row = self._row + 1 if metrics["skipped"] else 0
        self._most = max(self._most, self._row)

    @property
    def too_many(self) -> bool:
        """Whether there were too many in a row."""
        return self._most >= self._limit

    def check(self, good: str) -> None:
        """Ends the phase if there were too many in a row.

        Args:
          good: where the last good state is, for the message.

        Raises:
          SkillRLError: there were.
        """
        if self.too_many:
            raise processes.everywhere(
                SkillRLError(
                    f"{self._most} updates in a row were skipped, since gradient or parameters "
                    f"were not finite ({self._setting}={self._limit} allows fewer). {good} Take a "
                    "lower learning rate or a higher KL coefficient in a new --workdir, or allow "
                    "more skips."
                )
            )


class Watch:
    """Looks at the rows of a phase as they are written, and warns when an alarm begins.

    Attributes:
      ends: whether there is an alarm that ends the phase.
    """

    def __init__(
        self, phase: str, rows: Sequence[Mapping[str, Any]] = (), *, ends_phase: bool = False
    ):
        """Begins where an earlier session stopped.

        Args:
          phase: ``rl`` or ``sft``.
          rows: of earlier sessions, which have been warned of.
          ends_phase: whether alarms end the phase (``logging.stop_on_alarm``), those included that
            the last of `rows` still shows.
        """
        self._phase = phase
        self._rows = list(rows)
        self._ends_phase = ends_phase
        self._begun: list[dict[str, Any]] = []
        if ends_phase and rows:  # what has ended it before, and was not overruled
            self._begun = [
                _alarm(phase, rows, metric=metric, meaning=meaning)
                for metric, meaning in _signs(phase, rows).items()
                if metric != "skipped"
            ]

    def look(self, row: Mapping[str, Any]) -> None:
        """Adds a row; what it is the first to show becomes a warning."""
        before = set(_signs(self._phase, self._rows)) if self._rows else set()
        self._rows.append(row)
        for metric, meaning in _signs(self._phase, self._rows).items():
            if metric not in before:
                alarm = _alarm(self._phase, self._rows, metric=metric, meaning=meaning)
                if metric != "skipped":  # of which max_skipped_updates are too many
                    self._begun.append(alarm)
                _LOG.warning("alarm: %s", line(alarm))

    @property
    def ends(self) -> bool:
        """Whether there is an alarm that ends the phase."""
        return self._ends_phase and bool(self._begun)

    def check(self, good: str) -> None:
        """Ends the phase if an alarm does.

        Args:
          good: where the last state is, for the message.

        Raises:
          Alarmed: one does.
        """
        if self.ends:
            raise processes.everywhere(
                Alarmed(
                    f"{'; '.join(map(line, self._begun))}. {good} logging.stop_on_alarm ends the "
                    "phase here. To go on all the same: the same command with --set "
                    "logging.stop_on_alarm=false. For other settings take a new --workdir."
                )
            )


def alarms(phase: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Finds where the metrics of a phase say that it diverges or learns nothing.

    Args:
      phase: ``rl`` or ``sft``.
      rows: all of its rows of metrics.jsonl so far, in order; a number that was not finite is
        None there.

    Returns:
      One object per metric and stretch of rows, at the row with which the stretch begins:
      phase, step, metric, what it means, and the metric's last few values.
    """
    found: list[dict[str, Any]] = []
    before: set[str] = set()
    for at in range(len(rows)):
        now = _signs(phase, rows[: at + 1])
        found += [
            _alarm(phase, rows[: at + 1], metric=metric, meaning=meaning)
            for metric, meaning in now.items()
            if metric not in before
        ]
        before = set(now)
    return found


def _alarm(
    phase: str, rows: Sequence[Mapping[str, Any]], *, metric: str, meaning: str
) -> dict[str, Any]:
    """Makes an object of `alarms`, for the last row.

    Args:
      phase: ``rl`` or ``sft``.
      rows: the rows of the phase up to the one with which the alarm begins.
      metric: the name of the metric that shows it.
      meaning: what that means.
    """
    return {
        "phase": phase,
        "step": rows[-1]["step"],
        "metric": metric,
        "meaning": meaning,
        "history": [row.get(metric) for row in rows[-_RECENT:]],
    }


def line(alarm: Mapping[str, Any]) -> str:
    """Writes an alarm of `alarms` as one line for people to read."""
    history = ", ".join("not finite" if v is None else f"{v:.4g}" for v in alarm["history"])
    return (
        f"{alarm['phase']} step {alarm['step']}: {alarm['meaning']} "
        f"({alarm['metric']}, latest last: {history})"
    )


def _signs(phase: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Finds what is wrong with the latest of `rows`, in view of those before it.

    Returns:
      What it means, by the metric that shows it; empty if nothing is wrong.
    """
    now, signs = rows[-1], {}
    if now.get("skipped"):
        signs["skipped"] = "updates were skipped, since gradient or parameters were not finite"
    if phase == "sft":
        losses = [row.get("loss") for row in rows[-_LOSS_ROWS:]]
        if "loss" in now and now["loss"] is None:
            signs["loss"] = "the loss is not finite"
        elif len(rows) > _LOSS_ROWS and _mean(losses) > max(
            _LOSS, _LOSS_FACTOR * _mean([rows[0].get("loss")])
        ):
            signs["loss"] = "the loss is far above that of the first update"
        return signs
    if "kl" in now and (now["kl"] is None or now["kl"] > KL_LIMIT):
        signs["kl"] = "the policy has left its reference altogether: training diverges"
    if _all(rows, "invalid", least=_INVALID, count=_INVALID_ROWS):
        signs["invalid"] = "hardly any action can be read any more: the policy may have collapsed"
    signs |= _changes(rows)
    same = _all(rows, "zero_variance_groups", least=1.0, count=_SAME_ROWS)
    if same and _mean([row.get("success") for row in rows[-_SAME_ROWS:]]) < _SOLVED:
        signs["zero_variance_groups"] = (
            "all episodes of each group end alike, so there is nothing to learn from but the KL"
        )
    return signs


def _changes(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Finds what has become very different from the first rows of RL.

    The entropy is that of sampled tokens: the mean of their negative log-probabilities, in nats.
    """
    signs: dict[str, str] = {}
    if len(rows) < _FIRST + _CHANGED_ROWS:
        return signs

    def means(metric: str) -> tuple[float, ...]:
        first, last = rows[:_FIRST], rows[-_CHANGED_ROWS:]
        # 0 is that of an iteration from which nothing was left to train on.
        return tuple(_mean([r.get(metric) or None for r in some]) for some in (first, last))

    start, entropy = means("surprise")
    if entropy < _ENTROPY_LOST * start and means("success")[1] < _SOLVED:
        signs["surprise"] = "the entropy has collapsed: samples hardly differ any more"
    elif entropy > max(_ENTROPY, _ENTROPY_GROWN * start):
        signs["surprise"] = "the entropy has exploded: samples become random"
    start, length = means("response_tokens")
    if length > _LENGTH_FACTOR * start:
        signs["response_tokens"] = "responses have become very long"
    elif length < start / _LENGTH_FACTOR:
        signs["response_tokens"] = "responses have become very short"
    return signs


def _all(rows: Sequence[Mapping[str, Any]], metric: str, *, least: float, count: int) -> bool:
    """Tells whether a metric reached a value in each of the last rows.

    Args:
      rows: the rows of a phase, in order.
      metric: the name of the metric.
      least: the value to reach.
      count: how many of the last rows; with fewer rows the answer is no.
    """
    recent = [row.get(metric) for row in rows[-count:]]
    return len(recent) == count and all(v is not None and v >= least for v in recent)


def _mean(values: Sequence[float | None]) -> float:
    """Averages the values that are not None; returns NaN if all are."""
    finite = [value for value in values if value is not None]
    return sum(finite) / len(finite) if finite else math.nan
