"""Reads the text of a program that XLA compiled: its operations, bytes and collectives.

The text is that of one device's program, after the compiler has split it. What stands in a loop
counts as often as the loop turns; a loop whose turns are not known when it is compiled counts as
one turn.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

WIDTHS = {"bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "s64": 8, "u64": 8, "f64": 8}
WIDTHS |= {"pred": 1, "s8": 1, "u8": 1}
"""Bytes of a number by its type."""
FREE = frozenset(
    ("parameter", "get-tuple-element", "tuple", "constant", "bitcast", "after-all", "iota")
)
"""Instructions that do nothing when the program runs."""
SENT = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
"""Instructions that exchange something with other devices."""

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-<>]+) \(.*\{\s*$")
_LINE = re.compile(r"^\s+(ROOT )?%([\w.\-<>]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")

Computations = dict[str, list["Instruction"]]


@dataclasses.dataclass(frozen=True)
class Instruction:
    """Holds a line of a module.

    Attributes:
      root: whether it is the result of its computation.
      name: its own.
      shape: of its result, as written.
      op: name of its operation.
      rest: what follows the name of its operation.
    """

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
        """Turns of a loop; 1 where the compiler does not know them."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.rest)
        return int(found[1]) if found else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Holds what one device does in one run of a program.

    Attributes:
      flops: operations of matrix products, two per multiply-add.
      bytes: read and written by all instructions, as if nothing stayed in a cache.
      collectives: how often something is exchanged with other devices, by kind.
      sent: bytes that are exchanged, by kind: the whole result of a gather, the whole operand
        of a reduction.
    """

    flops: float
    bytes: float
    collectives: Mapping[str, int]
    sent: Mapping[str, float]


def dimensions(shape: str) -> list[list[int]]:
    """Reads lengths of axes: ``f32[2,3]`` gives [[2, 3]]; a tuple those of each part."""
    return [[int(n) for n in dims.split(",") if n] for _, dims in _SHAPE.findall(shape)]


def size(shape: str, widths: Mapping[str, int] = WIDTHS) -> int:
    """Counts the bytes of a shape.

    Examples:
      >>> size("(f32[2,3]{1,0}, bf16[4])")
      32
    """
    return sum(
        widths.get(dtype, 0) * math.prod(dims)
        for (dtype, _), dims in zip(_SHAPE.findall(shape), dimensions(shape), strict=True)
    )


def parse(text: str) -> tuple[Computations, str]:
    """Reads a module: its computations by name, and the name of the one that it begins with."""
    computations: Computations = {}
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


def count(text: str, widths: Mapping[str, int] = WIDTHS) -> Cost:
    """Counts what one device does in a program.

    Args:
      text: of the compiled module.
      widths: bytes of a number by its type.
    """
    computations, entry = parse(text)
    flops = total = 0.0
    collectives: collections.Counter[str] = collections.Counter()
    sent: collections.Counter[str] = collections.Counter()
    for i, times, shapes, fused in _walk(computations, entry, 1, False):
        if i.op == "dot":
            flops += times * product_flops(i, shapes)
        kind = next((kind for kind in SENT if i.op.startswith(kind)), None)
        if kind and not i.op.endswith(("-done", "-update")):
            collectives[kind] += times
            sent[kind] += times * _exchanged(i, shapes, widths)
        elif not fused:
            total += times * _traffic(i, computations, shapes, widths)
    return Cost(flops=flops, bytes=total, collectives=dict(collectives), sent=dict(sent))


def product_flops(i: Instruction, shapes: Mapping[str, str]) -> float:
    """Counts operations of a matrix product: two for each output and number summed over."""
    left = dimensions(shapes[i.operands[0]])[0]
    summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", i.rest)
    over = [left[int(axis)] for axis in summed[1].split(",") if axis] if summed else []
    return 2.0 * math.prod(dimensions(i.shape)[0]) * math.prod(over)


def fusion_traffic(inner: list[Instruction], widths: Mapping[str, int] = WIDTHS) -> tuple[int, int]:
    """Counts the bytes that a fusion reads and writes.

    Of an array that it slices it reads the slice; of one that it updates in place it writes the
    update.
    """
    by = {x.name: x for x in inner}
    users = collections.defaultdict(list)
    for x in inner:
        for operand in x.operands:
            users[operand].append(x)

    def read(name: str) -> int:
        whole, total = size(by[name].shape, widths), 0
        for user in users[name]:
            if user.operands[0] == name and user.op in ("dynamic-slice", "slice", "gather"):
                total += size(user.shape, widths)
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
            update = by[x.operands[1 if x.op.startswith("dynamic") else -1]]
            return size(update.shape, widths)
        return size(x.shape, widths)

    root = next(x for x in inner if x.root)
    return sum(read(x.name) for x in inner if x.op == "parameter"), written(root)


def _walk(
    computations: Computations, name: str, times: int, fused: bool
) -> Iterator[tuple[Instruction, int, Mapping[str, str], bool]]:
    """Visits every instruction that runs: how often, beside which shapes, and if within a fusion.

    Args:
      computations: of the module.
      name: of the one to visit.
      times: how often that runs.
      fused: whether it is the inside of a fusion.
    """
    inside = computations.get(name, [])
    shapes = {i.name: i.shape for i in inside}
    for i in inside:
        if i.op in FREE:
            continue
        yield i, times, shapes, fused
        if i.op in ("while", "call", "conditional", "async-start", "fusion"):
            for called in i.called:
                yield from _walk(computations, called, times * i.turns, fused or i.op == "fusion")


def _exchanged(i: Instruction, shapes: Mapping[str, str], widths: Mapping[str, int]) -> int:
    """Counts the bytes of a collective: its operand or its result, whichever is larger."""
    given = sum(size(shapes.get(o, ""), widths) for o in i.operands)
    result = size(i.shape, widths)
    if i.op.endswith("-start") and not i.op.startswith("all-reduce"):
        result -= given  # what starts has room for what it sends beside what it receives
    return max(given, result)


def _traffic(
    i: Instruction,
    computations: Computations,
    shapes: Mapping[str, str],
    widths: Mapping[str, int],
) -> int:
    """Counts the bytes that an instruction outside of fusions reads and writes.

    Args:
      i: the instruction.
      computations: of the module.
      shapes: name -> shape of what stands beside it.
      widths: bytes of a number by its type.
    """
    if i.op in ("while", "call", "conditional") or i.op.endswith(("-start", "-done", "-update")):
        return 0
    if i.op == "fusion" and i.called and i.called[0] in computations:
        return sum(fusion_traffic(computations[i.called[0]], widths))
    if i.op == "dynamic-update-slice":
        return 2 * size(shapes.get(i.operands[1], ""), widths)
    if i.op in ("dynamic-slice", "slice"):
        return 2 * size(i.shape, widths)
    return sum(size(shapes.get(o, ""), widths) for o in i.operands) + size(i.shape, widths)
