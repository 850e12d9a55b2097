"""Answers as the simulated teacher, in the same way for every kind of tasks."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skillrl.teacher.base import Message, TeacherError
from skillrl.teacher.simulated.domain import Domain, Entry, advised, cited
from skillrl.teacher.simulated.domains import domain_of
from skillrl.teacher.simulated.recordings import GENERAL, Recording, read_recordings, read_skills
from skillrl.teacher.simulated.tidy import tidied


class SimulatedTeacher:
    """Answers by rules; the same request always has the same answer."""

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
        recordings = read_recordings(text)
        return json.dumps(_ANSWERS[purpose](text, recordings, domain_of(recordings)))


def _limit(text: str) -> int:
    match = re.search(r"at most (\d+) (?:general |new )?(?:skills|lessons|mistakes|entries)", text)
    return int(match[1]) if match else 3


def _ids(recordings: Sequence[Recording]) -> list[str]:
    return [recording.id for recording in recordings]


def _advice(
    domain: Domain, cause: str, shown: Sequence[Recording], *, stronger: bool = False
) -> Entry:
    return advised(
        domain.advice[cause], lambda text: domain.fill(text, shown), _ids(shown), stronger=stronger
    )


def _mistake(
    domain: Domain, cause: str, shown: Sequence[Recording], *, general: bool = False
) -> Entry:
    """Returns the mistake behind a cause; a general one is of no task in particular."""
    advice, words = domain.advice[cause], () if general else shown
    item = advised(advice, lambda text: domain.fill(text, words), _ids(shown), stronger=True)
    return item | {"title": domain.fill(advice.mistake, words)}


def _by_cause(domain: Domain, failures: Sequence[Recording]) -> list[tuple[str, list[Recording]]]:
    """Returns (cause, who had it): decisive causes by frequency, then the others."""
    ranks: dict[str, list[int]] = {}
    shown: dict[str, list[Recording]] = {}
    for recording in failures:
        for place, cause in enumerate(domain.causes(recording)):
            count = ranks.setdefault(cause, [0, 0])
            count[min(place, 1)] += 1
            shown.setdefault(cause, []).append(recording)
    known = list(domain.advice)
    order = sorted(ranks, key=lambda c: (-ranks[c][0], -ranks[c][1], known.index(c)))
    return [(cause, shown[cause]) for cause in order]


def _success(text: str, recordings: Sequence[Recording], domain: Domain) -> list[Entry]:
    return domain.patterns(recordings)[: _limit(text)] if recordings else []


def _failure(text: str, recordings: Sequence[Recording], domain: Domain) -> list[Entry]:
    lessons = []
    for cause, shown in _by_cause(domain, recordings)[: _limit(text)]:
        advice, moves = domain.advice[cause], shown[0].moves
        last = moves[-1].action if moves else "nothing"
        lessons.append(
            _mistake(domain, cause, shown)
            | {
                "where_it_failed": f"Step {len(moves)} of {len(moves)}: {last}",
                "what_was_wrong": domain.fill(advice.wrong, shown),
                "what_to_do_instead": domain.fill(advice.principle, shown),
            }
        )
    return lessons


def _general(text: str, recordings: Sequence[Recording], domain: Domain) -> list[Entry]:
    found = dict(_by_cause(domain, [r for r in recordings if not r.won]))
    threats = [cause for cause in found if cause in domain.general]

    def against(causes: Sequence[str]) -> list[Entry]:
        return [
            advised(
                domain.advice[cause],
                lambda part: domain.fill(part, ()),  # of no task in particular
                _ids(found.get(cause, recordings)),
            )
            for cause in causes
        ]

    skills = against(threats)
    skills += [habit | {"sources": cited(_ids(recordings))} for habit in domain.habits]
    skills += domain.shared(recordings)
    skills += against([cause for cause in domain.general if cause not in threats])
    return skills[: _limit(text)]


def _mistakes(text: str, recordings: Sequence[Recording], domain: Domain) -> list[Entry]:
    """Mistakes that more than one category shows."""
    found = [
        _mistake(domain, cause, shown, general=True)
        for cause, shown in _by_cause(domain, recordings)
        if cause in domain.general and len({recording.category for recording in shown}) > 1
    ]
    return found[: _limit(text)]


def _evolution(
    text: str, recordings: Sequence[Recording], domain: Domain
) -> dict[str, list[Entry]]:
    """Returns one entry per cause that no skill covers; new words for skills that did not help."""
    known = {(category, title): (name, rule) for name, category, title, rule in read_skills(text)}
    by_category: dict[str, list[Recording]] = {}
    for recording in recordings:
        if not recording.won:
            by_category.setdefault(recording.category, []).append(recording)
    queues = []
    for category, failures in by_category.items():
        queues.append(_proposals(domain, category, failures=failures, known=known))
    queues.append(_findings(domain, recordings, known))
    add: list[Entry] = []
    refine: list[Entry] = []
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
    return {"add": add, "refine": refine} | tidied(text, _ids(recordings), besides=refined)


def _proposals(
    domain: Domain,
    category: str,
    *,
    failures: Sequence[Recording],
    known: Mapping[tuple[str, str], tuple[str, str]],
) -> list[Entry]:
    """Returns advice against the causes of a category's failures: new, or in other words."""
    new, better = [], []
    for cause, shown in _by_cause(domain, failures):
        why = domain.fill(domain.advice[cause].wrong, shown)
        item = _advice(domain, cause, shown) | {"cause": why}
        same = known.get((category, item["title"])) or known.get((GENERAL, item["title"]))
        if same is None:
            new.append(item | {"category": category})
            continue
        name, rule = same
        words = _advice(domain, cause, shown, stronger=True)
        if rule != words["principle"]:
            better.append(words | {"id": name, "cause": why})
    return new + better


def _findings(
    domain: Domain,
    recordings: Sequence[Recording],
    known: Mapping[tuple[str, str], tuple[str, str]],
) -> list[Entry]:
    """Returns what the recordings of all categories show: new, or in other words."""
    failures = [recording for recording in recordings if not recording.won]
    causes = [cause for cause, _ in _by_cause(domain, failures)]
    order = sorted(known, key=lambda key: key[0] == GENERAL)  # a general rule stands above others
    words = {title: known[category, title][1] for category, title in order}
    new, better = [], []
    for item in domain.findings(recordings, causes, words):
        same = known.get((item["category"], item["title"])) or known.get((GENERAL, item["title"]))
        if same is None:
            new.append(item)
        elif item["principle"] != same[1]:
            better.append(item | {"id": same[0]})
    return new + better


def _rewrite(text: str, recordings: Sequence[Recording], domain: Domain) -> list[str]:
    if not recordings:
        return []
    told = tuple(rule for *_, rule in read_skills(text))
    return domain.think(dataclasses.replace(recordings[-1], told=told))


_ANSWERS: dict[str, Callable[[str, Sequence[Recording], Domain], Any]] = {
    "distill_success": _success,
    "distill_failure": _failure,
    "distill_general": _general,
    "distill_mistakes": _mistakes,
    "evolve": _evolution,
    "rewrite": _rewrite,
}
