"""A teacher without a language model: rules that read the request, and nothing else.

It stands in where there is no network: it finds causes in the text of failed household
episodes, procedures in that of successes, and words thoughts from goal and action. Its
texts are short and its vocabulary small. It never touches an environment.
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from skillrl.teacher.base import Message, TeacherError
from skillrl.teacher.diagnosis import (
    ADVICE,
    GENERAL_CAUSES,
    SEARCH_CAUSES,
    causes,
    filled,
    vocabulary_texts,
)
from skillrl.teacher.reading import (
    APPLIANCES,
    Aim,
    Recording,
    read_aim,
    read_facts,
    read_recordings,
    read_skills,
)
from skillrl.teacher.thoughts import THOUGHT_FORMS, think

_MAX_SOURCES = 8


class SimulatedTeacher:
    """See the module. Deterministic: the same request always has the same answer."""

    model_id = "simulated-teacher"
    simulated = True

    def __repr__(self) -> str:
        return "SimulatedTeacher()"

    def complete(self, messages: Sequence[Message], *, purpose: str) -> str:
        """Answers the requests of `skills.prompts`; see `Teacher.complete`.

        Raises:
          TeacherError: `purpose` is not one of those it knows.
        """
        if purpose not in _ANSWERS:
            raise TeacherError(
                f"the simulated teacher does not know the purpose {purpose!r}, only "
                f"{', '.join(_ANSWERS)}; use a language model as the teacher for others."
            )
        text = next(message["content"] for message in messages if message["role"] == "user")
        return json.dumps(_ANSWERS[purpose](text))


def vocabulary() -> list[str]:
    """Texts that hold every fixed word it uses (names of things and places come on top)."""
    fixed = [_OFTEN, _HANDS[0], _HANDS[1], _HANDS[2], *_FORMS.values(), *THOUGHT_FORMS]
    texts = [text.replace("{thing}", "").replace("{place}", "") for text in fixed]
    return [*vocabulary_texts(), *texts, "Find it", "you search it", *map(_start, _FORMS)]


_OFTEN = "Look for {thing} first in {place}."
_HANDS = (
    "Hold one object",
    "You can hold only one object, so put it before the next.",
    "you hold an object",
)
_FORMS = {
    "clean": "Find the object, take it, clean it with sinkbasin, then put it.",
    "heat": "Find the object, take it, heat it with microwave, then put it.",
    "cool": "Find the object, take it, cool it with fridge, then put it.",
    "two": "Find the object, take it, put it, then bring the second one.",
    "look": "Find the object, take it, go to the lamp and use it.",
    "place": "Find the object, take it, go to the place and put it.",
}


def _skill(title: str, principle: str, when: str, sources: Sequence[str]) -> dict[str, Any]:
    return {
        "title": title,
        "principle": principle,
        "when_to_apply": when,
        "sources": list(dict.fromkeys(sources))[:_MAX_SOURCES],
    }


def _advice(cause: str, aim: Aim, sources: Sequence[str], *, stronger: bool = False) -> dict:
    advice = ADVICE[cause]
    principle = advice.stronger if stronger else advice.principle
    return _skill(
        filled(advice.title, aim), filled(principle, aim), _lower(advice.when, aim), sources
    )


def _lower(text: str, aim: Aim) -> str:
    text = filled(text, aim)
    return text[:1].lower() + text[1:]


def _limit(text: str) -> int:
    match = re.search(r"at most (\d+) (?:general |new )?(?:skills|lessons|mistakes|entries)", text)
    return int(match[1]) if match else 3


def _by_cause(failures: Sequence[Recording]) -> list[tuple[str, Aim, list[str]]]:
    """(cause, an aim that had it, ids): decisive causes by frequency, then the others."""
    ranks: dict[str, list[int]] = {}
    sources: dict[str, list[str]] = collections.defaultdict(list)
    aims: dict[str, Aim] = {}
    for recording in failures:
        for place, cause in enumerate(causes(recording)):
            count = ranks.setdefault(cause, [0, 0])
            count[min(place, 1)] += 1
            sources[cause].append(recording.id)
            aims.setdefault(cause, read_aim(recording))
    order = sorted(ranks, key=lambda c: (-ranks[c][0], -ranks[c][1], list(ADVICE).index(c)))
    return [(cause, aims[cause], sources[cause]) for cause in order]


def _procedure(recording: Recording) -> str:
    """The order of the verbs that had an effect, e.g. "take heat put"."""
    verbs = []
    for move in recording.moves:
        verb = move.action.split(" ")[0]
        verb = {"move": "put", "toggle": "use", "turn": "use"}.get(verb, verb)
        if not move.wasted and verb in ("take", "clean", "heat", "cool", "put", "use"):
            verbs.append(verb)
    return " ".join(verbs)


def _kind(recording: Recording) -> str:
    """Key of `_FORMS` that the recording's verbs show."""
    verbs, aim = _procedure(recording), read_aim(recording)
    if aim.treatment and re.search(rf"take.*{aim.treatment}.*put", verbs):
        return aim.treatment
    if aim.two and re.search(r"take.*put.*take.*put", verbs):
        return "two"
    return "look" if aim.look and re.search(r"\buse\b", verbs) else "place"


