"""Finds the nouns of product titles, which decide whether a product is of the right type.

The original asks spaCy's tagger. The default here, ``letters``, needs no model: it takes every
word for a noun that is not on a list of function words and common adjectives (the rule
``letters-v1``, frozen so that rewards stay comparable).
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable

from skillrl.errors import SkillRLError

Nouns = Callable[[str], tuple[str, ...]]
"""Title -> its nouns in lower case, in order, repetitions kept."""

_WORD = re.compile(r"[A-Za-z]+(?:[-'][A-Za-z]+)*")
_EXCLUDED = """
a adjustable an and as at black blue by casual classic cotton-rich cozy crunchy daily durable
easy elegant fast for free from gentle green high in is it it's its large lightweight long
low men's mini modern natural new non of on or organic per plus portable premium red rustic
short slim small soft that the this to up very vintage waterproof white wireless with without
women's your
"""
_NOT_NOUNS = frozenset(_EXCLUDED.split())
_MODEL = "en_core_web_sm"


@functools.lru_cache(maxsize=16384)
def letters(title: str) -> tuple[str, ...]:
    """Finds nouns by ``letters-v1``: words of two or more letters that are not excluded.

    Only ASCII letters make words; they may be joined by a hyphen or an apostrophe.
    """
    words = (word.lower() for word in _WORD.findall(title))
    return tuple(
        word for word in words if word not in _NOT_NOUNS and sum(map(str.isalpha, word)) > 1
    )


def tagger(name: str) -> Nouns:
    """Returns the noun finder called `name`: ``letters``, or ``spacy`` as the original code has it.

    Raises:
      SkillRLError: no such name, or spaCy or its model is not installed.
    """
    if name == "letters":
        return letters
    if name == "spacy":
        return _spacy()
    raise SkillRLError(f"env.webshop.nouns={name}: use letters or spacy")


@functools.cache
def _spacy() -> Nouns:
    try:
        import spacy

        model = spacy.load(_MODEL)
    except (ImportError, OSError) as error:
        raise SkillRLError(
            f"env.webshop.nouns=spacy: {error}. Install it with `pip install spacy` and "
            f"`python -m spacy download {_MODEL}`, or use env.webshop.nouns=letters."
        ) from error
    lock = threading.Lock()

    @functools.lru_cache(maxsize=16384)
    def nouns(title: str) -> tuple[str, ...]:
        with lock:
            tokens = model(title)
        return tuple(token.text.lower() for token in tokens if token.pos_ in ("NOUN", "PROPN"))

    return nouns
