"""Lets the processes of a run on several hosts act as one: what one knows, the others are told.

All processes run the same program over the same global arrays. What only one of them may do (ask a
teacher, read or write the run directory) is work for `on_first`; what each does a part of
(episodes) is work for `together`. Values are plain JSON and travel through the coordination service
of `jax.distributed`, not through the devices: a collective gives up, or holds a device, where one
process comes minutes after another, and a question to a teacher takes that long.

With one process all of this is plain Python that touches no JAX.
"""

from __future__ import annotations

import dataclasses
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from skillrl import errors
from skillrl.errors import SkillRLError

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

LOOK = 1.0
"""Seconds between two looks at a value that another process has not sent yet."""

_CHUNK = 2**21  # bytes of a message of the coordination service, which has limits
_RAISED: dict[str, type[SkillRLError]] = {
    kind.__name__: kind
    for kind in (errors.Alarmed, errors.Corrupt, errors.DoesNotFit, errors.NoSpace, SkillRLError)
}


@dataclasses.dataclass(kw_only=True)
class Job:
    """Holds what a process knows of the others.

    Attributes:
      index: number of this process, from 0.
      count: how many there are.
      client: of the coordination service, `jax.distributed`'s own.
      hosts: name of each process's host.
      turn: how many exchanges there were; the same on all processes.
      sent: the turns of which the service still holds what this process sent.
      alone: whether this is the first process at work that the others wait for.
    """

    index: int
    count: int
    client: Any
    hosts: tuple[str, ...] = ()
    turn: int = 0
    sent: list[int] = dataclasses.field(default_factory=list)
    alone: bool = False


_job: Job | None = None


def enter(job: Job | None) -> None:
    """Makes this process one of `job`, or, with None, a process by itself again."""
    global _job
    _job = job


def count() -> int:
    """Counts the processes of the run."""
    return 1 if _job is None else _job.count


def index() -> int:
    """Returns the number of this process, from 0."""
    return 0 if _job is None else _job.index


def is_first() -> bool:
    """Tells whether this is the process that writes, prints and asks the teacher."""
    return index() == 0


def name(process: int) -> str:
    """Names a process for people: its number and its host."""
    if _job is None or process >= len(_job.hosts):
        return f"process {process}"
    return f"process {process} on {_job.hosts[process]}"


def share(groups: int) -> list[int]:
    """Says which of `groups` this process works on: every `count`-th, so that kinds mix."""
    return list(range(index(), groups, count()))


def _same(value: Any) -> Any:
    return value


def on_first(
    what: str,
    work: Callable[[], T],
    *,
    encode: Callable[[T], Any] = _same,
    decode: Callable[[Any], T] = _same,
) -> T:
    """Does `work` on the first process alone; all return what it returned.

    Inside of `work` the first process is by itself: calls of this module there are plain ones.

    Args:
      what: names it; the same on all processes, which is checked.
      work: what to do.
      encode: makes plain JSON values of what `work` returned, to be sent to the others.
      decode: makes of these, on all processes, what is returned. Without it that is what JSON gives
        back (lists for tuples).

    Raises:
      SkillRLError: `work` raised it; all processes raise the same.
    """
    job = _job
    if job is None or job.alone:
        return work()
    job.turn += 1
    if job.index == 0:
        with _alone(job):
            sent = _attempt(lambda: encode(work()))
        _put(job, what, sent)
    else:
        sent = _get(job, what, 0)
    if "error" in sent:
        raise _raised(sent)
    return decode(sent["value"])


def together(
    what: str, work: Callable[[], T], *, beat: Callable[[], None] | None = None
) -> list[T]:
    """Does `work` on every process; all return what each of them returned, in order.

    Args:
      what: names it, as in `on_first`.
      work: this process's part; returns plain JSON values, as in `on_first`.
      beat: called about every `LOOK` seconds while others are still at work.

    Raises:
      SkillRLError: `work` raised it somewhere; all processes raise that of the first such one,
        whose name it begins with.
    """
    job = _job
    if job is None or job.alone:
        return [work()]
    job.turn += 1
    own = _attempt(work)
    _put(job, what, own)
    others = (process for process in range(job.count) if process != job.index)
    found = {process: _get(job, what, process, beat) for process in others} | {job.index: own}
    _forget(job)
    for process in sorted(found):
        if "error" in found[process]:
            raise _raised(found[process], f"{name(process)}: ")
    return [found[process]["value"] for process in sorted(found)]


def wait_for_all(what: str) -> None:
    """Waits until all processes are here."""
    together(what, lambda: None)


