"""Guesses memory and time of a candidate from sizes alone, to choose what is worth compiling."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from skillrl.config.settings import Config
from skillrl.models.config import TransformerConfig
from skillrl.models.flops import sizes_of
from skillrl.parallel.buckets import Buckets
from skillrl.parallel.rules import num_row_devices
from skillrl.planning.candidates import Candidate
from skillrl.planning.held import counted_mesh, find_work, held
from skillrl.planning.hlo import Cost
from skillrl.planning.iteration import find_load, program_seconds
from skillrl.planning.kinds import USABLE, DeviceKind
from skillrl.planning.measure import SCORES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guess:
    """Holds what is guessed of a candidate.

    Attributes:
      candidate: the settings.
      bytes: of one device at the largest moment.
      seconds: of an iteration.
      fits: whether it fits.
    """

    candidate: Candidate
    bytes: float
    seconds: float
    fits: bool


def guess(
    candidate: Candidate,
    config: Config,
    *,
    sizes: TransformerConfig,
    kind: DeviceKind,
    buckets: Buckets,
) -> Guess:
    """Guesses memory and time: what is held is exact, activations are written out.

    Args:
      candidate: the settings to try.
      config: all other settings.
      sizes: of the policy.
      kind: the device.
      buckets: of the run.
    """
    config = candidate.applied(config)
    mesh = counted_mesh(candidate.data, candidate.fsdp, candidate.tensor)
    work = find_work(config, mesh, buckets=buckets)
    found = held(config, sizes, mesh=mesh, work=work)
    (rows, members), split = work.micro, candidate.tensor
    tokens = -(-rows // num_row_devices(mesh)) * members * work.row
    width = 2 if config.model.dtype == "bfloat16" else 4
    d, ffn = sizes.hidden_size, sizes.intermediate_size / split
    heads = sizes.num_heads / split
    query, kv = heads * sizes.head_dim, sizes.num_kv_heads * sizes.head_dim / split
    keys = work.prefix + work.row
    one = SCORES[True] * heads * keys * 4 if config.model.attention == "xla" else 8 * query * width
    kept = float(d)
    if candidate.remat != "full":
        kept += 2 * d + query + 2 * kv + 2 * ffn
    kept_bytes = kept * width
    if candidate.remat == "none":
        kept_bytes += (2 * d + query + kv + 2 * ffn) * width
        kept_bytes += heads * keys * (4 + width) if config.model.attention == "xla" else 0
    layer = sizes_of(sizes).parameters / max(1, sizes.num_layers) / split * width
    vocab = sizes.vocab_size / split
    chunk = (config.train_batch.logprob_chunk or tokens) / num_row_devices(mesh)
    activations = tokens * (sizes.num_layers * kept_bytes + one + 6 * ffn * width)
    activations += 2 * layer + vocab * (3 * chunk * 4 + d * (width + 4))

    load = find_load(config, work)
    per_token = sizes_of(sizes).per_token / split
    passes = 4 if candidate.remat == "full" else 3
    gathered = sizes_of(sizes).parameters / split * width if candidate.fsdp > 1 else 0.0
    reduced = sizes_of(sizes).parameters / split * width / candidate.fsdp
    micro = Cost(
        flops=passes * tokens * (per_token + sizes_of(sizes).attention(1, keys / 2) / split),
        bytes=0.0,
        collectives={"all-gather": 8 * sizes.num_layers},
        sent={
            "all-gather": (passes - 2) * gathered + gathered,
            "all-reduce": (reduced if candidate.data > 1 else 0.0)
            + (4 * passes / 3 * tokens * d * width * sizes.num_layers if split > 1 else 0.0),
        },
    )
    slots = work.layout.slots / num_row_devices(mesh) if num_row_devices(mesh) > 1 else 0
    decode = Cost(
        flops=work.layout.slots / candidate.data * per_token / candidate.fsdp,
        bytes=0.0,
        collectives={"all-reduce": 4 * sizes.num_layers if candidate.devices > 1 else 0},
        sent={"all-reduce": slots * d * width * sizes.num_layers},
    )
    read = found["policy laid out for sampling"] + found["KV cache"]
    seconds = load.runs["micro-batch"] * program_seconds(micro, kind, devices=candidate.devices)
    seconds += load.runs["decode step"] * program_seconds(
        decode, kind, devices=candidate.devices, read=read
    )
    total = sum(found.values()) + activations
    return Guess(
        candidate=candidate,
        bytes=total,
        seconds=seconds,
        fits=total <= USABLE * kind.memory,
    )


def ranked(guesses: Sequence[Guess]) -> list[Guess]:
    """Sorts guesses, best first: those that fit by time, then the others by memory."""
    return sorted(
        guesses, key=lambda g: (not g.fits, g.seconds if g.fits else g.bytes, str(g.candidate))
    )
