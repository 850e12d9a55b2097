"""Questions whose answer is JSON: checked, asked again with the error shown, then skipped."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from skillrl.teacher.base import Message, Teacher

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What questions cost.

    Attributes:
      asked: requests made, repetitions included.
      malformed: answers that did not pass.
      skipped: questions given up after the last try.
    """

    asked: int = 0
    malformed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.asked + other.asked,
            self.malformed + other.malformed,
            self.skipped + other.skipped,
        )


def ask_json(
    teacher: Teacher,
    messages: Sequence[Message],
    validate: Callable[[Any], T],
    *,
    purpose: str,
    max_tries: int = 3,
) -> tuple[T | None, Counts]:
    """Asks until `validate` accepts the decoded JSON, at most `max_tries` times.

    Args:
      teacher: whom to ask. A `TeacherError` of it is not caught here.
      messages: the question.
      validate: returns the checked value, or raises ValueError with a sentence that
        the teacher can act on.
      purpose: passed to the teacher.
      max_tries: requests before the question is skipped.

    Returns:
      The value and the counts; None where every answer was malformed (also logged).
    """
    conversation: list[Message] = list(messages)
    problem = ""
    for attempt in range(1, max_tries + 1):
        text = teacher.complete(conversation, purpose=purpose)
        try:
            value = validate(find_json(text))
        except ValueError as error:
            problem = str(error)
        else:
            return value, Counts(asked=attempt, malformed=attempt - 1)
        conversation = [
            *conversation,
            {"role": "assistant", "content": text or "(empty)"},
            {
                "role": "user",
                "content": f"That answer could not be used: {problem}. "
                "Answer again with the JSON alone, in the form asked for.",
            },
        ]
    _LOG.warning(
        "teacher %s: %s skipped after %d malformed answers (last: %s)",
        teacher.model_id, purpose, max_tries, problem,
    )  # fmt: skip
    return None, Counts(asked=max_tries, malformed=max_tries, skipped=1)


def find_json(text: str) -> Any:
    """The longest JSON object or array in `text`; prose and code fences around it are ignored.

    Raises:
      ValueError: there is none.
    """
    if not text.strip():
        raise ValueError("the answer was empty")
    body = text.rpartition("</think>")[2]
    decoder = json.JSONDecoder()
    problem = "it holds no JSON object or array"
    found: list[tuple[int, Any]] = []
    start, tries = 0, 0
    while (match := re.compile(r"[\[{]").search(body, start)) and tries < 200:
        tries += 1
        try:
            value, end = decoder.raw_decode(body, match.start())
        except (json.JSONDecodeError, RecursionError) as error:
            problem = f"the JSON is broken ({error})"
            start = match.start() + 1
            continue
        found.append((end - match.start(), value))
        start = end
    if not found:
        raise ValueError(problem)
    return max(found, key=lambda pair: pair[0])[1]


def field(item: Any, name: str, *, limit: int, required: bool = True) -> str:
    """A text field of a decoded object, blanks collapsed.

    Raises:
      ValueError: not an object, missing, not text, or longer than `limit` characters.
    """
    if not isinstance(item, dict):
        raise ValueError(f"expected an object with {name!r}, got {type(item).__name__}")
    value = item.get(name, "" if not required else None)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"field {name!r} must be text, got {type(value).__name__}")
    value = " ".join(value.split())
    if required and not value:
        raise ValueError(f"field {name!r} is empty")
    if len(value) > limit:
        raise ValueError(f"field {name!r} has {len(value)} characters; at most {limit}")
    return value
