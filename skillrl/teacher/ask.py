"""Questions whose answer is JSON: checked, asked again with the error shown, then skipped."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from skillrl.io.json_text import sound
from skillrl.io.text import printable
from skillrl.teacher.base import Message, Teacher, TeacherError, Unusable

_LOG = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ECHO = 20_000  # characters of a malformed answer that the teacher is shown again


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TeacherUsage:
    """What questions cost.

    Attributes:
      asked: requests made, repetitions included.
      malformed: answers that did not pass, those refused, cut off or empty included.
      skipped: questions given up after the last try.
      dropped: entries of answers that were left out, since they were malformed.
      shortened: questions asked again about fewer recordings, being too long for the teacher.
      cut: characters left out of long observations, to keep within ``distill.max_request_tokens``.
      omitted: recordings left out of questions, since they did not fit even so.
      reasons: why each skipped question was given up.
    """

    asked: int = 0
    malformed: int = 0
    skipped: int = 0
    dropped: int = 0
    shortened: int = 0
    cut: int = 0
    omitted: int = 0
    reasons: tuple[str, ...] = ()

    def __add__(self, other: TeacherUsage) -> TeacherUsage:
        pairs = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
        }
        return TeacherUsage(**pairs)


def ask_json(
    teacher: Teacher,
    messages: Sequence[Message],
    validate: Callable[[Any], T],
    *,
    purpose: str,
    max_tries: int = 3,
) -> tuple[T | None, TeacherUsage]:
    """Asks until `validate` accepts the decoded JSON, at most `max_tries` times.

    An answer that does not pass is not kept by the teacher's cache: the question is asked
    afresh by the next session.

    Args:
      teacher: whom to ask. A `TeacherError` of it is not caught here, but for `Unusable`.
      messages: the question.
      validate: returns the checked value, or raises ValueError with a sentence that
        the teacher can act on.
      purpose: passed to the teacher.
      max_tries: requests before the question is skipped.

    Returns:
      The value and the counts; None where no answer could be used (also logged).
    """
    conversation: list[Message] = list(messages)
    problem = ""
    for attempt in range(1, max_tries + 1):
        text = ""
        try:
            text = teacher.complete(conversation, purpose=purpose)
            value = validate(find_json(text))
        except Unusable as error:
            problem = str(error)
        except ValueError as error:
            problem = str(error)
            if forget := getattr(teacher, "forget", None):
                forget(conversation)
        else:
            return value, TeacherUsage(asked=attempt, malformed=attempt - 1)
        conversation = [
            *conversation,
            {"role": "assistant", "content": text[:_ECHO] or "(empty)"},
            {
                "role": "user",
                "content": f"That answer could not be used: {problem}. "
                "Answer again with the JSON alone, in the form asked for.",
            },
        ]
    _LOG.warning(
        "teacher %s: %s skipped after %d answers that could not be used (last: %s)",
        teacher.model_id, purpose, max_tries, printable(problem),
    )  # fmt: skip
    return None, TeacherUsage(asked=max_tries, malformed=max_tries, skipped=1, reasons=(problem,))


def ask_about(
    items: Sequence[Item],
    ask: Callable[[Sequence[Item]], tuple[T | None, TeacherUsage]],
    *,
    what: str,
) -> tuple[T | None, TeacherUsage, Sequence[Item]]:
    """Asks a question about `items`, about half of them where that is too long for the teacher.

    Args:
      items: what the question shows, the most important first.
      ask: asks about some of them, as `ask_json` does.
      what: name of the question, for the log.

    Returns:
      The value or None, the counts, and the items that the answer is about.

    Raises:
      TeacherError: the teacher failed for another reason than this one question.
    """
    before = TeacherUsage()
    while True:
        try:
            value, counts = ask(items)
            return value, before + counts, items
        except TeacherError as error:
            if not error.question:
                raise
            if error.too_long and len(items) > 1:
                half = (len(items) + 1) // 2
                _LOG.warning(
                    "%s: %d recordings are too long for the teacher; asking about %d",
                    what, len(items), half,
                )  # fmt: skip
                items, before = items[:half], before + TeacherUsage(asked=1, shortened=1)
                continue
            _LOG.warning("%s is skipped: %s", what, error)
            return None, before + TeacherUsage(asked=1, skipped=1, reasons=(str(error),)), items


def find_json(text: str) -> Any:
    """Finds the longest JSON object or array in `text`; prose and code fences are ignored.

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
        except (ValueError, RecursionError) as error:
            problem = f"the JSON is broken ({error})"
            start = match.start() + 1
            continue
        start = end
        try:
            # Half an emoji may be escaped in here, too.
            found.append((end - match.start(), sound(value)))
        except ValueError as error:
            problem = f"the JSON cannot be used ({error})"
    if not found:
        raise ValueError(problem)
    return max(found, key=lambda pair: pair[0])[1]


def field(item: Any, name: str, *, limit: int, required: bool = True) -> str:
    """Returns a text field of a decoded object, blanks and control characters collapsed.

    Args:
      item: the decoded object.
      name: of the field.
      limit: most characters.
      required: whether it must be there; else "" stands for an absent one.

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
    value = " ".join(_CONTROL.sub(" ", value).split())
    if required and not value:
        raise ValueError(f"field {name!r} is empty")
    if len(value) > limit:
        raise ValueError(f"field {name!r} has {len(value)} characters; at most {limit}")
    return value
