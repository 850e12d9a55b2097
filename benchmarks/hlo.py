"""Kernels of a program that XLA compiled for a GPU, read off its text: bytes and operations.

A kernel is an instruction of a scheduled module that does work. Bytes are those of its operands
and results, as if each came from the device's memory (what is small may come from a cache): of an
array that it slices, the slice; of one that it updates in place, the update. Operations are those
of matrix products and of cuDNN's attention. What stands in a loop counts as often as the loop
turns; one whose turns are not known when it is compiled counts as one turn. What devices send
each other is a kind of its own, whose bytes are those that arrive.
"""

from __future__ import annotations

import dataclasses
import math

from skillrl.planning.hlo import (
    FREE,
    SENT,
    Instruction,
    dimensions,
    fusion_traffic,
    parse,
    product_flops,
    size,
)

MOVES = frozenset(
    (
        *("slice", "dynamic-slice", "dynamic-update-slice", "concatenate", "pad", "copy"),
        *("transpose", "broadcast", "convert", "reshape", "gather"),
    )
)
"""Instructions that compute nothing, but for a change of dtype on the way."""
ADDRESSES = frozenset(("compare", "select", "add", "subtract", "multiply"))
"""What may stand beside `MOVES` in a kernel that only moves, if it is of one number."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One launch, `times` over.

    Attributes:
      kind: ``product``, ``attention``, ``move`` (computes nothing), ``sent`` or ``other``.
      times: how often.
      read: bytes, of one.
      written: bytes, of one.
      flops: of one.
    """

    kind: str
    times: int
    read: int
    written: int
    flops: float

    def seconds(self, bandwidth: float, flops: float) -> float:
        """All times together: bytes or operations, whichever takes longer; 0 if `sent`."""
        if self.kind == "sent":
            return 0.0
        return self.times * max((self.read + self.written) / bandwidth, self.flops / flops)


def kernels(text: str) -> list[Kernel]:
    """All kernels of a module."""
    computations, entry = parse(text)
    found: list[Kernel] = []
    _walk(computations, entry, 1, found)
    return found


def _walk(
    computations: dict[str, list[Instruction]], name: str, times: int, found: list[Kernel]
) -> None:
    shapes = {i.name: i.shape for i in computations[name]}
    for i in computations[name]:
        if i.op in FREE or i.op.endswith(("-done", "-update")):
            continue
        if i.op in ("while", "call", "conditional", "async-start"):
            for called in i.called:
                _walk(computations, called, times * i.turns, found)
            continue
        if i.op.startswith(SENT):
            # What starts has room for what it sends beside what it receives.
            given = sum(size(shapes.get(o, "")) for o in i.operands)
            both = i.op.endswith("-start") and not i.op.startswith("all-reduce")
            arrives = max(size(i.shape) - given, 0) if both else size(i.shape)
            found.append(Kernel("sent", times, 0, arrives, 0.0))
            continue
        inner = computations[i.called[0]] if i.op == "fusion" else [i]
        if i.op == "fusion":
            read, written = fusion_traffic(inner)
        elif i.op == "dynamic-update-slice":
            read = written = size(shapes[i.operands[1]])
        elif i.op in ("dynamic-slice", "slice"):
            read = written = size(i.shape)
        else:
            read, written = sum(size(shapes.get(o, "")) for o in i.operands), size(i.shape)
        flops = _attention(i, shapes) or sum(_product(x, inner, shapes) for x in inner)
        found.append(Kernel(_kind(i, inner), times, read, written, flops))


def _kind(i: Instruction, inner: list[Instruction]) -> str:
    if i.op == "custom-call":
        if "__cublas" in i.rest:
            raise ValueError(f"{i.name}: operations of cuBLAS's calls are not counted")
        return "attention" if "cudnn$fmha" in i.rest else "other"
    if any(x.op == "dot" for x in inner):
        return "product"
    computing = [x for x in inner if x.op not in FREE | MOVES]
    scalar = all(x.op in ADDRESSES and math.prod(dimensions(x.shape)[0]) == 1 for x in computing)
    return "move" if scalar else "other"


def _product(x: Instruction, inner: list[Instruction], shapes: dict[str, str]) -> float:
    """Operations of a matrix product: two for each output and number summed over."""
    if x.op != "dot":
        return 0.0
    known = {y.name: y.shape for y in inner} if len(inner) > 1 else shapes
    return product_flops(x, known)


def _attention(x: Instruction, shapes: dict[str, str]) -> float:
    """Operations of cuDNN's attention, scores that a mask hides included."""
    if x.op != "custom-call" or "cudnn$fmha" not in x.rest:
        return 0.0
    query, keys = (dimensions(shapes[o])[0] for o in x.operands[:2])
    tokens = keys[1]  # [rows, tokens, heads, width], whatever the layout
    products = 10 if "Backward" in x.rest else 4
    return products * math.prod(query) * float(tokens)
