"""Checks embeddings as servers send them, before anything is compared with them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from skillrl.io.json_text import is_real

_BATCH = re.compile(
    r"batch|(too many|number of|at most \d+) (inputs?|texts?|items?)", re.IGNORECASE
)


def names_batch(status: int | None, text: str) -> bool:
    """Returns whether a refusal with this status and text is about too many texts at once."""
    return status in (400, 422) and bool(_BATCH.search(text))


def read_vectors(answer: Any, texts: Sequence[str]) -> list[list[float]]:
    """Returns the vectors in the body of ``/embeddings``, in the order of `texts`.

    Rows are put in order by their ``index``; where no row has one, they are in order. Numbers
    may come as base64 of little-endian float32, as OpenAI's own client reads them.

    Raises:
      ValueError: not one finite vector per text, all of one length, none zero but for a text
        without content; the message says what is wrong.
    """
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it has no list 'data' of embeddings")
    if len(rows) != len(texts):
        raise ValueError(f"it has {len(rows)} embeddings for {len(texts)} texts")
    places = [row.get("index") for row in rows]
    if any(place is not None for place in places):
        if not all(type(place) is int for place in places) or sorted(places) != list(
            range(len(rows))
        ):
            raise ValueError(f"the indices of its embeddings are not 0 to {len(rows) - 1}")
        rows = sorted(rows, key=lambda row: row["index"])
    vectors = [_numbers(row.get("embedding")) for row in rows]
    if len({len(vector) for vector in vectors}) > 1:
        raise ValueError("its embeddings differ in length")
    for text, vector in zip(texts, vectors, strict=True):
        if text.strip() and not any(vector):
            raise ValueError("an embedding is zero, and compares with nothing")
    return vectors


def stored_vector(value: Any) -> list[float] | None:
    """Returns a vector that was kept on disk; None where it is something else."""
    good = isinstance(value, list) and value and all(map(is_real, value)) and any(value)
    return value if good else None


def unit_rows(vectors: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns float32 [n, d] with rows of length 1; a zero vector stays zero."""
    rows = np.asarray(vectors, np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    huge = largest > 1e100  # whose squares would overflow
    rows = np.where(huge, rows / np.where(huge, largest, 1.0), rows)
    norms = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return (rows / norms).astype(np.float32)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, str):
        try:
            value = np.frombuffer(base64.b64decode(value, validate=True), "<f4").tolist()
        except (binascii.Error, ValueError):
            raise ValueError("an embedding is a text, and not base64 of float32") from None
    if isinstance(value, list) and value and isinstance(value[0], list):
        raise ValueError("an embedding is a list of lists: the server does not pool its tokens")
    if not isinstance(value, list) or not value or not all(map(is_real, value)):
        raise ValueError("an embedding is not a list of finite numbers")
    return [float(number) for number in value]
