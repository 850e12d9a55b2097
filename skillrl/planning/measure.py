"""Compiles a program and says what it takes: working memory, operations, bytes, collectives.

On the kind of device that is planned for these are the compiler's own numbers. The CPU's back end
has no bfloat16 products: it would hold float32 copies of weights, keys and values, which no
accelerator does. In its place the program is compiled in float32 throughout, and what is computed
in bfloat16 on a device counts as half: all working memory but the scores of attention, which are
float32 there too, and all that is exchanged. Fused attention (``model.attention=cudnn`` or
``splash``) has no program of the CPU: `xla` is compiled and its scores are left out.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from skillrl.models.config import TransformerConfig
from skillrl.planning import hlo
from skillrl.planning.programs import Program

SCORES = {False: 2.0, True: 3.5}
"""Arrays as large as the scores that a layer's attention holds at once, in float32, by whether it
takes a gradient: scores and weights; those, their gradients and half of a copy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Holds what one run of a program takes, of one device.

    Attributes:
      name: of the program.
      working: bytes beside what it is handed: temporaries, and results that replace nothing.
      cost: operations, bytes and collectives.
      seconds: how long it took to compile.
    """

    name: str
    working: float
    cost: hlo.Cost
    seconds: float


def measure(
    program: Program, *, sizes: TransformerConfig, tensor: int, halved: bool, scores: bool
) -> Measured:
    """Compiles a program and reads what it takes.

    Args:
      program: what to compile.
      sizes: of the policy.
      tensor: how many ways heads are split.
      halved: whether float32 stands in for bfloat16.
      scores: whether scores of attention exist; False leaves them out of what was compiled.
    """
    start = time.monotonic()
    compiled = program.function.lower(*program.arguments, **program.named).compile()
    seconds = time.monotonic() - start
    memory = compiled.memory_analysis()
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    widths: Mapping[str, int] = hlo.WIDTHS | ({"f32": 2} if halved else {})
    return Measured(
        name=program.name,
        working=working_bytes(
            memory.temp_size_in_bytes,
            new,
            of_scores=score_bytes(program, sizes=sizes, tensor=tensor),
            halved=halved,
            scores=scores,
        ),
        cost=hlo.count(compiled.as_text(), widths),
        seconds=seconds,
    )


def working_bytes(
    temporary: float, new: float, *, of_scores: float, halved: bool, scores: bool
) -> float:
    """Turns what was compiled into what a device holds.

    Examples:
      Of 10 bytes 4 are scores: they stay, the others are halved.

      >>> working_bytes(10, 2, of_scores=4, halved=True, scores=True)
      8.0

    Args:
      temporary: bytes of temporaries.
      new: bytes of results that replace nothing.
      of_scores: bytes of the scores of attention among the temporaries, at most.
      halved: whether float32 stands in for bfloat16.
      scores: whether scores exist on the device.
    """
    share = 0.5 if halved else 1.0
    among = min(of_scores, temporary)
    return (temporary - among) * share + (among if scores else 0.0) + new * share


def score_bytes(program: Program, *, sizes: TransformerConfig, tensor: int) -> float:
    """Counts the bytes of the scores of attention that one layer holds at once.

    Args:
      program: gives tokens and keys.
      sizes: of the policy.
      tensor: how many ways heads are split.
    """
    heads = -(-sizes.num_heads // tensor)
    return SCORES[program.backward] * heads * program.tokens * program.keys * 4.0
