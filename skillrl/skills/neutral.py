"""Text about nothing, as long as a bank's own: what skills do by being there at all.

A prompt with skills is longer, and looks different, whatever they say. A bank whose every skill
is replaced by sentences about the weather has the same places in the same prompts and no advice:
what is left of a gain with it was never the skills' content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from skillrl.skills.bank import SkillBank
from skillrl.types import Skill

CountTokens = Callable[[Skill], int]
"""Counts the tokens of a skill as prompts show it: a text alone has others than within a line."""

_SENTENCES = (
    "Rain fell",
    "Snow fell",
    "Mist was rising",
    "The fog came early",
    "Birds crossed the sky",
    "A bell rang far away",
    "The river was calm all day",
    "Snow lay on the hills all winter",
    "Clouds came from the west and went on",
    "The rain had stopped some time before the evening",
    "A long road went on between the fields and hills",
    "The wind was mild",
    "Spring was late",
    "Leaves fell in the garden",
    "The sea was calm once more",
    "Thunder was heard behind the mountain",
    "A bird sang before the morning came",
    "The valley was quiet for most of autumn",
    "It was a summer as summers often are there",
    "The old bridge has been there for many long years",
)
"""Of each length from 2 to 10 words, two or more: statements, of no object, act or place that a
task could be about."""

_BY_LENGTH: dict[int, tuple[str, ...]] = {
    n: tuple(s for s in _SENTENCES if len(s.split()) == n) for n in range(2, 11)
}
_WORDS = ("Weather", "Rain", "Mist", "Fog", "Snow", "So")
_LONGEST = max(_BY_LENGTH)
_TRIES = 24  # texts of one length that are looked at for one of the right number of tokens
_MORE_TRIES = 96  # and for one that is at most one token off


def neutral_bank(bank: SkillBank, *, count_tokens: CountTokens | None = None) -> SkillBank:
    """Returns a bank of the same shape that says nothing about any task.

    Each skill keeps its id, category and kind, and each of its texts its number of words; with
    `count_tokens` the skill has its number of tokens instead, give or take one (a text of a few
    tokens may be further off, if no word of these sentences is that short). What a skill becomes
    depends on itself and on the counter alone.

    Args:
      bank: the bank to imitate.
      count_tokens: counts the tokens of a skill's line in a prompt; None counts words.
    """
    skills = tuple(neutral_skill(skill, count_tokens=count_tokens) for skill in bank.skills)
    return SkillBank(skills, bank.version)


def neutral_skill(skill: Skill, *, count_tokens: CountTokens | None = None) -> Skill:
    """Returns what `neutral_bank` makes of one skill, the same whenever it is asked.

    Args:
      skill: what to imitate.
      count_tokens: counts the tokens of a skill's line in a prompt; None counts words.
    """

    def write(name: str) -> Callable[[int, int], str]:
        end = "." if getattr(skill, name).rstrip().endswith(".") else ""
        return lambda words, attempt: _sentences(f"{skill.id}/{name}/{attempt}", words, end=end)

    def replaced(title: str, principle: str, when_to_apply: str) -> Skill:
        return Skill(  # without statistics and provenance, which belong to the old words
            id=skill.id,
            title=title,
            principle=principle,
            when_to_apply=when_to_apply,
            category=skill.category,
            kind=skill.kind,
        )

    def same(name: str) -> str:
        """Writes a text as long as that of the skill; "" for "", which needs none."""
        text, new = getattr(skill, name), write(name)
        if count_tokens is None or not text:
            return new(len(text.split()), 0)

        def alone(text: str) -> int:
            return count_tokens(replaced(_WORDS[0], text, ""))

        return _fit(new, alone(text), count=alone)

    title, when = same("title"), same("when_to_apply")
    if count_tokens is None:
        return replaced(title, same("principle"), when)

    def whole(principle: str) -> int:
        return count_tokens(replaced(title, principle, when))

    return replaced(title, _fit(write("principle"), count_tokens(skill), count=whole), when)


def _fit(write: Callable[[int, int], str], wanted: int, *, count: Callable[[str], int]) -> str:
    """Finds a text of `wanted` tokens, or the nearest to it that is found.

    Args:
      write: number of words and of the attempt -> a text.
      wanted: the tokens to have.
      count: counts those of a text.
    """
    best, missed = write(1, 0), abs(count(write(1, 0)) - wanted)
    words = low = 1
    high = max(2, wanted)
    while low <= high:  # more words are more tokens, nearly always
        words = (low + high) // 2
        low, high = (words + 1, high) if count(write(words, 0)) < wanted else (low, words - 1)
    for attempt in range(_MORE_TRIES):
        if attempt >= _TRIES and missed <= 1:
            return best
        for near in (low, low - 1, low + 1, low - 2):
            if near < 1:
                continue
            text = write(near, attempt)
            if abs(count(text) - wanted) < missed:
                best, missed = text, abs(count(text) - wanted)
            if not missed:
                return best
    return best


def _sentences(seed: str, words: int, *, end: str) -> str:
    """Writes whole sentences that have so many words together; the last one ends with `end`."""
    if words < 1:
        return ""
    draws = _draws(seed)
    if words == 1:
        return _WORDS[next(draws) % len(_WORDS)] + end
    said: list[str] = []
    while words:
        fitting = [n for n in _BY_LENGTH if n == words or 2 < n <= words - 2]
        if words > _LONGEST:
            fitting = [n for n in fitting if n > 4]  # few sentences rather than many short ones
        choice = [s for n in fitting for s in _BY_LENGTH[n] if s not in said[-1:]]
        said.append(choice[next(draws) % len(choice)])
        words -= len(said[-1].split())
    return ". ".join(said) + end


def _draws(seed: str) -> Iterator[int]:
    """Draws numbers without end that depend on `seed` alone."""
    at = 0
    while True:
        yield int.from_bytes(hashlib.sha256(f"{seed}#{at}".encode()).digest()[:8], "big")
        at += 1
