"""The command `skillrl export`: a policy of a run as a directory to use elsewhere."""

from __future__ import annotations

from skillrl.cli import flags
from skillrl.cli.flags import Command, ParsedFlags
from skillrl.errors import SkillRLError

COMMAND = Command(
    name="export",
    brief="writes a policy of a run as a directory to use elsewhere",
    summary=(
        "Writes a policy of a run as a directory to use elsewhere: weights, tokenizer, the "
        "skill bank that it was saved with, and a model card with its evaluations and the "
        "command of the run. It only reads the run, which may go on meanwhile, and works "
        "on the CPU."
    ),
    own=(
        flags.path("workdir", "DIR", help="The run directory. Always needed."),
        flags.path(
            "output",
            "DIR",
            help=(
                "Where to; an earlier export there is replaced, anything else is not. "
                "Always needed."
            ),
        ),
        flags.text(
            "format",
            "NAME",
            help="hf, a Hugging Face directory. Default: hf.",
            default="hf",
        ),
        flags.text(
            "checkpoint",
            "rl|sft|base|N",
            help=(
                "Which policy; a number means that checkpoint of RL. Default: the last one "
                "of the run."
            ),
        ),
        flags.switch(
            "adapter",
            help=(
                "With lora.rank: one LoRA adapter of the base policy, which holds all that "
                "was learned, in place of the weights with it merged in."
            ),
        ),
    ),
    common=False,
)


def export(parsed: ParsedFlags) -> str:
    """Runs `skillrl export`; returns what it has to say."""
    values = parsed.values
    for flag in ("workdir", "output"):
        if not values[flag]:
            raise SkillRLError(
                f"export needs --{flag}=DIR: --workdir is the directory of a run, --output the "
                "one to write."
            )
    import jax

    from skillrl.phases.export import export as write

    # A run that goes on holds the accelerators, and a TPU cannot even be opened twice.
    jax.config.update("jax_platforms", "cpu")
    made = write(
        values["workdir"],
        values["output"],
        format=values["format"],
        checkpoint=values["checkpoint"],
        adapter=values["adapter"],
    )
    what = f"checkpoint {made.step} of {made.stage}" if made.step else f"the {made.stage} policy"
    form = "a LoRA adapter" if made.adapter else "whole weights"
    lines = [f"{made.path}: {what}, {form}, {made.skills} skills (README.md is its card)"]
    if not made.adapter:
        lines.append(f'  in Python: skillrl.load_policy("{made.path}")')
    return "\n".join(lines)
