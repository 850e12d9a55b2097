"""Embeds texts without a model and without a network, always in the same way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# Words that say nothing about the subject get a small weight, as inverse document
# frequency would give them.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be before by can do each else every for from go have if in into is "
        "it its must need next no not now of off on once one or out over "
        "so some than that the them then there thing things this to under until up "
        "use used when where which while with you your",
    )
)
_COMMON_WEIGHT = 0.25
_GRAM_WEIGHT = 0.7


class HashingEmbedder:
    """Embeds texts by hashed words and character 3- and 4-grams, signed, weighted, normalised.

    The feature hash is blake2b, so vectors are the same in every process. Two texts are
    similar as far as they share words or word stems (``clean``, ``cleaning``); there is no
    notion of synonyms. Similarities of related short texts are around 0.2 to 0.6, of
    unrelated ones around 0.
    """

    def __init__(self, dimensions: int = 1024) -> None:
        self.model_id = f"hashing-{dimensions}"
        self._dimensions = dimensions

    def __repr__(self) -> str:
        return f"HashingEmbedder({self._dimensions})"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 [n, d]; see `Embedder.embed`."""
        rows = np.zeros((len(texts), self._dimensions), np.float64)
        for row, text in zip(rows, texts, strict=True):
            counts: dict[str, int] = {}
            for word in re.findall(r"[a-z0-9]+", text.lower()):
                counts[word] = counts.get(word, 0) + 1
            for word, count in counts.items():
                for index, weight in _features(word, self._dimensions):
                    row[index] += weight * (1.0 + np.log(count))
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(norms > 0, norms, 1.0)).astype(np.float32)


@lru_cache(maxsize=65536)
def _features(word: str, dimensions: int) -> tuple[tuple[int, float], ...]:
    """Returns (index, signed weight) of a word and of its character n-grams."""
    weight = _COMMON_WEIGHT if word in _COMMON or word.isdigit() else 1.0
    found = [_slot(f"w:{word}", dimensions, weight)]
    edged = f"<{word}>"
    grams = [edged[i : i + n] for n in (3, 4) for i in range(len(edged) - n + 1)]
    for gram in grams:
        share = weight * _GRAM_WEIGHT / np.sqrt(len(grams))
        found.append(_slot(f"g:{gram}", dimensions, share))
    return tuple(found)


def _slot(feature: str, dimensions: int, weight: float) -> tuple[int, float]:
    digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
    return (digest >> 1) % dimensions, float(weight if digest & 1 else -weight)
