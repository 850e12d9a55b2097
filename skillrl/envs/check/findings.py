"""Holds what a check says: questions that were asked, and what breaks the contract."""

from __future__ import annotations

import dataclasses
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skillrl.envs.answers import shown
from skillrl.envs.check.watch import Overdue, watched

_SHOWN = 3  # kinds of findings of one check that are printed; the rest is counted
_WIDTH = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Describes one way in which an environment breaks the contract.

    Attributes:
      expected: what the contract says.
      seen: what the environment did.
      remedy: what to do about it.
      task: id of the task it was seen with, or "".
    """

    expected: str
    seen: str
    remedy: str
    task: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """Holds one question and its answer.

    Attributes:
      name: a word or two.
      looked_at: what was examined, e.g. ``18 episodes on a second handle``.
      findings: what breaks the contract; empty if nothing does.
      notes: what is allowed and worth knowing.
    """

    name: str
    looked_at: str
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


class Broken(Exception):
    """Play cannot go on; carries the finding that says why."""

    def __init__(self, finding: Finding):
        super().__init__(finding.seen)
        self.finding = finding


class Hung(Exception):
    """The environment has not answered in time, so nothing more is asked of it.

    Attributes:
      finding: says which call it was.
      others: what the same check has found before.
    """

    def __init__(self, finding: Finding):
        super().__init__(finding.seen)
        self.finding = finding
        self.others: tuple[Finding, ...] = ()


@contextmanager
def blamed(call: str, task: str = "") -> Iterator[None]:
    """Turns what the environment raises in `call` into a finding, and ends a call without end.

    Raises:
      Broken: `call` raised.
      Hung: it took longer than `watch.limits` allows.
    """
    try:
        with watched(call, task):
            yield
    except (Broken, Hung):
        raise
    except Overdue as overdue:
        raise hung(call, task, overdue) from None
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name} line {last.lineno}"
        raise Broken(
            Finding(
                f"{call} answers",
                f"it raised {type(error).__name__}: {error} ({place})",
                "answer everything that an agent may say; raise only where the episode cannot "
                "go on (an exception ends it as errored, a SkillRLError ends the whole run)",
                task,
            )
        ) from error


def hung(call: str, task: str, overdue: Overdue) -> Hung:
    """Returns a call that is overdue, as a finding."""
    where = f" in {overdue.place}" if overdue.place else ""
    if overdue.whole:
        return Hung(
            Finding(
                f"the whole check ends within {overdue.seconds:g} s (--time_limit)",
                f"it had come to {call}{where}",
                "play fewer --episodes, raise --time_limit, or make the environment faster",
                task,
            )
        )
    return Hung(
        Finding(
            f"{call} answers within {overdue.seconds:g} s (--timeout)",
            f"there was no answer yet{where}, and the check ended there",
            "let no call wait for ever: give what it waits for (a lock, a process, a server) a "
            "time limit; --timeout=SECONDS allows more",
            task,
        )
    )


def collected(*parts: Sequence[Finding]) -> tuple[Finding, ...]:
    """Returns all findings once each, in order."""
    return tuple(dict.fromkeys(finding for part in parts for finding in part))


def line_of(check: Check) -> str:
    """Returns one line of the table."""
    verdict = f"{len(check.findings)} FOUND" if check.findings else "ok"
    lines = [f"  {check.name:<16}{verdict:<10}{check.looked_at}"]
    return "\n".join([*lines, *(f"{'':<28}note: {note}" for note in check.notes)])


def describe(checks: Sequence[Check]) -> str:
    """Returns the findings in full, numbered: one of each kind, with how often there is another."""
    blocks: list[str] = []
    number = 0
    for check in checks:
        kinds: dict[str, list[Finding]] = {}
        for finding in check.findings:
            kinds.setdefault(finding.expected, []).append(finding)
        for found in list(kinds.values())[:_SHOWN]:
            number += 1
            blocks.append(_block(number, check.name, found))
        if len(kinds) > _SHOWN:
            blocks.append(f"   ... and {len(kinds) - _SHOWN} other kinds in {check.name}")
    return "\n\n".join(blocks)


def _block(number: int, name: str, found: Sequence[Finding]) -> str:
    first = found[0]
    where = f", task {first.task}" if first.task else ""
    more = f" (and {len(found) - 1} more like it)" if len(found) > 1 else ""
    return "\n".join(
        [
            f"{number}. {name}{where}{more}",
            _labelled("expected", first.expected),
            _labelled("seen", first.seen),
            _labelled("to do", first.remedy),
        ]
    )


def quoted(text: object, limit: int = 160) -> str:
    """Returns a value as Python writes it, its middle left out where it is long."""
    return shown(text, limit)


def _labelled(label: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"     {label + ':':<10}",
        subsequent_indent=" " * 15,
        break_long_words=False,
        break_on_hyphens=False,
    )
