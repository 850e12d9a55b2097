"""Finds and reads what an export writes: a policy of a run, or an adapter, and its skills."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from skillrl.config.as_command import without_place
from skillrl.config.presets import resolve_path
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.phases import prerequisites
from skillrl.phases.prerequisites import STAGES
from skillrl.phases.run_directory import RunDirectory
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import bank_from_json, load_bank

if TYPE_CHECKING:
    from skillrl.models.lora import Lora
    from skillrl.models.policy import Model
    from skillrl.models.transformer import Params
    from skillrl.phases.saved import Saved


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """Holds what is exported.

    Attributes:
      params: the parameters of the policy, or with `lora` those of an adapter.
      lora: the shape of the adapter, or None for whole weights.
      step: number of the checkpoint; 0 for the base policy.
      bank: the skills that the policy was saved with.
    """

    params: Params
    lora: Lora | None
    step: int
    bank: SkillBank


def choose(run: RunDirectory, checkpoint: str | None) -> tuple[str, int | None]:
    """Returns the stage that ``--checkpoint`` means, and the number if it names one.

    Raises:
      SkillRLError: it is no checkpoint, or the run has not come that far.
    """
    if checkpoint is None:
        steps = run.file("checkpoints", "rl").glob("*")
        stage = "rl" if any(path.name.isdecimal() for path in steps) else "sft"
        try:
            prerequisites.trained(run, stage)
        except SkillRLError:
            raise SkillRLError(
                f"{run.path}: has trained no policy yet. Wait for its first checkpoint, or export "
                "the policy that it starts from with --checkpoint=base."
            ) from None
        return stage, None
    if checkpoint.isdecimal() and len(checkpoint) < 10:
        return "rl", int(checkpoint)
    if checkpoint not in STAGES:
        raise SkillRLError(
            f"--checkpoint={checkpoint:.80}: give one of {', '.join(STAGES)}, or the number of a "
            "checkpoint of RL."
        )
    prerequisites.trained(run, checkpoint)
    return checkpoint, None


def check_adapter(config: Config, stage: str, *, asked: bool) -> None:
    """Checks that there is an adapter where one is asked for.

    Raises:
      SkillRLError: the run trains no adapter, or the base policy is asked for one.
    """
    if asked and not config.lora.rank:
        raise SkillRLError(
            "--adapter: lora.rank is 0 in this run, which has trained the weights themselves. "
            "Leave the flag out."
        )
    if asked and stage == "base":
        raise SkillRLError(
            "--adapter: the base policy has no adapter. Give --checkpoint=sft or rl, or leave one "
            "of the two flags out."
        )


def open_model(config: Config) -> Model:
    """Opens the policy on one device: what is written does not depend on the layout of the run."""
    from skillrl.models import policy
    from skillrl.parallel import compile_cache
    from skillrl.parallel.mesh import make_mesh

    mesh = make_mesh()
    compile_cache.enable()
    settings = config.model
    return policy.open_model(
        resolve_path(settings.policy_path) if settings.policy_path else None,
        mesh,
        model_id=settings.policy_model_id,
        dtype=settings.dtype,
    )


def read(run: RunDirectory, model: Model, *, stage: str, step: int | None, adapter: bool) -> Found:
    """Reads a policy, or what was trained of it, with the bank that belongs to it."""
    from skillrl.models.policy import load_params
    from skillrl.phases import saved

    settings = run.config.model

    def base() -> Params:
        return load_params(model, dtype=settings.param_dtype, adapter=settings.adapter_path)

    def cold_started() -> Params:
        return saved.cold_started(run, model, base=base) or base()

    if stage == "base":
        return Found(params=base(), lora=None, step=0, bank=SkillBank())
    found = _read_checkpoint(run, model, stage=stage, step=step)
    bank = bank_from_json(found.extra["bank"]) if stage == "rl" else _sft_bank(run)
    if adapter:
        params, shape = _learned(run, model, found, stage=stage)
        return Found(params=params, lora=shape, step=found.step, bank=bank)
    before = cold_started if stage == "rl" else base
    params = saved.whole(run, model, found, base=before)
    return Found(params=params, lora=None, step=found.step, bank=bank)


def _read_checkpoint(run: RunDirectory, model: Model, *, stage: str, step: int | None) -> Saved:
    """Reads a checkpoint; where a run that goes on has just replaced the latest, the next one.

    Raises:
      SkillRLError: there is none of this number, or it was replaced while it was read.
    """
    from skillrl.phases import saved
    from skillrl.training.checkpoint import Checkpoints

    with Checkpoints(run.file("checkpoints", stage)) as checkpoints:
        while True:
            asked = checkpoints.latest() if step is None else step
            there = asked in checkpoints.steps()
            try:
                found = saved.read(run, model, stage, step=asked)
            except SkillRLError as error:
                if asked in checkpoints.steps() or not there:
                    raise
                if step is not None:
                    raise SkillRLError(
                        f"--checkpoint={step}: the run has replaced it by newer ones while it was "
                        "read (checkpoint.keep says how many stay). Name a newer one, or leave the "
                        "flag out for the latest."
                    ) from error
                continue
            if found is None:
                raise SkillRLError(f"{checkpoints.directory}: has no checkpoint any more.")
            return found


def _sft_bank(run: RunDirectory) -> SkillBank:
    """Reads the bank that the cold start was taught with."""
    taught = run.file(*prerequisites.SFT_BANK)
    place = taught if taught.is_file() else prerequisites.first_bank(run)
    return load_bank(place) if place is not None else SkillBank()


def _learned(run: RunDirectory, model: Model, found: Saved, *, stage: str) -> tuple[Params, Lora]:
    """Returns what all phases up to a stage add to the base policy, as one adapter.

    The cold start's adapter is merged into the policy that RL starts from; beside RL's own it makes
    one of the sum of their ranks. A sum of two roundings: where model.param_dtype is bfloat16, the
    merged policy of a run differs from base and adapter in the last digits of its kernels.
    """
    from skillrl.models import lora
    from skillrl.phases import saved
    from skillrl.phases.build import lora_shape

    shape = lora_shape(run.config)
    first = None
    if stage == "rl" and run.config.sft.epochs and run.finished("sft") is not None:
        first = saved.read(run, model, "sft")
    if first is None:
        return found.trained, shape
    both = dataclasses.replace(shape, rank=2 * shape.rank, alpha=2 * shape.alpha)
    return lora.stack(first.trained, found.trained), both


def base_name(config: Config) -> str:
    """Names the base policy as others may: on the hub, in the package, or by its directory."""
    model = config.model
    if not model.policy_path:
        return model.policy_model_id
    parts = Path(model.policy_path).parts
    for at, part in enumerate(parts):  # the hub's own cache
        if part.startswith("models--") and parts[at + 1 : at + 2] == ("snapshots",):
            return part.removeprefix("models--").replace("--", "/")
    return without_place(model.policy_path).rpartition("/")[2]
