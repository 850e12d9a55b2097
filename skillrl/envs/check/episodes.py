"""Checks how an environment answers: that it always says the same, and always answers."""

from __future__ import annotations

import random
from collections.abc import Sequence

from skillrl.envs.base import AnswerForm, Suite
from skillrl.envs.check.findings import Broken, Finding, hung, quoted
from skillrl.envs.check.play import (
    Played,
    advance,
    canonical,
    filled,
    first_difference,
    follow,
    handle,
    start,
    wrapped,
)
from skillrl.envs.check.watch import Left, on_threads
from skillrl.types import StepResult, Task

_ASIDE = "sing a song about nothing"  # an action that no environment offers
_TRIED = 8  # admissible actions of one state that are tried
_DEEP = 10  # how far into an episode such a state is looked for
_THREADS = 4


def check_repeats(suite: Suite, episodes: Sequence[Played]) -> list[Finding]:
    """Checks that the same actions get the same answers, on a new handle and on a used one."""
    found = []
    for played, other in zip(episodes, [*episodes[1:], *episodes[:1]], strict=True):
        with handle(suite) as environment:
            again = follow(environment, played.task, played.actions)
            if difference := first_difference(played, again):
                found.append(
                    Finding(
                        "the same actions get the same answers on another handle",
                        difference,
                        "draw nothing but from seeds in task.payload, and keep nothing between "
                        "handles (module variables, class attributes, mutable defaults)",
                        played.task.id,
                    )
                )
                continue
            follow(environment, other.task, other.actions[: len(other.actions) // 2])
            after = follow(environment, played.task, played.actions)
            if difference := first_difference(played, after):
                found.append(
                    Finding(
                        "reset starts afresh: the same answers after another episode was left "
                        "in the middle",
                        difference,
                        "set everything that an episode changes in reset",
                        played.task.id,
                    )
                )
    return found


def check_apart(suite: Suite, episodes: Sequence[Played]) -> list[Finding]:
    """Checks that two episodes in turn, and many on threads, are answered as each was alone."""
    found = []
    for one, other in zip(episodes[::2], episodes[1::2], strict=False):
        for alone, mixed in zip((one, other), _in_turn(suite, one, other), strict=True):
            if difference := first_difference(alone, mixed):
                found.append(_shared(alone.task, f"{other.task.id} in between: {difference}"))
    if found:
        return found

    def again(played: Played) -> Finding | None:
        try:
            with handle(suite) as environment:
                difference = first_difference(
                    played, follow(environment, played.task, played.actions)
                )
        except Broken as broken:
            return _shared(played.task, f"{_THREADS} threads at once: {broken}")
        if not difference:
            return None
        return _shared(played.task, f"{_THREADS} threads at once: {difference}")

    try:
        answers = on_threads(again, [*episodes, *episodes], _THREADS)
    except Left as left:
        raise hung(left.call.name, left.call.task, left.overdue) from None
    return [finding for finding in answers if finding]


def check_any_text(suite: Suite, episodes: Sequence[Played], form: AnswerForm) -> list[Finding]:
    """Checks that whatever a model says gets an answer: actions arrive unread."""
    texts = ("", _ASIDE, wrapped(_ASIDE, form, random.Random(0)), "<action>\n⟦ '\"\\ 𝄞")
    found = []
    for played in episodes:
        with handle(suite) as environment:
            again = start(environment, played.task)
            for text in texts:
                if again.ended:
                    again = start(environment, played.task)
                try:
                    answer = advance(environment, again, text)
                except Broken as broken:
                    found.append(broken.finding)
                    break
                if answer.won is True:
                    found.append(
                        Finding(
                            "nonsense wins nothing",
                            f"{quoted(text, 60)} after {len(again.actions) - 1} actions won the "
                            "episode",
                            "compare what is said with what is right, exactly",
                            played.task.id,
                        )
                    )
                    break
    return found


def check_offered(suite: Suite, episodes: Sequence[Played], form: AnswerForm) -> list[Finding]:
    """Checks that no admissible action is answered as nonsense is.

    Looked at in the first state of every episode and in a later one. Where the answer to
    nonsense is the text of before once more, there is nothing to compare with.
    """
    found = []
    for played in episodes:
        rng = random.Random(played.task.id)
        later = rng.randrange(min(_DEEP, len(played.actions)) or 1)
        for depth in dict.fromkeys((0, later)):
            if finding := _refused(suite, played, depth=depth, form=form, rng=rng):
                found.append(finding)
                break
    return found


def _refused(
    suite: Suite, played: Played, *, depth: int, form: AnswerForm, rng: random.Random
) -> Finding | None:
    """Returns the first offer after `depth` actions that is answered as nonsense is."""
    before, state = played.actions[:depth], played.answers[depth].observation
    if not state.admissible:
        return None
    refusal = _after(suite, played.task, actions=before, last=wrapped(_ASIDE, form, rng))
    if refusal.done or refusal.observation.text == state.text:
        return None
    offers = rng.sample(state.admissible, min(_TRIED, len(state.admissible)))
    for action in (filled(offer, played.task, rng) for offer in offers):
        reply = _after(suite, played.task, actions=before, last=action)
        if canonical(reply) == canonical(refusal):
            return Finding(
                "an action that is offered is understood",
                f"{quoted(action, 60)} after {depth} actions is answered as nonsense is: "
                f"{quoted(reply.observation.text, 80)}",
                "offer only what step accepts in this state",
                played.task.id,
            )
    return None


def check_end(suite: Suite, episodes: Sequence[Played]) -> list[Finding]:
    """Checks that the end is the end, and the handle can be used again afterwards."""
    found = []
    for played in episodes:
        if not played.ended:
            continue
        with handle(suite) as environment:
            follow(environment, played.task, played.actions)
            try:
                more = environment.step(played.actions[-1])
            except Exception:
                more = None  # an error is a good answer to a step after the end
            if isinstance(more, StepResult) and not more.done:
                found.append(
                    Finding(
                        "after done only reset is allowed: a step raises, or is done again",
                        f"a step after the end (of {len(played.actions)} actions) went on with "
                        f"{quoted(more.observation.text, 80)} and done=False",
                        "remember that the episode is over until the next reset",
                        played.task.id,
                    )
                )
            first = start(environment, played.task)
            if canonical(first.answers[0]) != canonical(played.answers[0]):
                found.append(
                    Finding(
                        "reset starts afresh after a step too many",
                        first_difference(played, first),
                        "set everything that an episode changes in reset",
                        played.task.id,
                    )
                )
    return found


def _in_turn(suite: Suite, one: Played, other: Played) -> tuple[Played, Played]:
    """Plays both episodes, a step of each in turn, on two handles."""
    with handle(suite) as first, handle(suite) as second:
        pairs = [(first, start(first, one.task), one), (second, start(second, other.task), other)]
        for number in range(max(len(one.actions), len(other.actions))):
            for environment, mixed, alone in pairs:
                if number < len(alone.actions) and not mixed.ended:
                    advance(environment, mixed, alone.actions[number])
    return pairs[0][1], pairs[1][1]


def _shared(task: Task, seen: str) -> Finding:
    return Finding(
        "handles are independent: episodes are played in turn, and on threads (env.workers)",
        seen,
        "keep what an episode changes in the handle, nowhere in the class, module or suite",
        task.id,
    )


def _after(suite: Suite, task: Task, *, actions: Sequence[str], last: str) -> StepResult:
    with handle(suite) as environment:
        return advance(environment, follow(environment, task, actions), last)
