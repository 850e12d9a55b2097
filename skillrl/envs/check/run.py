"""Runs all checks of an environment, in the order in which they make sense."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from skillrl.config.settings import EnvConfig
from skillrl.envs.base import Suite, answer_form
from skillrl.envs.check import episodes as answers
from skillrl.envs.check import lasting, manifest, values
from skillrl.envs.check.expert import check_expert
from skillrl.envs.check.findings import Broken, Check, Finding, Hung, collected
from skillrl.envs.check.handles import check_closing
from skillrl.envs.check.play import Played, handle, play, random_moves, sample
from skillrl.envs.check.process import check_process
from skillrl.envs.check.watch import can_interrupt, enter, limits
from skillrl.types import Task

_PROBED = 6  # episodes of the checks that play from the start for every question

TIMEOUT = 30.0
"""Seconds that a call into an environment may take."""

TIME_LIMIT = 1800.0
"""Seconds that all checks together may take."""


def examine(
    suite: Suite,
    config: EnvConfig,
    *,
    episodes: int = 6,
    timeout: float = TIMEOUT,
    time_limit: float = TIME_LIMIT,
) -> Iterator[Check]:
    """Plays `suite` and yields one check after the other; ends early where playing cannot go on.

    Args:
      suite: made by ``make_suite(config.name, config)``.
      config: settings, for the second process.
      episodes: tasks of each split that are played.
      timeout: seconds that a call into the environment may take. The first one that takes
        longer is a finding, and the last one.
      time_limit: seconds that all checks together may take.
    """
    with limits(timeout, time_limit) as watch:
        try:
            yield from _examine(suite, config, episodes)
        except Hung as stopped:
            found = collected(stopped.others, [stopped.finding])
            yield Check(watch.stage, "ended here: the checks after it were not made", found)


def _examine(suite: Suite, config: EnvConfig, episodes: int) -> Iterator[Check]:
    shape = check(
        "protocol",
        "attributes and methods",
        lambda: _protocol(suite, config.name),
        notes=() if can_interrupt() else ("calls cannot be timed here, so a hang is not ended",),
    )
    yield shape
    if shape.findings:
        return
    enter("manifests")
    manifests, broken = manifest.read_manifests(suite)
    sizes = ", ".join(f"{split} {len(tasks)}" for split, tasks in manifests.items())
    if broken:
        yield Check("manifests", sizes or "no split", tuple(broken))
        return
    before = manifest.snapshot(manifests)
    yield check(
        "manifests",
        sizes,
        lambda: manifest.check_tasks(suite, manifests),
        lambda: manifest.check_unchanged(
            manifests, manifest.read_manifests(suite)[0], "the next time"
        ),
        notes=manifest.notes(suite, manifests),
    )
    yield check(
        "splits",
        "ids, goals and payloads of all tasks",
        lambda: manifest.check_distinct(manifests),
        lambda: manifest.check_leaks(suite, manifests),
    )
    tasks = [task for group in manifests.values() for task in sample(group, episodes)]
    form, steps = answer_form(suite), suite.max_steps
    enter("answers")
    played, failed = _play(suite, tasks)
    first = check(
        "answers",
        f"{len(tasks)} episodes of random actions, {_actions(played)} steps",
        lambda: failed,
        lambda: values.check_answers(played),
        lambda: lasting.check_lasting(played, steps),
        notes=values.notes(played),
    )
    yield first
    if not played:
        return
    said = {finding.expected for finding in first.findings}
    enter("step limit")
    longest, failed = _outlast(suite, tasks[:_PROBED])
    yield check(
        "step limit",
        f"{len(longest)} episodes led past every early end, {_actions(longest)} steps",
        lambda: _new(failed, said),
        lambda: _new(values.check_answers(longest), said),
        lambda: _new(lasting.check_lasting(longest, steps), said),
        notes=lasting.note_lasting(longest, steps),
    )
    enter("expert")
    wrong, notes, shown = check_expert(suite, tasks, form)
    yield check(
        "expert",
        f"{len(shown)} episodes, twice",
        lambda: wrong,
        lambda: _new(values.check_answers(shown), said),
        lambda: _new(lasting.check_lasting(shown, steps), said),
        notes=notes,
    )
    # Random actions seldom come far; what the expert has seen is compared as well.
    known = [one for pair in itertools.zip_longest(played, shown) for one in pair if one]
    yield from _replayed(suite, known)
    yield check("closing", "twice, early; what is left", lambda: check_closing(suite, known))
    yield check(
        "processes",
        "the same in a second process, with another PYTHONHASHSEED",
        lambda: check_process(config, manifests, known),
        lambda: manifest.check_kept(before, manifests),
    )


def check(
    name: str, looked_at: str, *asked: Callable[[], Sequence[Finding]], notes: Sequence[str] = ()
) -> Check:
    """Asks questions, one after the other; what the environment raises is a finding too.

    Raises:
      Hung: the environment did not answer in time.
    """
    enter(name)
    found: list[Sequence[Finding]] = []
    for question in asked:
        try:
            found.append(question())
        except Broken as broken:
            found.append([broken.finding])
        except Hung as stopped:
            stopped.others = collected(*found)
            raise
    return Check(name, looked_at, collected(*found), tuple(notes))


def _new(found: Sequence[Finding], said: set[str]) -> list[Finding]:
    """Findings of a kind that was not found before: once is enough. They count as said now."""
    fresh = [finding for finding in found if finding.expected not in said]
    said.update(finding.expected for finding in fresh)
    return fresh


def _actions(played: Sequence[Played]) -> int:
    """Counts the actions of all episodes."""
    return sum(len(one.actions) for one in played)


def _protocol(suite: Suite, name: str) -> list[Finding]:
    """Checks that the suite has what the protocol asks for; its handles only if it does."""
    found = manifest.check_suite(suite, name)
    return found or manifest.check_handle(suite)


def _play(suite: Suite, tasks: Sequence[Task]) -> tuple[list[Played], list[Finding]]:
    """Plays an episode of every task, each on a handle of its own."""
    form = answer_form(suite)
    played, failed = [], []
    for task in tasks:
        try:
            with handle(suite) as environment:
                moves = random_moves(task, form)
                played.append(play(environment, task, moves, limit=suite.max_steps))
        except Broken as broken:
            failed.append(broken.finding)
    return played, failed


def _outlast(suite: Suite, tasks: Sequence[Task]) -> tuple[list[Played], list[Finding]]:
    """Plays two episodes of every task that last as long as they can be made to: idle, and busy."""
    form = answer_form(suite)
    played, failed = [], []
    for task in tasks:
        for idle in (True, False):
            try:
                played.append(lasting.outlast(suite, task, form, idle=idle))
            except Broken as broken:
                failed.append(broken.finding)
    return played, failed


def _replayed(suite: Suite, played: Sequence[Played]) -> Iterator[Check]:
    """Checks by playing the same episodes again that the environment keeps its promises."""
    form, few = answer_form(suite), played[:_PROBED]
    yield check(
        "determinism",
        f"{len(played)} episodes again, on new and on used handles",
        lambda: answers.check_repeats(suite, played),
    )
    yield check(
        "independence",
        f"{len(played)} episodes in turn and on threads",
        lambda: answers.check_apart(suite, played),
    )
    yield check(
        "actions",
        "what is offered is understood, what is not gets an answer",
        lambda: answers.check_offered(suite, few, form),
        lambda: answers.check_any_text(suite, few, form),
    )
    yield check("end", "nothing goes on after done", lambda: answers.check_end(suite, played))