def _where(wins: Sequence[Recording]) -> list[tuple[str, list[str], list[str]]]:
    """(thing, places where it was taken, ids) of the goals' objects, most frequent first."""
    places: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    sources: dict[str, list[str]] = collections.defaultdict(list)
    for recording in wins:
        aim = read_aim(recording)
        for thing, place in read_facts(recording, aim.thing).taken:
            if thing == aim.thing:
                places[thing][place] += 1
                sources[thing].append(recording.id)
    order = sorted(places, key=lambda thing: (-places[thing].total(), thing))
    return [
        (thing, [p for p, _ in sorted(places[thing].items(), key=lambda e: (-e[1], e[0]))],
         sources[thing])
        for thing in order
    ]  # fmt: skip


def _find(thing: str, places: Sequence[str], sources: Sequence[str]) -> dict[str, Any]:
    shown = " or ".join(places[:2])
    principle = _OFTEN.format(thing=thing, place=shown)
    return _skill(f"Find {thing}", principle, f"you search {thing}", sources)


def _start(kind: str) -> str:
    word = {"two": "two object", "place": "pick and place"}.get(kind, kind)
    return f"start of a {word} task"


def _success(text: str) -> list[dict[str, Any]]:
    wins = read_recordings(text)
    if not wins:
        return []
    ids = [recording.id for recording in wins]
    kinds = collections.Counter(_kind(recording) for recording in wins)
    kind = min(kinds, key=lambda name: (-kinds[name], list(_FORMS).index(name)))
    shown = [recording.id for recording in wins if _kind(recording) == kind]
    aim = Aim("", "", kind if kind in APPLIANCES else "", False, False)
    name = {"two": "bring two", "look": "use lamp", "place": "pick and place"}.get(kind, kind)
    found = [_skill(f"Steps to {name}", _FORMS[kind], _start(kind), shown)]
    if kind in APPLIANCES:
        found.append(_advice("no_appliance", aim, shown))
    elif kind == "two":
        found.append(_advice("second", aim, shown))
    elif kind == "look":
        found.append(_advice("no_lamp", aim, shown))
    else:
        found.append(_advice("not_put", aim, ids))
    found += [_find(*item) for item in _where(wins)]
    opened = [r.id for r in wins if read_facts(r, read_aim(r).thing).opened]
    if opened:
        found.append(_advice("closed", aim, opened))
    return found[: _limit(text)]


def _failure(text: str) -> list[dict[str, Any]]:
    failures = read_recordings(text)
    by_id = {recording.id: recording for recording in failures}
    lessons = []
    for cause, aim, sources in _by_cause(failures)[: _limit(text)]:
        advice = ADVICE[cause]
        item = _advice(cause, aim, sources, stronger=True)
        item["title"] = filled(advice.mistake, aim)
        first = by_id[sources[0]]
        last = first.moves[-1].action if first.moves else "nothing"
        item["where_it_failed"] = f"Step {len(first.moves)} of {len(first.moves)}: {last}"
        item["what_was_wrong"] = filled(advice.wrong, aim)
        item["what_to_do_instead"] = filled(advice.principle, aim)
        lessons.append(item)
    return lessons


