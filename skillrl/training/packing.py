"""Which row stands where: rows sorted into buckets, grids of a few sizes filled with them.

A grid is what one compiled call works on: lines of `members` cells, every cell padded to
the grid's width, all rows of a line continuing the same prefix. How wide a row has to be,
and how many lines a grid of that width has, comes from the config and the row's own
length; only how many grids there are depends on the other rows.

A width has two sizes: a full grid, as many lines as the token budget holds, and a quarter
of it for what is left over. So each width compiles twice at most, and less than a quarter
of a grid stays free. Widths are filled from the widest down, and what stays free takes
rows of narrower ones: there they cost nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from skillrl.errors import SkillRLError

PART = 4
"""The smaller size of a grid is this part of the full one."""


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Compiled shapes of training.

    Attributes:
      tokens: what a micro-batch computes at most, padding included; a line of one row per
        device is always allowed.
      members: M, rows of a line, which share a prefix; fewer where they would not fit.
      prefix_buckets: padded lengths of prefixes, rising.
      row_buckets: padded lengths of rows (suffix and response), rising.
      response_buckets: padded counts of response tokens that are scored, rising.
      devices: among which the lines are split; a grid has a multiple of it.
    """

    tokens: int
    members: int
    prefix_buckets: tuple[int, ...]
    row_buckets: tuple[int, ...]
    response_buckets: tuple[int, ...]
    devices: int = 1

    def grid(self, width: int, members: int) -> tuple[int, int, int]:
        """Lines of a full grid of that width and of the smaller one, and cells of a line."""
        room = self.tokens // (width * self.devices)
        members = min(members, max(1, room))
        lines = max(1, room // members)
        return lines * self.devices, max(1, lines // PART) * self.devices, members


@dataclasses.dataclass(frozen=True)
class Grid:
    """Rows that are computed together.

    Attributes:
      width: T, padded length of a row.
      size: B, lines.
      members: M, cells of a line.
      lines: those with rows, at most `size`: a prefix, and the indices of at most M rows.
    """

    width: int
    size: int
    members: int
    lines: list[tuple[int, list[int]]]

    @property
    def cells(self) -> int:
        """Tokens that it computes."""
        return self.size * self.members * self.width


def pack(
    rows: Sequence[tuple[int, int]], buckets: Sequence[int], shapes: Shapes, *, members: int
) -> list[Grid]:
    """Puts every row into one cell of a grid that is at least as wide as the row's bucket.

    Args:
      rows: the prefix and the length of each.
      buckets: widths, rising.
      shapes: budget and devices.
      members: rows of a line, at most.

    Returns:
      Grids, widest first. Rows of the same bucket and prefix keep their order.

    Raises:
      SkillRLError: a row is longer than the largest bucket.
    """
    by_width: dict[int, dict[int, list[int]]] = {}
    for i, (prefix, length) in enumerate(rows):
        width = next((bucket for bucket in buckets if length <= bucket), None)
        if width is None:
            raise SkillRLError(
                f"a row of {length} tokens does not fit the largest bucket of {buckets[-1]}: "
                "raise rl.max_prompt_length or rl.max_response_length, or the last of "
                "rollout.suffix_buckets and train_batch.response_buckets if you set them"
            )
        by_width.setdefault(width, {}).setdefault(prefix, []).append(i)
    grids: list[Grid] = []
    for width in sorted(by_width, reverse=True):
        waiting = by_width[width]
        for grid in grids:
            _fill(grid, waiting)
        full, part, cells = shapes.grid(width, members)
        lines = sum(-(-len(rest) // cells) for rest in waiting.values())
        for size in _cover(lines, full, part):
            grids.append(Grid(width, size, cells, []))
            _fill(grids[-1], waiting)
    return grids


def _cover(lines: int, full: int, part: int) -> list[int]:
    """Sizes of the grids that `lines` need."""
    whole, rest = divmod(lines, full)
    parts = -(-rest // part)
    return [full] * (whole + 1) if parts * part >= full else [full] * whole + [part] * parts


def _fill(grid: Grid, waiting: dict[int, list[int]]) -> None:
    """Moves rows from `waiting`, by prefix, to where the grid has room."""
    for prefix, line in grid.lines:
        if rest := waiting.get(prefix):
            room = grid.members - len(line)
            line += rest[:room]
            del rest[:room]
    for prefix, rest in waiting.items():
        while rest and len(grid.lines) < grid.size:
            grid.lines.append((prefix, rest[: grid.members]))
            del rest[: grid.members]
