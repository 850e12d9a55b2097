"""Writes a policy of a run as a directory to use elsewhere: weights, tokenizer, bank and card.

It reads checkpoints, which change nothing on disk, and takes no lock: a run may go on meanwhile.
What it writes is made beside its place and renamed, and replaces nothing but an earlier export of
its own that nobody has touched since.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError, about_writing
from skillrl.io import checksums, paths
from skillrl.io.atomic import atomic_write, explained, replace_directory, temporary_name
from skillrl.io.files import write_sealed
from skillrl.io.replaceable import check_replaceable
from skillrl.phases import card
from skillrl.phases.export_source import (
    Found,
    base_name,
    check_adapter,
    choose,
    open_model,
    read,
)
from skillrl.phases.run_directory import RunDirectory, recorded_config
from skillrl.skills import agent_skills
from skillrl.skills.store import save_bank
from skillrl.version import VERSION

MARKER = "skillrl_export.json"
"""Says of a directory that this module has written it, and from what."""

BANK, SKILLS, CARD = "skill_bank.json", "skills", "README.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """Says what was exported.

    Attributes:
      path: the directory.
      stage: base, sft or rl.
      step: number of the checkpoint; 0 for the base policy.
      skills: how many skills its bank has.
      adapter: whether it is an adapter, and not whole weights.
    """

    path: Path
    stage: str
    step: int
    skills: int
    adapter: bool


def export(
    workdir: str | Path,
    output: str | Path,
    *,
    format: str = "hf",
    checkpoint: str | None = None,
    adapter: bool = False,
) -> Exported:
    """Writes a policy of a run with its skill bank and a model card; see `FORMATS`.

    Works while the run goes on, and changes nothing in it.

    Args:
      workdir: the run directory.
      output: the directory to write; may hold an earlier export, which is replaced.
      format: one of `FORMATS`; ``hf`` is a Hugging Face directory.
      checkpoint: base, sft, rl, or the number of a checkpoint of RL; by default the last policy
        of the run.
      adapter: writes what a run with lora.rank has learned as one LoRA adapter of its base policy,
        in PEFT's format, in place of the weights with it merged in.

    Returns:
      What was written.

    Raises:
      SkillRLError: there is no such format, run or checkpoint, or `output` holds something else.
    """
    if format not in FORMATS:
        raise SkillRLError(
            f"--format={format}: no such format of an export; there are: {', '.join(FORMATS)}."
        )
    source = Path(paths.expand(workdir))
    config = recorded_config(source)
    if config is None:
        raise SkillRLError(
            f"--workdir={workdir}: has no run in it. Name the directory of a run, which holds its "
            "config.json and checkpoints."
        )
    if config.model.policy != "local":
        raise SkillRLError(
            f"--workdir={workdir}: model.policy={config.model.policy} leaves the weights on a "
            "server; the run has none to export."
        )
    place = Path(os.path.realpath(paths.expand(output)))
    check_replaceable(place, marker=MARKER)
    run = RunDirectory(source, config, lock=False)
    stage, step = choose(run, checkpoint)
    check_adapter(config, stage, asked=adapter)
    return FORMATS[format](run, place, stage=stage, step=step, adapter=adapter)


def _hugging_face(
    run: RunDirectory, place: Path, *, stage: str, step: int | None, adapter: bool
) -> Exported:
    from safetensors import SafetensorError

    from skillrl.models import lora, weights
    from skillrl.training.finite import check_finite

    config, model = run.config, open_model(run.config)
    found = read(run, model, stage=stage, step=step, adapter=adapter)
    check_finite(found.params, f"{place} is not written: the parameter")
    base = base_name(config)
    with explained(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.parent / temporary_name()
        try:
            if found.lora is None:
                weights.save(
                    temporary,
                    found.params,
                    model.config,
                    tokenizer_dir=model.directory,
                    dtype=config.model.dtype,
                )
            else:
                lora.save(temporary, found.params, config=model.config, lora=found.lora, base=base)
                weights.copy_tokenizer(model.tokenizer, temporary)
            save_bank(found.bank, temporary / BANK)
            if found.bank.skills:
                agent_skills.write_directory(found.bank, temporary / SKILLS)
            text = card.model_card(
                run,
                card.Subject(
                    name=place.name,
                    stage=stage,
                    step=found.step,
                    base=base,
                    lora=found.lora,
                    sizes=model.config,
                    bank=found.bank,
                ),
            )
            atomic_write(temporary / CARD, text)
            write_sealed(temporary / MARKER, _marker(run, found, stage=stage))
            checksums.seal_directory(temporary)
            check_replaceable(place, marker=MARKER)  # again: reading takes its time
            replace_directory(temporary, place)
        except SafetensorError as error:  # how a full disk shows while weights are written
            raise about_writing(error)(
                f"{place}: cannot be written ({error}). Check the free space there, or choose "
                "another place."
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Exported(
        path=place, stage=stage, step=found.step, skills=len(found.bank), adapter=adapter
    )


FORMATS: dict[str, Callable[..., Exported]] = {"hf": _hugging_face}
"""Name of a format -> what writes it."""


def _marker(run: RunDirectory, found: Found, *, stage: str) -> dict[str, Any]:
    updates = found.step * run.config.rl.minibatches if stage == "rl" else 0
    return {
        "format": 1,
        "skillrl": VERSION,
        "checkpoint": stage,
        "step": found.step,
        "policy_version": updates,
        "bank_version": found.bank.version,
        "adapter": found.lora is not None,
        "seed": run.config.seed,
        "environment": run.config.env.name,
    }
