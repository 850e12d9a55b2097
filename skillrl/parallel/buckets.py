"""Chooses buckets: the padded lengths for which programs are compiled.

A program is compiled once per shape, so a length is padded to the smallest bucket that holds it.
Which buckets there are follows from the settings alone, never from the lengths that happen to
occur; so runs compile the same programs, and the same request gives the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from skillrl.errors import SkillRLError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Holds all buckets of a run, in tokens; each tuple rises.

    Attributes:
      prefix: lengths of the shared part of a prompt.
      suffix: lengths of a step's own part, as prefill and training read it.
      cache: room for a suffix in a slot of the decode state.
      response: counts of response tokens that training scores.
      row: lengths of a suffix and its response together, as training lays them out.
      prefix_limit: the most tokens that a prefix may have and leave one for the suffix.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    cache: tuple[int, ...]
    response: tuple[int, ...]
    row: tuple[int, ...]
    prefix_limit: int

    @property
    def suffix_limit(self) -> int:
        """Gives the most tokens that a suffix may have."""
        return self.cache[-1]

    @classmethod
    def from_limits(
        cls,
        *,
        max_prompt_length: int,
        max_response_length: int,
        growth: float,
        prefix: Sequence[int] = (),
        suffix: Sequence[int] = (),
        cache: Sequence[int] = (),
        response: Sequence[int] = (),
        row: Sequence[int] = (),
    ) -> Buckets:
        """Takes the buckets that are given, and makes the others from the limits on lengths.

        Args:
          max_prompt_length: tokens of the longest prompt, ``rl.max_prompt_length``.
          max_response_length: tokens of the longest response, ``rl.max_response_length``.
          growth: see `make_buckets`; ``rollout.bucket_growth``.
          prefix: ``rollout.prefix_buckets``; empty makes them.
          suffix: ``rollout.suffix_buckets``; empty makes them.
          cache: ``rollout.cache_buckets``; empty takes suffix buckets that are twice apart.
          response: ``train_batch.response_buckets``; empty makes them.
          row: ``train_batch.row_buckets``; empty makes them.

        Returns:
          Buckets for every prompt and response within the limits: the longest response, and the
          longest suffix with it, have one also where the given ones end below them.
        """
        prompts = make_buckets(max_prompt_length, growth=growth)
        prefix, suffix = tuple(prefix) or prompts, tuple(suffix) or prompts
        # Far apart: what pads a response is never computed but for its scores.
        response = tuple(response) or make_buckets(max_response_length, growth=2.0)
        if response[-1] < max_response_length:  # the limit was raised after they were set
            response = (*response, max_response_length)
        longest = suffix[-1] + response[-1]
        row = tuple(row) or make_buckets(longest, growth=growth)
        return cls(
            prefix=prefix,
            suffix=suffix,
            cache=tuple(cache) or thin_buckets(suffix),
            response=response,
            row=(*(width for width in row if width < longest), longest),
            prefix_limit=min(prefix[-1], max_prompt_length - 1),
        )


def make_buckets(longest: int, *, smallest: int = 32, growth: float = 1.25) -> tuple[int, ...]:
    """Makes buckets from `smallest` up to `longest`, each at most `growth` times the one before.

    Where `growth` leaves room for it they are multiples of 8, and from 256 on of 64, but for the
    last: GPUs multiply by tiles, and what does not fill one is copied into something that does.

    Examples:
      >>> make_buckets(200, growth=1.5)
      (32, 48, 72, 104, 152, 200)
    """
    buckets = [min(smallest, longest)]
    while buckets[-1] < longest:
        wanted = max(int(buckets[-1] * growth), buckets[-1] + 1)
        unit = next((unit for unit in (64, 8) if wanted >= 4 * unit), 1)
        if wanted // unit * unit > buckets[-1]:
            wanted = wanted // unit * unit
        buckets.append(min(wanted, longest))
    return tuple(buckets)


def thin_buckets(buckets: Sequence[int], factor: float = 2.0) -> tuple[int, ...]:
    """Keeps the largest bucket, and of the others those at least `factor` times apart.

    Examples:
      >>> thin_buckets((112, 160, 256, 448))
      (160, 448)
    """
    kept = [buckets[-1]]
    for bucket in reversed(buckets):
        if bucket * factor <= kept[-1]:
            kept.append(bucket)
    return tuple(kept[::-1])


def bucket_of(length: int, buckets: Sequence[int], *, what: str) -> int:
    """Returns the smallest bucket that holds `length`.

    Examples:
      >>> bucket_of(5, (4, 8, 16), what="suffix")
      8

    Args:
      length: in tokens.
      buckets: rising.
      what: ``prefix``, ``suffix`` or ``response``, for the message.

    Raises:
      SkillRLError: `length` is above the largest bucket.
    """
    for bucket in buckets:
        if length <= bucket:
            return bucket
    limit, setting = "rl.max_prompt_length", f"rollout.{what}_buckets"
    if what == "response":
        limit, setting = "rl.max_response_length", "train_batch.response_buckets"
    elif what == "suffix":
        setting += " and rollout.cache_buckets"
    raise SkillRLError(
        f"a {what} of {length} tokens does not fit the largest bucket of {buckets[-1]}: raise "
        f"{limit}, or {setting} if you set them"
    )