def regroup(what: str, value: Any, *, limit: float) -> list[Any] | None:
    """Meets the others after something has torn all processes out of their work.

    Exchanges that had begun are given up, and later ones begin anew, in step.

    Args:
      what: names the meeting, which happens once in a run.
      value: plain JSON values that this process brings along.
      limit: seconds to wait for the others.

    Returns:
      What each of them brought, in order; None where somebody has not come.
    """
    job = _job
    if job is None:
        return [value]
    places = [f"skillrl/{what}/{process}" for process in range(job.count)]
    job.client.key_value_set(places[job.index], json.dumps([job.turn, value]))
    until = time.monotonic() + limit
    found = []
    for place in places:
        left = max(1, int(1000 * (until - time.monotonic())))
        try:
            found.append(json.loads(job.client.blocking_key_value_get(place, left)))
        except RuntimeError:  # too late, or the service is gone
            return None
    job.turn = max(turn for turn, _ in found)
    return [brought for _, brought in found]


def check_same(what: str, settings: Mapping[str, Any]) -> None:
    """Checks that all processes were started alike.

    Args:
      what: the command.
      settings: plain JSON values by name.

    Raises:
      SkillRLError: one has other settings; names it and them.
    """
    if count() == 1:
        return
    told = together("settings", lambda: {"what": what, **settings})
    for process, other in enumerate(told):
        different = _differences(told[0], other)
        if different:
            error = SkillRLError(
                f"{name(process)} was started otherwise than {name(0)}: {different[0]}. Start the "
                "same command, with the same flags and files, on all hosts."
            )
            raise everywhere(error)


def _differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Says where two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other})
        return [
            found
            for key in names
            for found in _differences(one.get(key), other.get(key), f"{place}.{key}".lstrip("."))
        ]
    return [] if one == other else [f"{place} is {other!r} there and {one!r} here"]


def everywhere(error: E) -> E:
    """Marks an error that all processes raise; returns it."""
    error._everywhere = True  # type: ignore[attr-defined]
    return error


def happened_everywhere(error: BaseException) -> bool:
    """Tells whether all processes raise this error, so that none need be told of it."""
    return getattr(error, "_everywhere", False)


def _attempt(work: Callable[[], Any]) -> dict[str, Any]:
    """Does `work`; returns its value or its error as what is sent to the others."""
    try:
        return {"value": work()}
    except SkillRLError as error:
        if happened_everywhere(error):
            raise
        return {"error": {"kind": type(error).__name__, "message": str(error)}}


def _raised(sent: dict[str, Any], begin: str = "") -> SkillRLError:
    """Makes the error that somebody has sent."""
    found = sent["error"]
    return everywhere(_RAISED.get(found["kind"], SkillRLError)(begin + found["message"]))


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    job.alone = True
    try:
        yield
    finally:
        job.alone = False


def _place(turn: int, process: int) -> str:
    return f"skillrl/{turn}/{process}"


def _put(job: Job, what: str, sent: dict[str, Any]) -> None:
    """Sends a value, in pieces; `sent` becomes what the others read."""
    text = json.dumps({**sent, "what": what})
    sent.update(json.loads(text))
    job.sent.append(job.turn)
    data = zlib.compress(text.encode("ascii"), 1)
    pieces = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    place = _place(job.turn, job.index)
    for number, piece in enumerate(pieces):
        head = len(pieces).to_bytes(4, "big") if number == 0 else b""
        job.client.key_value_set_bytes(f"{place}/{number}", head + piece)


def _forget(job: Job) -> None:
    """Takes back what was sent in earlier turns: all are in this one, so all have read it."""
    for turn in job.sent[:-1]:
        job.client.key_value_delete(_place(turn, job.index))
    del job.sent[:-1]


def _get(
    job: Job, what: str, process: int, beat: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Waits for the value of a process, however long it takes."""
    place = _place(job.turn, process)
    first = _wait(job, f"{place}/0", beat)
    rest = range(1, int.from_bytes(first[:4], "big"))
    data = b"".join([first[4:], *(_wait(job, f"{place}/{number}", beat) for number in rest)])
    sent = json.loads(zlib.decompress(data))
    if sent["what"] != what:
        raise RuntimeError(
            f"{name(process)} has come to another place in the program than {name(job.index)}, "
            f"which is at {what!r}"
        )
    return sent


def _wait(job: Job, key: str, beat: Callable[[], None] | None) -> bytes:
    while True:
        try:
            return job.client.blocking_key_value_get_bytes(key, int(1000 * LOOK))
        except RuntimeError as error:  # jax.errors.JaxRuntimeError
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
        if beat is not None:
            beat()
