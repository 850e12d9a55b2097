"""Writes a plan for people, and for programs that look for a row or a line of it."""

from __future__ import annotations

from skillrl.config.settings import Config
from skillrl.io.console import table
from skillrl.io.numbers import rough_duration, short_number
from skillrl.planning.iteration import assumptions
from skillrl.planning.kinds import DEFAULT_SHARE, KINDS, USABLE
from skillrl.planning.records import Outcome, Plan, Row

_GIB = 2**30


def report(plan: Plan, config: Config) -> str:
    """Writes a plan out.

    Args:
      plan: what was found.
      config: the settings that it was made for.
    """
    it, kind = plan.planned, KINDS[plan.kind]
    lines = [
        f"policy: {plan.policy}",
        f"devices: {plan.devices} x {kind.title} ({plan.kind}), compiled for {plan.target}",
        f"mesh: {it.candidate}",
        f"  {plan.reason}",
    ]
    if it.candidate.devices < plan.devices:
        idle = plan.devices - it.candidate.devices
        lines.append(f"  {idle} of {plan.devices} devices would be idle: see the best one below")
    lines += ["", memory_table(plan), "", _sources(plan), "", program_table(it), ""]
    lines.append(f"an iteration of RL: about {rough_duration(it.seconds)}, if")
    lines += [f"  {said}" for said in assumptions(config, kind, devices=it.candidate.devices)]
    lines += ["", *_best(plan), "", *_verdict(plan)]
    return "\n".join(lines)


def memory_table(plan: Plan) -> str:
    """Lays out what one device holds."""
    it = plan.planned
    working = max(it.rows, key=lambda row: row.working)
    estimate = "compiler" if plan.real else "estimate"
    rows = [[name, _gib(n), "exact"] for name, n in it.held.items()]
    rows.append(
        ["activations and working memory", _gib(working.working), f"{estimate}: {working.name}"]
    )
    rows.append(["largest moment", _gib(it.largest), f"{estimate}: {it.at}"])
    rows.append(["limit", _gib(plan.limit), f"{USABLE:.0%} of {_gib(plan.limit / USABLE)}"])
    return table(rows, ["one device", "GiB", "from"])


def program_table(it: Outcome) -> str:
    """Lays out the programs of an iteration."""
    rows = [
        [
            row.name,
            f"{row.runs:,.0f}" if row.runs >= 10 else f"{row.runs:.1f}",
            short_number(row.flops) + "FLOP",
            short_number(row.bytes) + "B",
            row.collectives,
            short_number(sum(row.sent.values())) + "B",
            _gib(row.working),
            _gib(row.moment),
            rough_duration(row.seconds),
        ]
        for row in it.rows
    ]
    heads = ["program, per run of one device", "runs", "operations", "bytes", "collectives"]
    heads += ["exchanged", "working GiB", "moment GiB", "all runs"]
    return table(rows, heads) + "\n" + _exchanged(it.rows)


def _exchanged(rows: tuple[Row, ...]) -> str:
    """Says by kind what an update exchanges."""
    parts = [
        f"  {row.name}: "
        + ", ".join(f"{kind} {short_number(n)}B" for kind, n in sorted(row.sent.items()))
        for row in rows
        if sum(row.sent.values())
    ]
    return "\n".join(["exchanged, by kind:", *parts]) if parts else "nothing is exchanged"


def _sources(plan: Plan) -> str:
    """Says which numbers are exact and which are estimates."""
    said = (
        "Exact, from shapes and shardings: parameters, optimizer, reference policy, gradients, "
        "the policy laid out for sampling, KV cache (rollout.slots in the widest buckets and the "
        "prefixes kept), prefixes of an update. They stay throughout an iteration; gradients and "
        "prefixes of an update come with its updates. "
    )
    if plan.real:
        return said + "Working memory is what the compiler for these devices plans."
    return said + (
        "Working memory is an estimate from the CPU's compiler: programs are compiled in float32, "
        "and what is computed in bfloat16 counts as half, but for the scores of attention. "
        "Operations and exchanges are those of the compiled programs."
    )


def _best(plan: Plan) -> list[str]:
    """Says which of what was tried is best."""
    rows = [
        [
            str(one.candidate),
            _gib(one.largest),
            "yes" if one.fits else "no",
            rough_duration(one.seconds),
        ]
        for one in plan.outcomes
    ]
    count = len(plan.outcomes)
    return [
        f"tried: {plan.guessed} by a guess from sizes, {count} compiled (sampling once, "
        "for the first mesh)",
        table(rows, ["mesh, micro-batch, remat", "GiB", "fits", "an iteration"]),
        f"best: {plan.best.candidate}",
        f"  {plan.best.candidate.flags}",
    ]


def _verdict(plan: Plan) -> list[str]:
    """Says whether the plan fits, and what helps where it does not."""
    it, kind = plan.planned, KINDS[plan.kind]
    lines = []
    total = plan.limit / USABLE
    if it.fits and kind.platform == "gpu" and it.largest > DEFAULT_SHARE * total:
        lines.append(
            f"JAX takes {DEFAULT_SHARE:.0%} of a card by itself: start with "
            f"XLA_PYTHON_CLIENT_MEM_FRACTION={USABLE}"
        )
    if not it.fits:
        over = f"{_gib(it.largest)} GiB at '{it.at}', {_gib(plan.limit)} there"
        if plan.best.fits:
            lines.append(f"{over}: take the best of those tried")
        else:
            lines.append(
                f"{over}: more devices, a smaller policy, lora.rank, "
                "model.param_dtype=bfloat16, fewer rollout.slots, shorter rl.max_prompt_length or "
                "a fused model.attention take less"
            )
    return [*lines, f"fits: {'yes' if it.fits else 'no'}"]


def _gib(number: float) -> str:
    return f"{number / _GIB:,.2f}" if number >= 0.1 * _GIB else f"{number / _GIB:.2g}"
