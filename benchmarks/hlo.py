"""Kernels of a program that XLA compiled for a GPU, read off its text: bytes and operations.

A kernel is an instruction of a scheduled module that does work. Bytes are those of its operands
and results, as if each came from the device's memory (what is small may come from a cache): of an
array that it slices, the slice; of one that it updates in place, the update. Operations are those
of matrix products and of cuDNN's attention. What stands in a loop counts as often as the loop
turns; one whose turns are not known when it is compiled counts as one turn. What devices send
each other is a kind of its own, whose bytes are those that arrive.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re

WIDTHS = {"bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "s64": 8, "u64": 8, "f64": 8}
WIDTHS |= {"pred": 1, "s8": 1, "u8": 1}
FREE = frozenset(
    ("parameter", "get-tuple-element", "tuple", "constant", "bitcast", "after-all", "iota")
)
"""Instructions that are no kernel."""
MOVES = frozenset(
    (
        *("slice", "dynamic-slice", "dynamic-update-slice", "concatenate", "pad", "copy"),
        *("transpose", "broadcast", "convert", "reshape", "gather"),
    )
)
"""Instructions that compute nothing, but for a change of dtype on the way."""
SENT = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
"""Instructions that exchange something with other devices."""
ADDRESSES = frozenset(("compare", "select", "add", "subtract", "multiply"))
"""What may stand beside `MOVES` in a kernel that only moves, if it is of one number."""

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-<>]+) \(.*\{\s*$")
_LINE = re.compile(r"^\s+(ROOT )?%([\w.\-<>]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a module; `rest` is what follows the name of its operation."""

    root: bool
    name: str
    shape: str
    op: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """Names of what it reads."""
        return re.findall(r"%([\w.\-<>]+)", self.rest.partition(")")[0])

    @property
    def called(self) -> list[str]:
        """Computations that it runs."""
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
        if branches:
            return re.findall(r"%([\w.\-<>]+)", branches[1])
        return re.findall(r"(?:calls|body|to_apply)=%?([\w.\-<>]+)", self.rest)

    @property
    def turns(self) -> int:
        """Of a loop."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.rest)
        return int(found[1]) if found else 1


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


def dimensions(shape: str) -> list[list[int]]:
    """``f32[2,3]`` -> [[2, 3]]; of a tuple, those of each part."""
    return [[int(n) for n in dims.split(",") if n] for _, dims in _SHAPE.findall(shape)]


def size(shape: str) -> int:
    """Bytes."""
    return sum(
        WIDTHS.get(dtype, 0) * math.prod(dims)
        for (dtype, _), dims in zip(_SHAPE.findall(shape), dimensions(shape), strict=True)
    )


def kernels(text: str) -> list[Kernel]:
    """All kernels of a module."""
    computations, entry = _parse(text)
    found: list[Kernel] = []
    _walk(computations, entry, 1, found)
    return found


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] | None = None
    entry = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := _LINE.match(line)):
            current.append(Instruction(bool(found[1]), *found.groups()[1:]))
    return computations, entry


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
            read, written = _traffic(inner)
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


def _traffic(inner: list[Instruction]) -> tuple[int, int]:
    """Bytes that a fusion reads and writes."""
    by = {x.name: x for x in inner}
    users = collections.defaultdict(list)
    for x in inner:
        for operand in x.operands:
            users[operand].append(x)

    def read(name: str) -> int:
        whole, total = size(by[name].shape), 0
        for user in users[name]:
            if user.operands[0] == name and user.op in ("dynamic-slice", "slice", "gather"):
                total += size(user.shape)
            elif user.op == "bitcast":
                total += read(user.name)
            elif user.operands[0] != name or user.op not in ("dynamic-update-slice", "scatter"):
                return whole
        return min(total, whole)

    def written(x: Instruction) -> int:
        if x.op == "tuple":
            return sum(written(by[o]) for o in x.operands)
        if x.op == "bitcast":
            return written(by[x.operands[0]])
        if x.op in ("dynamic-update-slice", "scatter"):
            return size(by[x.operands[1 if x.op.startswith("dynamic") else -1]].shape)
        return size(x.shape)

    root = next(x for x in inner if x.root)
    return sum(read(x.name) for x in inner if x.op == "parameter"), written(root)


def _product(x: Instruction, inner: list[Instruction], shapes: dict[str, str]) -> float:
    """Operations of a matrix product: two for each output and number summed over."""
    if x.op != "dot":
        return 0.0
    known = {y.name: y.shape for y in inner} if len(inner) > 1 else shapes
    left = dimensions(known[x.operands[0]])[0]
    summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", x.rest)
    over = [left[int(axis)] for axis in summed[1].split(",")] if summed else []
    return 2.0 * math.prod(dimensions(x.shape)[0]) * math.prod(over)


def _attention(x: Instruction, shapes: dict[str, str]) -> float:
    """Operations of cuDNN's attention, scores that a mask hides included."""
    if x.op != "custom-call" or "cudnn$fmha" not in x.rest:
        return 0.0
    query, keys = (dimensions(shapes[o])[0] for o in x.operands[:2])
    tokens = keys[1]  # [rows, tokens, heads, width], whatever the layout
    products = 10 if "Backward" in x.rest else 4
    return products * math.prod(query) * float(tokens)
