"""Writes policies for a server to read, and what is needed to tell that it has them.

An export is a directory named by its version and the hash of its content, so a name never means
two policies. It is written beside its place and renamed: whoever lists the directory sees whole
exports alone, and what a kill left is removed by the next session.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
import shutil
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from skillrl.io import checksums
from skillrl.io.atomic import explained, replace_directory, temporary_name, writing
from skillrl.models import lora, parameters, weights
from skillrl.models.config import TransformerConfig
from skillrl.models.logprobs import unembed
from skillrl.models.masks import causal_mask
from skillrl.models.policy import Model, on_own_devices
from skillrl.models.transformer import Params, forward
from skillrl.parallel import processes
from skillrl.parallel.local import localise

PROBE = (
    "You are in the middle of a room. Looking quickly around you, you see a desk 1, a drawer 2, "
    "and a safe 3. Your task is to: put a clean mug in the safe. What do you do next?"
)
"""A text whose continuations show which policy a server has."""

PLACES = 8
"""Places in it at which they are asked for."""


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """Holds what our policy says after some beginnings of a known prompt.

    Attributes:
      prompts: token ids of the beginnings.
      logprobs: float32 [N, V], of every token after each of the N beginnings.
    """

    prompts: tuple[tuple[int, ...], ...]
    logprobs: NDArray[np.float32]

    def at(self, index: int, token: int, *, temperature: float = 1.0) -> float:
        """Returns our log-probability of a token after a beginning, in float64.

        Args:
          index: which beginning.
          token: its id.
          temperature: above 0.
        """
        scores = self.logprobs[index].astype(np.float64) / temperature
        return float(scores[token] - scores.max() - np.log(np.exp(scores - scores.max()).sum()))


@dataclasses.dataclass(frozen=True, eq=False)
class Export:
    """Describes a policy on disk.

    Attributes:
      label: ``VERSION-HASH``; names the directory, and the weights or the adapter at the server.
      version: of the policy.
      path: the directory.
      probe: tells whether a server has it.
      base: where this is an adapter, the policy that it adapts; else None.
    """

    label: str
    version: int
    path: Path
    probe: Probe
    base: Export | None = None


@dataclasses.dataclass(frozen=True)
class Served:
    """Says which policy the server has.

    Attributes:
      label: of the export.
      model: what requests call it: the server's own model, or an adapter.
      weights: the label of its weights, if it says which sampled a response; else None.
      gap: mean difference to our log-probabilities on the known prompt, in nats.
      seconds: how long it took to load.
    """

    label: str
    model: str
    weights: str | None
    gap: float
    seconds: float


_LABEL = re.compile(r"\d+-[0-9a-f]{12}")


class _Written:
    """Remembers of which arrays an export was made, without keeping them."""

    def __init__(self, params: Params, export: Export):
        self.export = export
        self._arrays = [weakref.ref(x) for x in jax.tree.leaves(params)]

    def same(self, params: Params) -> bool:
        """Whether these are the same arrays."""
        leaves = jax.tree.leaves(params)
        return len(leaves) == len(self._arrays) and all(
            old() is new for old, new in zip(self._arrays, leaves, strict=True)
        )


class Exports:
    """Writes exports into a directory of its own.

    Attributes:
      directory: where they are.
      temporary: whether it goes at the end.
    """

    def __init__(
        self,
        directory: Path,
        model: Model,
        *,
        dtype: str,
        adapters: bool,
        temporary: bool = False,
    ):
        """Removes what a killed session has left half-written there.

        Args:
          directory: for these exports alone; a server reads them by the same path.
          model: gives sizes and tokenizer.
          dtype: of the written weights.
          adapters: whether adapters are written as such, and not merged.
          temporary: the directory is another's: a new one in it is used, and removed at the end.
        """
        self.directory, self.temporary = Path(os.path.abspath(directory)), temporary
        if temporary:
            self.directory /= processes.on_first("place of exports", temporary_name)
        self._end = weakref.finalize(self, _remove, self.directory if temporary else None)
        self._model, self._dtype, self._adapters = model, dtype, adapters
        self._own = on_own_devices(model)
        self._base: _Written | None = None
        self._last: _Written | None = None
        self._new: set[str] = set()  # labels that nobody has asked to keep yet
        self._lock = threading.Lock()
        if not temporary and processes.is_first() and self.directory.is_dir():
            left = [path for name in (".*.tmp", "unnamed-*") for path in self.directory.glob(name)]
            for path in left:
                shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Removes the directory if it is temporary; may be called twice."""
        self._end()

    def write(self, params: Params, version: int) -> Export:
        """Writes a policy; all processes of a run take part, and the first one writes.

        Args:
          params: of the whole policy, with or without an adapter's leaves (`models.lora`).
          version: of the policy.

        Raises:
          SkillRLError: it is not finite, or the directory cannot be written.
        """
        flat = parameters.flatten(params)
        leaves = {path: x for path, x in flat.items() if path[-1] in (lora.A, lora.B)}
        if not leaves:
            if self._last is None or not self._last.same(params):
                self._last = _Written(params, self._write_weights(params, version))
            return dataclasses.replace(self._last.export, version=version)
        plain = parameters.unflatten({p: x for p, x in flat.items() if p not in leaves})
        adapter, shape = parameters.unflatten(leaves), _shape(leaves)
        if not self._adapters:
            merged = lora.merge(adapter, plain, shape)
            return self._write_weights(merged, version)
        if self._base is None or not self._base.same(plain):
            self._base = _Written(plain, self._write_weights(plain, version))
        place = self.directory / f"unnamed-{version}"
        with writing(place):
            lora.save(place, adapter, config=self._model.config, lora=shape, base="policy")
        return self._named(place, params, version, base=self._base.export)

    def keep(self, exports: Iterable[Export]) -> None:
        """Removes all exports of ours but these and what they are based on.

        What another thread has just written stays until it was once among those to keep.
        """
        if not processes.is_first() or not self.directory.is_dir():
            return
        kept = {name for e in exports for name in (e.label, e.base.label if e.base else "")}
        with self._lock:
            self._new, new = self._new - kept, self._new
            kept |= new
            kept |= {held.export.label for held in (self._base, self._last) if held is not None}
            for path in self.directory.iterdir():
                ours = _LABEL.fullmatch(path.name)
                if ours and path.name not in kept and (path / checksums.SUMS).is_file():
                    shutil.rmtree(path, ignore_errors=True)

    def _write_weights(self, params: Params, version: int) -> Export:
        place = self.directory / f"unnamed-{version}"
        model = self._model
        with writing(place):
            weights.save(
                place, params, model.config, tokenizer_dir=model.directory, dtype=self._dtype
            )
        return self._named(place, params, version)

    def _named(
        self, place: Path, params: Params, version: int, *, base: Export | None = None
    ) -> Export:
        def rename() -> str:
            sums = (place / checksums.SUMS).read_bytes()
            label = f"{version}-{hashlib.sha256(sums).hexdigest()[:12]}"
            with self._lock:
                self._new.add(label)
            with explained(self.directory):
                replace_directory(place, self.directory / label)
            return label

        label = processes.on_first("name of an export", rename)
        probe = make_probe(self._own, localise(params))
        return Export(label, version, self.directory / label, probe, base)


