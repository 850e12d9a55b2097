"""Knows the two dialects of ``POST /retrieve``: what clients ask, and what servers answer.

``single`` (SkyRL-gym, verl-agent, SkillRL): {"query": "...", "topk": 3, "return_scores": true}
``batched`` (Search-R1): {"queries": ["..."], "topk": 3, "return_scores": true}

Both are answered by {"result": [[{"document": {"id", "contents"}, "score"}, ...], ...]}, one
inner list per query; without ``return_scores`` the documents stand there bare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skillrl.envs.search.documents import Document, DocumentRetriever, Hit, RetrievalError
from skillrl.errors import SkillRLError
from skillrl.io.json_text import is_real
from skillrl.io.text import short_repr

DEFAULT_TOP_K = 3
MAX_TOP_K = 100
MAX_QUERIES = 1024


def request(query: str, top_k: int, *, dialect: str) -> dict[str, Any]:
    """Returns the body that asks one query, with scores."""
    asked = {"queries": [query]} if dialect == "batched" else {"query": query}
    return {**asked, "topk": top_k, "return_scores": True}


def read_reply(reply: Any) -> list[Hit]:
    """Returns the hits of a reply to one query; bare documents have the score 0.

    Raises:
      RetrievalError: it is not of the form above.
    """
    try:
        (found,) = _listed(reply["result"])
        return [_hit(entry) for entry in _listed(found)]
    except (KeyError, TypeError, ValueError) as error:
        raise RetrievalError(
            "the /retrieve server's answer is not {'result': [[{'document': {'contents'}, "
            f"'score'}}, ...]]}} but {short_repr(reply, 120)} ({type(error).__name__}: {error})"
        ) from None


def answer(payload: Any, retriever: DocumentRetriever) -> dict[str, Any]:
    """Returns what a server answers to the JSON body `payload`, in whichever dialect it is.

    Raises:
      SkillRLError: the body is in neither; the message says what is wrong with it.
      RetrievalError: the retriever failed.
    """
    if not isinstance(payload, Mapping):
        raise SkillRLError(
            f"the body is {short_repr(payload, 120)}; send a JSON object with a query"
        )
    if ("query" in payload) == ("queries" in payload):
        raise SkillRLError("the body needs either 'query' (a text) or 'queries' (a list of texts)")
    queries = payload["queries"] if "queries" in payload else [payload["query"]]
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise SkillRLError("'query' is a text, and 'queries' a list of texts")
    if len(queries) > MAX_QUERIES:
        raise SkillRLError(f"{len(queries)} queries at once: send at most {MAX_QUERIES}")
    top_k = payload.get("topk")
    if top_k is None:
        top_k = DEFAULT_TOP_K
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= MAX_TOP_K:
        raise SkillRLError(
            f"'topk' is {short_repr(top_k, 120)}; it is a number from 1 to {MAX_TOP_K}"
        )
    scores = payload.get("return_scores", False)
    if not isinstance(scores, bool):
        raise SkillRLError(f"'return_scores' is {short_repr(scores, 120)}; it is true or false")
    found = [retriever.search(query, top_k) for query in queries]
    return {"result": [[_entry(hit, scores=scores) for hit in hits] for hits in found]}


def _entry(hit: Hit, *, scores: bool) -> dict[str, Any]:
    document = {"id": hit.document.id, "contents": hit.document.contents}
    return {"document": document, "score": hit.score} if scores else document


def _hit(entry: Any) -> Hit:
    document = entry.get("document", entry) if isinstance(entry, Mapping) else entry
    contents = document["contents"]
    if not isinstance(contents, str):
        raise TypeError(f"contents are {short_repr(contents, 120)}, not a text")
    score = entry.get("score")
    if score is not None and not is_real(score):
        raise TypeError(f"the score is {short_repr(score, 120)}, not a finite number")
    return Hit(Document(str(document.get("id", "")), contents), float(score or 0.0))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{short_repr(value, 120)} stands where a list belongs")
    return value
