"""Plans a run on devices that are not at hand: chooses what to compile, compiles, adds up.

It runs in a process of its own (`worker`), whose number of virtual devices is fixed when JAX
starts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.parallel.mesh import make_mesh
from skillrl.phases.build import make_buckets
from skillrl.planning import candidates, programs
from skillrl.planning.candidates import Candidate
from skillrl.planning.guess import Guess, guess, ranked
from skillrl.planning.held import held, kv_bytes
from skillrl.planning.iteration import find_load, program_seconds
from skillrl.planning.kinds import USABLE, DeviceKind
from skillrl.planning.measure import Measured, measure
from skillrl.planning.policies import find_sizes
from skillrl.planning.programs import Subject
from skillrl.planning.records import Outcome, Plan, Row
from skillrl.planning.targets import Target, find_target
from skillrl.training.update import AHEAD

SAMPLING = ("gradients", "prefixes of an update")
"""What is not there yet while episodes are played."""

Say = Callable[[str], None]


def make_plan(
    config: Config, *, kind: DeviceKind, devices: int, tried: int, until: float, say: Say
) -> Plan:
    """Plans a run.

    Args:
      config: the settings.
      kind: what it would run on.
      devices: how many of them.
      tried: how many candidates are compiled at most, the one that is planned included.
      until: on `time.monotonic`; no further candidate is begun where it would not end before.
      say: told what is being done.

    Raises:
      SkillRLError: the policy's sizes are not known here, or the mesh does not fit the devices.
    """
    sizes, source = find_sizes(config.model)
    _check_attention(config, kind)
    asked = candidates.configured(config, devices)
    buckets = make_buckets(config)
    row = buckets.row[-1]
    over = candidates.meshes(devices, sizes)

    def guessed(found: Sequence[Candidate]) -> list[Guess]:
        return ranked([guess(c, config, sizes=sizes, kind=kind, buckets=buckets) for c in found])

    chosen, reason = asked, "as the settings say (mesh.*)"
    if devices == 1:
        reason = "there is one device"
    elif candidates.mesh_is_open(config):
        best = guessed([dataclasses.replace(asked, data=d, fsdp=f, tensor=t) for d, f, t in over])
        chosen = best[0].candidate
        reason = _reason(best, kind)
    everything = guessed(candidates.around(asked, over=over or [(1, 1, 1)], row=row))
    others = [g.candidate for g in everything if g.candidate != chosen]

    target = find_target(kind, devices)
    said = f"{kind.title}: compiling for {target.said}"
    say(said)
    outcomes: list[Outcome] = []
    sampled: dict[str, Measured] = {}
    for candidate in [chosen, *others][: max(1, tried)]:
        start = time.monotonic()
        if outcomes and start + outcomes[0].compile_seconds > until:
            say("no time for further candidates")
            break
        say(f"candidate {len(outcomes) + 1}: {candidate}")
        outcome, sampled = _try(
            candidate, config, sizes=sizes, kind=kind, target=target, sampled=sampled, say=say
        )
        outcomes.append(dataclasses.replace(outcome, compile_seconds=time.monotonic() - start))
    return Plan(
        policy=source,
        target=target.said,
        real=target.real,
        kind=kind.name,
        devices=devices,
        reason=reason,
        outcomes=tuple(outcomes),
        guessed=len(everything),
        limit=USABLE * kind.memory,
    )


def _check_attention(config: Config, kind: DeviceKind) -> None:
    """Refuses fused attention on devices that do not have it.

    Raises:
      SkillRLError: as it would when the run starts.
    """
    needs = {"cudnn": "gpu", "splash": "tpu"}.get(config.model.attention)
    if needs and needs != kind.platform:
        raise SkillRLError(
            f"model.attention={config.model.attention} needs a {needs}, but "
            f"--device_kind={kind.name} is a {kind.platform}: set model.attention=xla, or plan for "
            "another kind."
        )


def _reason(best: Sequence[Guess], kind: DeviceKind) -> str:
    """Says why the first of some guesses was chosen."""
    first, *rest = best
    c = first.candidate
    said = (
        f"no axis of mesh is set; of {len(best)} that divide the policy, data {c.data} x fsdp "
        f"{c.fsdp} x tensor {c.tensor} "
    )
    gib = f"{first.bytes / 2**30:.0f} GiB of {USABLE * kind.memory / 2**30:.0f}"
    if first.fits:
        said += f"is the fastest by a first guess that fits ({gib} a device)"
    else:
        said += f"takes the least memory, and none fits by a first guess ({gib} a device)"
    if rest:
        n = rest[0]
        o = n.candidate
        said += (
            f"; next was data {o.data} x fsdp {o.fsdp} x tensor {o.tensor} "
            f"({n.bytes / 2**30:.0f} GiB, {n.seconds / max(first.seconds, 1e-9):.2f} of the time)"
        )
    return said


def _try(
    candidate: Candidate,
    config: Config,
    *,
    sizes: TransformerConfig,
    kind: DeviceKind,
    target: Target,
    sampled: dict[str, Measured],
    say: Say,
) -> tuple[Outcome, dict[str, Measured]]:
    """Compiles the programs of a candidate and adds up.

    Args:
      candidate: the settings to try.
      config: all other settings.
      sizes: of the policy.
      kind: the device.
      target: devices to compile for.
      sampled: the programs of sampling, if another candidate has compiled them: mesh apart,
        nothing that a candidate changes is in them.
      say: told what is being done.

    Returns:
      What came of it, and the programs of sampling.
    """
    config = candidate.applied(config)
    mesh = make_mesh(candidate.data, candidate.fsdp, candidate.tensor, devices=target.devices)
    halved = not target.real and config.model.dtype == "bfloat16"
    fused = config.model.attention != "xla"
    real = programs.make_subject(_stand_in(config, target, halved=False), sizes, mesh=mesh)
    it = programs.make_subject(_stand_in(config, target, halved=halved), sizes, mesh=mesh)

    def measured(program: programs.Program, *, halved: bool) -> Measured:
        found = measure(
            program, sizes=sizes, tensor=candidate.tensor, halved=halved, scores=not fused
        )
        say(f"  {program.name}: compiled in {found.seconds:.0f} s")
        return found

    found = [measured(p, halved=halved) for p in programs.training(it)]
    found.append(measured(programs.optimizer_step(real), halved=False))
    sampled = sampled or {p.name: measured(p, halved=halved) for p in programs.sampling(it)}
    return outcome(
        candidate, config, sizes=sizes, kind=kind, it=real, found=found, sampled=sampled
    ), (sampled)


def _stand_in(config: Config, target: Target, *, halved: bool) -> Config:
    """Returns the settings to compile with, where the CPU stands in for a device."""
    model: dict[str, str] = {} if target.real else {"attention": "xla"}
    if halved:
        model |= {"dtype": "float32", "param_dtype": "float32"}
    return Config.from_dict({"model": model}, base=config)


def outcome(
    candidate: Candidate,
    config: Config,
    *,
    sizes: TransformerConfig,
    kind: DeviceKind,
    it: Subject,
    found: Sequence[Measured],
    sampled: dict[str, Measured],
) -> Outcome:
    """Adds up what a candidate takes.

    Args:
      candidate: the settings.
      config: all settings, with these.
      sizes: of the policy.
      kind: the device.
      it: gives mesh and compiled sizes.
      found: the programs of an update.
      sampled: those of sampling.
    """
    mesh, work, devices = it.model.mesh, it.work, candidate.devices
    things = held(config, sizes, mesh=mesh, work=work)
    inputs = held_inputs(it, config)
    load = find_load(config, work)
    read = {
        "decode step": things["policy laid out for sampling"] + things["KV cache"],
        "optimizer step": 2 * (things["gradients"] * 1.5 + things["optimizer"]),
    }
    rows = []
    for program in [*sampled.values(), *found]:
        there = sum(
            n for name, n in things.items() if program.name not in sampled or name not in SAMPLING
        )
        runs = load.runs[program.name]
        one = program_seconds(program.cost, kind, devices=devices, read=read.get(program.name, 0.0))
        rows.append(
            Row(
                name=program.name,
                runs=runs,
                flops=program.cost.flops,
                bytes=read.get(program.name, program.cost.bytes),
                collectives=sum(program.cost.collectives.values()),
                sent=dict(program.cost.sent),
                working=program.working,
                moment=there + program.working + inputs.get(program.name, 0.0),
                seconds=runs * one,
            )
        )
    largest = max(rows, key=lambda row: row.moment)
    return Outcome(
        candidate=candidate,
        held=things,
        rows=tuple(rows),
        largest=largest.moment,
        at=largest.name,
        fits=largest.moment <= USABLE * kind.memory,
        seconds=sum(row.seconds for row in rows),
        compile_seconds=0.0,
    )


def held_inputs(it: Subject, config: Config) -> dict[str, float]:
    """Counts bytes of what an update hands to a program beside what is always held.

    Of micro-batches a few are on the devices at once (`training.update.AHEAD`).
    """
    sizes, mesh, work = it.model.config, it.model.mesh, it.work
    width = 2 if config.model.dtype == "bfloat16" else 4
    of_rows = kv_bytes(sizes, mesh, rows=(work.micro[0], 1), tokens=work.prefix, width=width)
    of_prefixes = kv_bytes(sizes, mesh, rows=(work.prefix_rows, 1), tokens=work.prefix, width=4)
    return {
        "micro-batch": of_rows * (AHEAD + 1) + of_rows * AHEAD,  # keys and values, gradients
        "gradient of prefixes": of_prefixes,
    }
