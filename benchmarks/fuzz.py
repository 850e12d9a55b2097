"""Feeds damaged inputs to all that reads some: no traceback, no hang, nothing wrong accepted.

    python benchmarks/fuzz.py                        # 20,000 inputs, all kinds
    python benchmarks/fuzz.py --kind=bank --seed=3 --count=5000
    python benchmarks/fuzz.py --kind=bank --seed=3 --only=1234        # one input once more
    python benchmarks/fuzz.py --seed=1 --count=100000 --json=benchmarks/results/fuzz.json

With --json the same command goes on with the kinds that are not yet in the file.

An input is refused with a `SkillRLError`, or accepted and then used as a run uses it: written and
read back, shown, played. Status 1 if anything else happens. Numbers are in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzzing import files, games, live

from skillrl.errors import SkillRLError
from skillrl.io.console import table
from skillrl.io.files import read_json, write_json

LIMIT = 10.0
"""Seconds of computing after which an input hangs; of waiting, three times as many."""

Make = Callable[[random.Random, Path], tuple[object, files.Attempt]]

KINDS: dict[str, tuple[Make, int]] = {
    "config": (files.config, 5000),
    "bank": (files.bank, 3500),
    "agent_skills": (files.agent_skills, 1000),
    "trajectories": (files.trajectories, 4500),
    "games": (games.games, 2500),
    "teacher": (files.teacher, 1500),
    "runs": (live.runs, 500),
    "requests": (live.requests, 1500),
}
"""Kind -> what makes an input of it, and its share of 20,000."""


class Hang(BaseException):
    """The time of an input is over; no `except Exception` may catch it."""


@dataclasses.dataclass
class Tally:
    """What came of the inputs of a kind.

    Attributes:
      accepted: how many.
      refused: how many.
      failures: what failed and where -> numbers of the inputs.
      first: the same -> the first input, and its traceback.
    """

    accepted: int = 0
    refused: int = 0
    failures: dict[str, list[int]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    first: dict[str, tuple[object, str]] = dataclasses.field(default_factory=dict)


def run(kind: str, seed: int, numbers: Sequence[int], place: Path) -> Tally:
    """Tries the inputs of these numbers; what a number means depends on kind and seed alone."""
    tally = Tally()
    make, _ = KINDS[kind]
    for number in numbers:
        rng = random.Random(f"{kind} {seed} {number}")
        _empty(place)
        shown: object = None
        try:
            with _limited(LIMIT):
                shown, attempt = make(rng, place)
                try:
                    attempt()
                    tally.accepted += 1
                except SkillRLError as error:
                    str(error).encode("utf-8", "backslashreplace")
                    tally.refused += 1
        except (Exception, Hang) as error:
            what = _name(error)
            tally.failures[what].append(number)
            tally.first.setdefault(what, (shown, traceback.format_exc(limit=-6)))
    return tally


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    clocks = {
        signal.ITIMER_PROF: (signal.SIGPROF, seconds),
        signal.ITIMER_REAL: (signal.SIGALRM, 3 * seconds),
    }
    before = {number: signal.signal(number, stop) for number, _ in clocks.values()}
    for clock, (_, limit) in clocks.items():
        signal.setitimer(clock, limit)
    try:
        yield
    finally:
        for clock in clocks:
            signal.setitimer(clock, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _name(error: BaseException) -> str:
    """The error and the innermost place in skillrl that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "skillrl/" in frame.filename.replace(os.sep, "/")]
    last = (ours or frames)[-1]
    said = str(error).splitlines()[0][:80] if isinstance(error, files.Accepted) else ""
    return f"{type(error).__name__} {said} at {Path(last.filename).name}:{last.lineno}"


def _empty(place: Path) -> None:
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A directory in memory where there is one; caches of the user stay out of it."""
    memory = Path("/dev/shm")
    base = str(memory) if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as directory, contextlib.ExitStack() as after:
        before = os.environ.get("XDG_CACHE_HOME")
        after.callback(
            lambda: (
                os.environ.update(XDG_CACHE_HOME=before)
                if before is not None
                else os.environ.pop("XDG_CACHE_HOME", None)
            )
        )
        os.environ["XDG_CACHE_HOME"] = str(Path(directory, "cache"))
        place = Path(directory, "input")
        place.mkdir()
        yield place


def main() -> int:
    """Prints a table and the failures; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=["all", *KINDS], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20_000, help="inputs of all kinds together")
    parser.add_argument("--only", type=int, help="the number of one input")
    parser.add_argument("--json", type=Path, help="where to keep what came out")
    given = parser.parse_args()
    if given.json and given.only is not None:
        parser.error("--json keeps whole kinds: leave out --only")
    logging.disable(logging.CRITICAL)
    kinds = list(KINDS) if given.kind == "all" else [given.kind]
    whole = sum(KINDS[kind][1] for kind in kinds)
    asked = {"seed": given.seed, "count": given.count}
    kept = read_json(given.json) if given.json and given.json.exists() else {}
    if kept and kept["asked"] != asked:
        parser.error(f"--json={given.json}: holds {kept['asked']}, not {asked}")
    rows = [row for row in kept.get("rows", []) if row[4] == 0]  # what failed is tried again
    faults = []
    done = {row[0] for row in rows}
    with workplace() as place:
        for kind in kinds:
            if kind in done:
                continue
            count = -(-given.count * KINDS[kind][1] // whole)
            numbers = [given.only] if given.only is not None else range(count)
            start = time.monotonic()
            tally = run(kind, given.seed, numbers, place)
            spent = time.monotonic() - start
            failed = sum(map(len, tally.failures.values()))
            rows.append([kind, len(numbers), tally.accepted, tally.refused, failed, f"{spent:.0f}"])
            print(f"{kind}: {len(numbers)} inputs, {failed} failures, {spent:.0f} s", flush=True)
            faults += [(kind, what, tally) for what in tally.failures]
            if given.json:
                command = " ".join(["python", *sys.argv])
                write_json(given.json, {"command": command, "asked": asked, "rows": rows})
    for kind, what, tally in faults:
        at, (shown, trace) = tally.failures[what], tally.first[what]
        print(f"\n{kind}: {len(at)} x {what}, the first --seed={given.seed} --only={at[0]}")
        print(f"  {repr(shown)[:1500]}\n{trace}")
    print(table(rows, ["kind", "inputs", "accepted", "refused", "failures", "seconds"]))
    return 1 if any(row[4] for row in rows) else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
