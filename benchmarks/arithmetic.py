"""What an iteration takes at least, from sizes and peaks alone; where the time goes is written out.

An iteration is the rollout of `work` (prefixes, suffixes, decoding) and one GRPO update over its
samples. Prefill and update are bound by operations; a decode step takes the larger of its bytes
over the bandwidth and its operations over the peak. With an unknown bandwidth only operations
count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from flops import (
    Sizes,
    decode_bytes,
    decode_flops,
    prefill_flops,
    useful_step_flops,
)
from hardware import Peak


def iteration(
    sizes: Sizes,
    work: Mapping[str, int],
    peak: Peak,
    *,
    shared: bool,
    rank: int = 0,
    width: int = 2,
) -> dict[str, float]:
    """Seconds by part of an iteration.

    Args:
      sizes: of the model.
      work: steps, groups, members, prefix, suffix and new.
      peak: of the device; operations per second are needed.
      shared: whether a group's prefix is computed once, for all of its steps.
      rank: of a LoRA adapter, 0 where all parameters are trained.
      width: bytes of a weight, and of a number in the cache.
    """
    assert peak.flops
    steps, groups = work["steps"], work["groups"]
    samples = steps * groups * work["members"]
    prefixes = groups if shared else samples
    bare = {**work, "groups": 1, "members": 0}
    prefix = prefill_flops(sizes, bare, shared=True)
    all_prompts = prefill_flops(sizes, work, shared=True)
    bytes_ = decode_bytes(sizes, work, shared=shared, width=width)
    slow = bytes_ / peak.bandwidth if peak.bandwidth else 0.0
    token = max(slow, decode_flops(sizes, work) / peak.flops)
    apart = work if shared else {**work, "steps": 1, "groups": samples, "members": 1}
    update = useful_step_flops(sizes, apart, rank=rank)
    if shared:  # computed once more for its backward pass
        update += groups * prefix
    return {
        "prefixes": prefixes * prefix / peak.flops,
        "suffixes": steps * (all_prompts - groups * prefix) / peak.flops,
        "decode": steps * (work["new"] - 1) * token,
        "update": update / peak.flops,
    }


def adds(
    sizes: Sizes, work: Mapping[str, int], prefix: int, peak: Peak, **options: int | bool
) -> float:
    """By how many percent `prefix` tokens make an iteration longer than none does."""
    with_, without = (
        math.fsum(iteration(sizes, {**work, "prefix": n}, peak, **options).values())
        for n in (prefix, 0)
    )
    return 100 * (with_ / without - 1)
