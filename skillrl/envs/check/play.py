"""Plays episodes for the checks: the same moves wherever and whenever they are played."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from skillrl.envs.answers import problem_of_observation
from skillrl.envs.base import AnswerForm, Environment, Suite
from skillrl.envs.check.findings import Broken, Finding, Hung, blamed, quoted
from skillrl.types import Observation, StepResult, Task

_PLACEHOLDER = re.compile(r"\[<[^>]*>\]$")
_WORD = re.compile(r"[^\W_]+")

Choose = Callable[[Observation], str]


class Played:
    """Holds one episode.

    Attributes:
      task: what was attempted.
      actions: what was said, in order.
      answers: the reset (as a result that is not done), then one answer per action.
    """

    def __init__(self, task: Task):
        self.task = task
        self.actions: list[str] = []
        self.answers: list[StepResult] = []

    @property
    def ended(self) -> bool:
        """The environment said that it is over."""
        return self.answers[-1].done


@contextmanager
def handle(suite: Suite) -> Iterator[Environment]:
    """Yields a new handle, closed at the end.

    Raises:
      Broken: `make` or `close` raised.
      Hung: it took too long.
    """
    with blamed("make()"):
        environment = suite.make()
    try:
        yield environment
    except Hung:
        raise  # it hangs, and would hang again
    except BaseException:
        with blamed("close()"):
            environment.close()
        raise
    with blamed("close()"):
        environment.close()


def start(environment: Environment, task: Task) -> Played:
    """Resets `environment`.

    Raises:
      Broken: it raised, or what it returned is no observation.
    """
    with blamed("reset(task)", task.id):
        observation = environment.reset(task)
    _require(observation, Observation, call="reset(task)", task=task)
    played = Played(task)
    played.answers.append(StepResult(observation=_sound(observation, task), done=False, won=False))
    return played


def advance(environment: Environment, played: Played, action: str) -> StepResult:
    """Plays one action and adds it and its answer to `played`.

    Raises:
      Broken: it raised, or what it returned is no result.
    """
    call = f"step({quoted(action, 60)}) after {len(played.actions)} actions"
    with blamed(call, played.task.id):
        result = environment.step(action)
    _require(result, StepResult, call=call, task=played.task)
    _require(result.observation, Observation, call=f"the observation of {call}", task=played.task)
    _sound(result.observation, played.task)
    played.actions.append(action)
    played.answers.append(result)
    return result


def play(environment: Environment, task: Task, choose: Choose, *, limit: int) -> Played:
    """Plays an episode to its end, or to `limit` actions.

    Args:
      environment: a handle.
      task: what is played.
      choose: newest observation -> action.
      limit: largest number of actions.
    """
    played = start(environment, task)
    while not played.ended and len(played.actions) < limit:
        advance(environment, played, choose(played.answers[-1].observation))
    return played


def follow(environment: Environment, task: Task, actions: Sequence[str]) -> Played:
    """Plays the same actions once more; stops where the environment says that it is over."""
    played = start(environment, task)
    for action in actions:
        if played.ended:
            break
        advance(environment, played, action)
    return played


def random_moves(task: Task, form: AnswerForm, draw: str = "") -> Choose:
    """Draws actions that `task` and `draw` fix: of those on offer, else words of the goal."""
    rng = random.Random(f"{task.id}/{draw}")  # seeded by the text, not by its hash

    def choose(observation: Observation) -> str:
        if observation.admissible:
            return filled(rng.choice(observation.admissible), task, rng)
        return wrapped(_words(task, rng), form, rng)

    return choose


def filled(action: str, task: Task, rng: random.Random) -> str:
    """Puts words of the goal in place of what ``search[<your query>]`` has in brackets."""
    return _PLACEHOLDER.sub(lambda _: f"[{_words(task, rng)}]", action)


def wrapped(text: str, form: AnswerForm, rng: random.Random) -> str:
    """Makes `text` an action of this form: inside one of its tags, if it has several."""
    if len(form.tags) == 1:
        return text
    tag = rng.choice(form.tags)
    return f"<{tag}>{text}</{tag}>"


def first_difference(one: Played, other: Played) -> str:
    """Says where two episodes of the same actions part; "" if they do not."""
    for number, (a, b) in enumerate(zip(one.answers, other.answers, strict=False)):
        if canonical(a) == canonical(b):
            continue
        when = "at the reset"
        if number:
            when = f"after {number} actions (last {quoted(one.actions[number - 1], 60)})"
        return f"{when}: {_difference(a, b)}"
    if len(one.answers) != len(other.answers):
        return f"{len(one.actions)} actions until the end once, {len(other.actions)} the next time"
    return ""


def canonical(answer: StepResult) -> str:
    """Returns an answer as text that is equal where, and only where, answers are."""
    seen = answer.observation
    parts = [seen.text, list(seen.admissible), answer.done, answer.won, answer.reward, answer.score]
    return json.dumps(parts, default=repr)


def canonical_task(task: Task) -> str:
    """Writes a task as text that is equal where, and only where, tasks are."""
    parts = [task.id, task.split, task.category, task.goal, task.payload]
    return json.dumps(parts, sort_keys=True, default=repr)


def digest(text: str) -> str:
    """Returns sixteen hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def sample(tasks: Sequence[Task], count: int) -> list[Task]:
    """Picks `count` tasks, from all categories in turn, evenly through the list."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.category, []).append(task)
    quota = dict.fromkeys(groups, 0)
    left = min(count, len(tasks))
    while left:
        for category, group in groups.items():
            if left and quota[category] < len(group):
                quota[category] += 1
                left -= 1
    return [
        group[i * len(group) // quota[category]]
        for category, group in groups.items()
        for i in range(quota[category])
    ]


def _words(task: Task, rng: random.Random) -> str:
    words = _WORD.findall(task.goal) or ["nothing"]
    return " ".join(rng.choice(words) for _ in range(rng.randint(1, 3)))


def _require(value: object, kind: type, *, call: str, task: Task) -> None:
    if not isinstance(value, kind):
        raise Broken(
            Finding(
                f"{call} is a skillrl.types.{kind.__name__}",
                f"it is {quoted(value)}",
                f"return a {kind.__name__}",
                task.id,
            )
        )


def _sound(observation: Observation, task: Task) -> Observation:
    """Refuses fields of the wrong kind, with which nothing else could be said."""
    problem = problem_of_observation(observation)
    if problem:
        raise Broken(
            Finding(
                "Observation(text, admissible) holds a string and a tuple of strings",
                problem,
                "return text as str and admissible as tuple(...)",
                task.id,
            )
        )
    return observation


def _difference(a: StepResult, b: StepResult) -> str:
    seen, other = a.observation, b.observation
    if seen.text != other.text:
        return f"text {quoted(seen.text)}, then {quoted(other.text)}"
    if seen.admissible != other.admissible:
        gone = [x for x in seen.admissible if x not in other.admissible]
        new = [x for x in other.admissible if x not in seen.admissible]
        if not gone and not new:
            return "the admissible actions are in another order"
        return f"admissible actions that vanished: {quoted(gone)}; that came: {quoted(new)}"
    fields = ("done", "won", "reward", "score")
    return ", ".join(
        f"{name} {getattr(a, name)!r}, then {getattr(b, name)!r}"
        for name in fields
        if repr(getattr(a, name)) != repr(getattr(b, name))
    )
