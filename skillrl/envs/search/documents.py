"""Defines documents, what finds them, and how an agent sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

NOTHING_FOUND = "Nothing found."


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Holds a passage. `contents` is its title in quotes, a line break, and its text."""

    id: str
    contents: str


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """Holds a document that was found; a higher `score` is better."""

    document: Document
    score: float = 0.0


class DocumentRetriever(Protocol):
    """Finds documents. One handle may be used from several threads."""

    def search(self, query: str, top_k: int) -> list[Hit]:
        """Returns at most `top_k` documents, the best first.

        Raises:
          RetrievalError: this search failed (others may not).
          SkillRLError: the retriever is set up wrongly.
        """


class RetrievalError(Exception):
    """Says that a search found no answer; it ends the episode that asked, and no other."""


def render_hits(hits: Sequence[Hit]) -> str:
    """Returns what stands in the information block: ``Doc 1(Title: "T") text``, a line each.

    Source: Search-R1, ``search_r1/llm_agent/generation.py``, ``_passages2string``: the first
    line of the contents is the title.
    """
    lines = []
    for number, hit in enumerate(hits, start=1):
        title, _, text = hit.document.contents.partition("\n")
        lines.append(f"Doc {number}(Title: {title}) {text}".strip())
    return "\n".join(lines) or NOTHING_FOUND


def information(hits: Sequence[Hit]) -> str:
    """Returns the observation that answers a search."""
    return f"<information>{render_hits(hits)}</information>"
