"""Asks an embedder once for all processes of a run on several hosts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skillrl.parallel import processes
from skillrl.teacher.base import Embedder


class AskedOnce:
    """Embeds on the first process, and tells the others; all must ask for the same in turn.

    Attributes:
      asked: the embedder that is asked.
      model_id: its name.
    """

    def __init__(self, embedder: Embedder):
        self.asked, self.model_id = embedder, embedder.model_id

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 [n, d], as the embedder gave it."""
        texts = list(texts)
        return processes.on_first(
            f"vectors of {len(texts)} texts",
            lambda: self.asked.embed(texts),
            encode=lambda vectors: vectors.tolist(),  # float32 comes back from it bit for bit
            decode=lambda rows: np.asarray(rows, np.float32).reshape(len(texts), -1),
        )


def alone(embedder: Embedder) -> Embedder:
    """Returns the embedder that `embedder` asks, for work that the first process does alone.

    Vectors are kept in memory by embedder: what is asked there must not count as asked by all.
    """
    return embedder.asked if isinstance(embedder, AskedOnce) else embedder
