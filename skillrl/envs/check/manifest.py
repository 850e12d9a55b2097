"""Checks what a suite says about itself: its parts, its tasks, its splits."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.envs.base import SPLITS, Suite
from skillrl.envs.check.findings import Broken, Finding, blamed, quoted
from skillrl.envs.check.play import canonical, canonical_task, handle, start
from skillrl.errors import SkillRLError
from skillrl.types import GENERAL, Task

Manifests = dict[str, list[Task]]

_TEXTS = {"name": "the registered name", "role": "the sentence that tells the agent what it is"}
_TAG = re.compile(r"[A-Za-z][\w-]*")
_COMPARED = 40  # pairs of tasks whose first texts are compared


def check_suite(suite: Suite, name: str) -> list[Finding]:
    """Checks the attributes and methods of the protocol `skillrl.envs.Suite`."""
    found = []
    for method, use in (
        ("tasks", "def tasks(self, split): return the list of a split"),
        ("make", "def make(self): return a new handle"),
        ("expert", "def expert(self, task): return None  # or a demonstrator"),
    ):
        if not callable(getattr(suite, method, None)):
            found.append(_missing(f"a method {method}", f"write `{use}`"))
    for attribute, what in _TEXTS.items():
        value = getattr(suite, attribute, None)
        if not isinstance(value, str) or not value:
            found.append(_missing(f"{attribute}, {what}", "set it to a string", value))
    if isinstance(getattr(suite, "name", None), str) and suite.name not in ("", name):
        found.append(
            Finding(
                f"name is {name!r}, under which it is registered",
                f"name is {suite.name!r}",
                "use one name in both places; tables and run directories show it",
            )
        )
    if not isinstance(getattr(suite, "simulated", None), str):
        remedy = 'simulated = "generated games" (what is not real), or ""'
        found.append(_missing("simulated, a string", remedy, getattr(suite, "simulated", None)))
    steps = getattr(suite, "max_steps", None)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        remedy = "self.max_steps = config.max_steps"
        found.append(_missing("max_steps, a whole number above 0", remedy, steps))
    return found + _check_categories(suite) + _check_form(suite)


def check_handle(suite: Suite) -> list[Finding]:
    """Checks the methods of a handle, and that `make` gives a new one each time."""
    with blamed("make()"):
        one, other = suite.make(), suite.make()
    found = [
        _missing(f"a handle with a method {method}", f"write `def {method}{signature}`")
        for method, signature in (
            ("reset", "(self, task)"),
            ("step", "(self, action)"),
            ("close", "(self): pass"),
        )
        if not callable(getattr(one, method, None))
    ]
    if one is other:
        found.append(
            Finding(
                "every make() is a new handle: many episodes are played at once",
                "two calls returned the same object",
                "return Environment(...) from make, and keep what an episode changes in it",
            )
        )
    if not found:
        with blamed("close() of a handle that was never reset"):
            one.close()
            other.close()
    return found


def read_manifests(suite: Suite) -> tuple[Manifests, list[Finding]]:
    """Returns the tasks of every split, and the faults that leave nothing to check."""
    manifests: Manifests = {}
    found = []
    for split in SPLITS:
        try:
            tasks: Any = tasks_of(suite, split)
        except Broken as broken:
            found.append(broken.finding)
            continue
        listed: list[Any] = []
        if isinstance(tasks, Sequence):
            try:
                for number in range(len(tasks)):  # which may ask a server for each
                    with blamed(f"tasks({split!r})[{number}]"):
                        listed.append(tasks[number])
            except Broken as broken:
                found.append(broken.finding)
                continue
        if not isinstance(tasks, Sequence) or not all(isinstance(task, Task) for task in listed):
            found.append(
                Finding(
                    f"tasks({split!r}) is a list or tuple of skillrl.types.Task",
                    f"it is {quoted(tasks)}",
                    "return a tuple of skillrl.types.Task",
                )
            )
            continue
        manifests[split] = listed
    if not found and not any(manifests.values()):
        found.append(
            Finding(
                f"at least one of the splits {', '.join(SPLITS)} has tasks",
                "none has",
                "return tasks for train (to learn from) and valid_unseen (to be tested on)",
            )
        )
    return manifests, found


def tasks_of(suite: Suite, split: str) -> Sequence[Task]:
    """Returns the list of a split; none where the suite says that it does not know it.

    Raises:
      Broken: something else went wrong.
    """
    with blamed(f"tasks({split!r})"):
        try:
            return suite.tasks(split)
        except SkillRLError:
            return ()


def check_tasks(suite: Suite, manifests: Manifests) -> list[Finding]:
    """Checks each task on its own: id, split, category, goal, payload."""
    found = []
    for split, tasks in manifests.items():
        for task in tasks:
            if not isinstance(task.id, str) or not task.id:
                found.append(
                    Finding("id is a string, and not empty", quoted(task), "give it one", split)
                )
            elif task.split != split:
                found.append(
                    Finding(
                        f"a task of tasks({split!r}) has split={split!r}",
                        f"split={task.split!r}",
                        "set split to the argument of tasks",
                        task.id,
                    )
                )
            if task.category not in suite.categories:
                found.append(
                    Finding(
                        f"category is a key of categories: {', '.join(suite.categories)}",
                        f"category is {task.category!r}",
                        "add it to categories (with the name for tables), or correct it",
                        task.id,
                    )
                )
            if not isinstance(task.goal, str) or not task.goal.strip():
                found.append(
                    Finding(
                        "goal is the sentence that the agent reads",
                        f"goal is {task.goal!r}",
                        "say what is to be done",
                        task.id,
                    )
                )
            found += _check_payload(task)
    return found


def check_distinct(manifests: Manifests) -> list[Finding]:
    """Checks that no id occurs twice, in a split or in two."""
    found = []
    seen: dict[str, str] = {}
    for split, tasks in manifests.items():
        for task in tasks:
            if task.id in seen:
                here = "this split" if seen[task.id] == split else f"{seen[task.id]} and {split}"
                found.append(
                    Finding(
                        "every id is there once",
                        f"{task.id!r} is there twice, in {here}",
                        'write the split and a number into it, like "train/0007"',
                        task.id,
                    )
                )
            seen.setdefault(task.id, split)
    return found


def check_leaks(suite: Suite, manifests: Manifests) -> list[Finding]:
    """Checks that no held-out task is one of another split under a new id.

    Two tasks are the same where goal, payload and the first text are: a payload may be a
    setting that all tasks share.
    """
    places: dict[str, list[Task]] = {}
    for tasks in manifests.values():
        for task in tasks:
            key = json.dumps([task.goal, task.payload], sort_keys=True, default=repr)
            if all(task.split != other.split for other in places.get(key, ())):
                places.setdefault(key, []).append(task)
    twins = [group for group in places.values() if len(group) > 1]
    found = []
    for one, other, *_ in twins[:_COMPARED]:
        with handle(suite) as environment:
            first, second = (start(environment, task).answers[0] for task in (one, other))
        if canonical(first) == canonical(second):
            found.append(
                Finding(
                    "train, valid_seen and valid_unseen have different tasks: whoever is tested "
                    "on what it has learned from is not tested",
                    f"{one.id} and {other.id} have the same goal, payload "
                    f"({quoted(one.payload, 80)}) and first text",
                    "draw the splits apart, and put all that makes a task (its seed, for "
                    "example) into its payload",
                    other.id,
                )
            )
    return found


def check_unchanged(before: Manifests, now: Manifests, when: str) -> list[Finding]:
    """Checks that two readings of the manifests are the same, in the same order."""
    found = []
    for split in before:
        old, new = before[split], now.get(split, [])
        if len(old) != len(new):
            found.append(
                Finding(
                    f"tasks({split!r}) is the same at every call",
                    f"{len(old)} tasks first, {len(new)} {when}",
                    "build the list once, from fixed seeds",
                )
            )
            continue
        for a, b in zip(old, new, strict=True):
            if canonical_task(a) != canonical_task(b):
                found.append(
                    Finding(
                        f"tasks({split!r}) is the same at every call",
                        f"{quoted(a, 90)} first, {quoted(b, 90)} {when}",
                        "build the list once, from fixed seeds (random.Random(7)), and change "
                        "no task or payload while playing",
                        a.id,
                    )
                )
                break
    return found


def snapshot(manifests: Manifests) -> dict[str, list[str]]:
    """Returns the manifests as texts, which later changes of a payload do not reach."""
    return {split: [canonical_task(task) for task in tasks] for split, tasks in manifests.items()}


def check_kept(before: Mapping[str, Sequence[str]], manifests: Manifests) -> list[Finding]:
    """Checks that playing changed no task."""
    return [
        Finding(
            "playing changes no task",
            f"{was[:80]}... before, {canonical_task(task)[:80]}... after",
            "copy what an episode changes out of task.payload",
            task.id,
        )
        for split, tasks in manifests.items()
        for was, task in zip(before[split], tasks, strict=True)
        if was != canonical_task(task)
    ]


def notes(suite: Suite, manifests: Manifests) -> list[str]:
    """Returns what is allowed and worth knowing."""
    said = [f"the split {split} has no tasks" for split in SPLITS if not manifests.get(split)]
    counts = Counter(task.category for tasks in manifests.values() for task in tasks)
    unused = [category for category in suite.categories if category not in counts]
    if unused:
        said.append(f"no task is of the category {', '.join(unused)}")
    for split, tasks in manifests.items():
        contents = Counter(canonical_task(task).replace(task.id, "", 1) for task in tasks)
        twice = sum(count - 1 for count in contents.values())
        if twice:
            said.append(f"{twice} tasks of {split} repeat another one under a new id")
    return said


def _check_payload(task: Task) -> list[Finding]:
    try:
        text = json.dumps(task.payload, allow_nan=False)
        if json.loads(text) == task.payload:
            return []
        seen = f"payload {quoted(task.payload)} comes back as {quoted(json.loads(text))}"
    except (TypeError, ValueError) as error:
        seen = f"payload {quoted(task.payload)}: {error}"
    return [
        Finding(
            "payload is JSON: trajectories keep it, and other processes read it",
            seen,
            "use dicts with string keys, lists, strings, numbers, true, false and None only",
            task.id,
        )
    ]


def _check_categories(suite: Suite) -> list[Finding]:
    categories: object = getattr(suite, "categories", None)
    remedy = 'categories = {"one_key": "Name in tables"}'
    if not isinstance(categories, Mapping) or not categories:
        return [_missing("categories, a mapping from key to name", remedy, categories)]
    if not all(isinstance(x, str) and x for pair in categories.items() for x in pair):
        return [_missing("categories with strings as keys and names", remedy, categories)]
    if GENERAL in categories:
        seen = f"{GENERAL!r} is among them"
        rule = f"no category is called {GENERAL!r}: skills for every task are"
        return [Finding(rule, seen, "choose another key")]
    return []


def _check_form(suite: Suite) -> list[Finding]:
    found = []
    tags: object = getattr(suite, "tags", ("action",))
    rule = "tags is a tuple of words, without angle brackets"
    good = isinstance(tags, tuple) and tags and all(isinstance(tag, str) for tag in tags)
    if not isinstance(tags, tuple) or not good or not all(map(_TAG.fullmatch, tags)):
        return [Finding(rule, f"it is {tags!r}", 'tags = ("search", "answer"), for example')]
    sentence: object = getattr(suite, "instruction", None)
    if sentence is None and tags != ("action",):
        seen = "tags without instruction: the prompt would speak of <action>"
        found.append(Finding("instruction says how to answer", seen, "write that sentence"))
    if sentence is not None:
        missing = [tag for tag in tags if f"<{tag}>" not in str(sentence)]
        if not isinstance(sentence, str) or missing:
            said = ", ".join(f"<{tag}>" for tag in tags)
            rule = f"instruction is a string that shows {said}"
            seen = f"it is {sentence!r}"
            found.append(Finding(rule, seen, "name every tag in it, as the agent must write it"))
    return found


def _missing(what: str, remedy: str, value: object = None) -> Finding:
    seen = "there is none" if value is None else f"it is {quoted(value)}"
    return Finding(f"the environment has {what}", seen, remedy)
