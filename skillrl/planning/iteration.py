"""Estimates the time of an iteration of RL on devices: how often each program runs, and how long.

What cannot be known is assumed and said (`assumptions`): how far episodes use what the settings
allow, and which share of its peaks a device reaches. Environments, the teacher, and the host's own
work are not counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from skillrl.config.settings import Config
from skillrl.planning import hlo
from skillrl.planning.held import Work
from skillrl.planning.kinds import DeviceKind
from skillrl.preflight.estimate import REACHED, TYPICAL

READ = 0.44
"""Share of a device's bandwidth that decoding reaches: measured on an H100, docs/performance.md."""

LATENCY = 10e-6
"""Seconds that an exchange with other devices takes at least."""

SCORED = {"none": 1 / 3, "dots": 1 / 3, "full": 1 / 4}
"""Forward pass of a micro-batch as a share of its gradient, by ``model.remat``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """Says how often the programs of an iteration run.

    Attributes:
      samples: steps of all episodes, each a response and a training sample.
      runs: name of a program -> how often it runs, full blocks without padding.
    """

    samples: float
    runs: Mapping[str, float]


def find_load(config: Config, work: Work, *, share: float = TYPICAL) -> Load:
    """Estimates how often the programs of an iteration run.

    Args:
      config: the settings.
      work: compiled sizes.
      share: of what the settings allow is used: steps, prompts and responses.
    """
    rl, layout = config.rl, work.layout
    samples = rl.batch_size * max(1.0, share * config.env.max_steps)
    prompt, response = share * rl.max_prompt_length / 2, max(1.0, share * rl.max_response_length)
    slots = layout.slots * layout.workers
    suffixes = layout.prefill_rows(work.suffix) * work.suffix
    rows, members = work.micro
    micro = max(rl.minibatches, samples * (prompt + response) / (rows * members * work.row))
    groups = rl.batch_size / rl.group_size * (2 if rl.bare_members else 1)
    prefixes = max(rl.minibatches, groups * prompt / (work.prefix_rows * work.prefix))
    passes = 1 + (rl.old_logprobs == "recomputed")
    return Load(
        samples=samples,
        runs={
            "decode step": math.ceil(samples / slots) * response,
            "prefill of suffixes": max(1.0, samples * prompt / suffixes),
            "prefill of a prefix": groups,
            "micro-batch": micro * (1 + passes * SCORED[config.model.remat]),
            "prefixes": prefixes * (1 + passes),
            "gradient of prefixes": prefixes,
            "optimizer step": rl.minibatches,
        },
    )


def program_seconds(cost: hlo.Cost, kind: DeviceKind, *, devices: int, read: float = 0.0) -> float:
    """Estimates how long one run of a program takes.

    Args:
      cost: operations and collectives of one device.
      kind: the device.
      devices: how many take part.
      read: bytes that must be read and written, where these may bind.
    """
    assert kind.peak.flops
    assert kind.peak.bandwidth
    work = max(cost.flops / (REACHED * kind.peak.flops), read / (READ * kind.peak.bandwidth))
    # A reduction sends what it reduces and then what came of it.
    sent = sum(n * (2 if name == "all-reduce" else 1) for name, n in cost.sent.items())
    starts = sum(cost.collectives.values()) * LATENCY
    return work + sent / kind.bandwidth(devices) + (starts if devices > 1 else 0.0)


def assumptions(config: Config, kind: DeviceKind, *, devices: int) -> list[str]:
    """Says what the times rest on.

    Args:
      config: the settings.
      kind: the device.
      devices: how many.
    """
    assert kind.peak.flops
    assert kind.peak.bandwidth
    link = kind.bandwidth(devices) / 1e9
    steps = max(1.0, TYPICAL * config.env.max_steps)
    return [
        f"episodes, prompts and responses are {TYPICAL:g} of the longest allowed: "
        f"{config.rl.batch_size} episodes of {steps:g} steps (rl.batch_size, env.max_steps), "
        "half of a prompt its prefix (rl.max_prompt_length), no padding;",
        f"products reach {REACHED:.0%} of {kind.peak.flops / 1e12:g} TFLOP/s "
        f"({kind.peak.source}); decoding and the optimizer {READ:.0%} of "
        f"{kind.peak.bandwidth / 1e12:g} TB/s;",
        f"devices exchange {link:g} GB/s each, never while they compute, and at least "
        f"{LATENCY * 1e6:g} us each time;",
        "environments, the teacher, evaluations, compilation and saving take no time.",
    ]