def _general(text: str) -> list[dict[str, Any]]:
    recordings = read_recordings(text)
    found = _by_cause([r for r in recordings if not r.won])
    seen = {cause: sources for cause, _, sources in found}
    order = [cause for cause, _, _ in found if cause in GENERAL_CAUSES]
    order += [cause for cause in GENERAL_CAUSES if cause not in order]
    ids = [recording.id for recording in recordings]
    no_aim = Aim("", "", "", False, False)
    skills = [_advice(cause, no_aim, seen.get(cause, ids)) for cause in order]
    skills.append(_skill(*_HANDS, ids))
    return skills[: _limit(text)]


def _mistakes(text: str) -> list[dict[str, Any]]:
    """Mistakes that more than one category shows."""
    failures = read_recordings(text)
    category = {recording.id: recording.category for recording in failures}
    found = []
    for cause, aim, sources in _by_cause(failures):
        if cause in GENERAL_CAUSES and len({category[name] for name in sources}) > 1:
            item = _advice(cause, aim, sources, stronger=True)
            found.append(item | {"title": filled(ADVICE[cause].mistake, aim)})
    return found[: _limit(text)]


def _evolution(text: str) -> dict[str, list[dict[str, Any]]]:
    """One entry per cause that no skill covers; new words for skills that did not help."""
    recordings = read_recordings(text)
    known = {(category, title): (name, rule) for name, category, title, rule in read_skills(text)}
    wins = [recording for recording in recordings if recording.won]
    by_category: dict[str, list[Recording]] = {}
    for recording in recordings:
        if not recording.won:
            by_category.setdefault(recording.category, []).append(recording)
    queues = []
    for category, failures in by_category.items():
        mine = [recording for recording in wins if recording.category == category]
        queues.append(_proposals(category, failures, mine, known))
    add: list[dict[str, Any]] = []
    refine: list[dict[str, Any]] = []
    refined: set[str] = set()
    room = _limit(text)
    while any(queues) and len(add) + len(refine) < room:
        for queue in queues:
            if not queue or len(add) + len(refine) >= room:
                continue
            item = queue.pop(0)
            if "id" not in item:
                add.append(item)
            elif item["id"] not in refined:
                refined.add(item["id"])
                refine.append(item)
    return {"add": add, "refine": refine}


def _proposals(
    category: str,
    failures: Sequence[Recording],
    wins: Sequence[Recording],
    known: dict[tuple[str, str], tuple[str, str]],
) -> list[dict[str, Any]]:
    new, better = [], []
    found = _by_cause(failures)
    for cause, aim, sources in found:
        item = _advice(cause, aim, sources) | {"cause": filled(ADVICE[cause].wrong, aim)}
        same = known.get((category, item["title"])) or known.get(("general", item["title"]))
        if same is None:
            new.append(item | {"category": category})
            continue
        name, rule = same
        words = _advice(cause, aim, sources, stronger=True)
        if rule != words["principle"]:
            better.append(words | {"id": name, "cause": item["cause"]})
    if any(cause in SEARCH_CAUSES for cause, _, _ in found):
        for place in _where(wins):
            item = _find(*place)
            if (category, item["title"]) not in known:
                item |= {"category": category, "cause": "The object was not found in time."}
                new.append(item)
    return new + better


def _rewrite(text: str) -> list[str]:
    recordings = read_recordings(text)
    return think(recordings[-1]) if recordings else []


_ANSWERS: dict[str, Callable[[str], Any]] = {
    "distill_success": _success,
    "distill_failure": _failure,
    "distill_general": _general,
    "distill_mistakes": _mistakes,
    "evolve": _evolution,
    "rewrite": _rewrite,
}