def _remove(directory: Path | None) -> None:
    if directory is not None and processes.is_first():
        shutil.rmtree(directory, ignore_errors=True)


def make_probe(model: Model, params: Params) -> Probe:
    """Computes what a policy says after beginnings of the known prompt.

    Args:
      model: gives sizes, tokenizer and devices.
      params: parameters of the whole policy, on this process's own devices.
    """
    ids = model.tokenizer.encode(PROBE)
    lengths = sorted({max(1, (place + 1) * len(ids) // PLACES) for place in range(PLACES)})
    at = np.array(lengths, np.int32) - 1
    found = _next_tokens(params, np.array(ids, np.int32), at, config=model.config)
    return Probe(tuple(tuple(ids[:length]) for length in lengths), np.asarray(found))


@functools.partial(jax.jit, static_argnames="config")
def _next_tokens(
    params: Params, ids: jax.Array, at: jax.Array, *, config: TransformerConfig
) -> jax.Array:
    """Computes log-probabilities of all tokens after some tokens of a prompt.

    Args:
      params: of the policy.
      ids: int32 [T].
      at: int32 [N], places in it.
      config: sizes.

    Returns:
      float32 [N, V].
    """
    width = ids.shape[0]
    hidden, _ = forward(
        params,
        ids[None, None],
        jnp.arange(width)[None, None],
        config=config,
        mask=causal_mask(jnp.full((1, 1), width, jnp.int32), width),
        keep=at[None, None],
    )
    return jax.nn.log_softmax(unembed(params, hidden)[0, 0], axis=-1)


def _shape(leaves: dict[parameters.Path, jax.Array]) -> lora.Lora:
    """Reads the shape of an adapter as it is joined to a policy, where its scale is in B."""
    targets = tuple(
        name for name, at in lora.TARGETS.items() if (parameters.LAYERS, *at, lora.A) in leaves
    )
    rank = next(x.shape[-1] for path, x in leaves.items() if path[-1] == lora.A)
    return lora.Lora(rank, float(rank), targets)
