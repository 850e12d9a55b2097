"""Words that mean nothing, so that a policy in practice learns to pass over any text about nothing.

They are made of syllables and a few little words: nothing that a control says is among them, and
their tokens are those of any word that the tokenizer does not know.
"""

from __future__ import annotations

import random

_ONSETS = (*"bcdfghjklmnprstvw", "st", "tr", "br", "pl", "th", "sh", "ch", "cl", "gr")
_VOWELS = (*"aeiouaeio", "ea", "ou", "ai")
_CODAS = ("", "", "n", "r", "s", "t", "l", "d", "m", "nd", "st", "ng", "w", "ll", "ck")
_LITTLE = ("the", "a", "in", "on", "of", "and", "was", "for", "it", "is", "to", "at", "so")


def _word(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(_LITTLE)
    parts = range(rng.choice((1, 1, 2)))
    return "".join(rng.choice(sound) for _ in parts for sound in (_ONSETS, _VOWELS, _CODAS))


def _sentence(rng: random.Random, words: int) -> str:
    text = " ".join(_word(rng) for _ in range(words))
    return text[:1].upper() + text[1:]


def nonsense(rng: random.Random) -> tuple[str, str, str]:
    """Writes a title, a rule of one or two sentences, and a situation."""
    sentences = rng.choice((1, 1, 2))
    rule = ". ".join(_sentence(rng, rng.randint(2, 4)) for _ in range(sentences)) + "."
    when = _sentence(rng, rng.randint(1, 2)).lower()
    return _sentence(rng, rng.randint(1, 2)), rule, when
