"""Writes the model card of an export: what the policy is, what it was measured to do, how it loads.

The front matter is the Hugging Face hub's. Every number comes from files of the run; nothing is
said of the machine's directories or keys.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skillrl.config import as_command
from skillrl.config.settings import Config
from skillrl.io import front_matter
from skillrl.io.files import read_sealed
from skillrl.io.numbers import short_number
from skillrl.models.flops import sizes_of
from skillrl.phases.results import read_results
from skillrl.phases.run_directory import RunDirectory
from skillrl.phases.simulated_parts import list_parts
from skillrl.skills.bank import SkillBank
from skillrl.skills.history import ACTIONS, BankEvent

if TYPE_CHECKING:
    from skillrl.models.config import TransformerConfig
    from skillrl.models.lora import Lora

_TITLES = {"alfworld": "ALFWorld", "webshop": "WebShop", "search": "Search QA"}
_STAGES = {"base": "base", "sft": "cold start", "rl": "RL"}
_SHOWN = 20  # versions of a bank in its history


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """Describes what a card is about.

    Attributes:
      name: of the model.
      stage: base, sft or rl.
      step: number of the checkpoint; 0 for the base policy.
      base: name of the policy that the run started from.
      lora: shape of the adapter, or None for whole weights.
      sizes: of the policy.
      bank: the skills that it was saved with.
    """

    name: str
    stage: str
    step: int
    base: str
    lora: Lora | None
    sizes: TransformerConfig
    bank: SkillBank


Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Stage -> split -> the result of an evaluation."""


def model_card(run: RunDirectory, subject: Subject) -> str:
    """Writes the card.

    Args:
      run: the run that the policy is of; its evaluations, versions and settings are read.
      subject: what was exported of it.

    Raises:
      SkillRLError: a file of the run holds something else than a run writes.
    """
    results = read_results(run)
    own = {
        split: result
        for split, result in results.get(subject.stage, {}).items()
        if _is_of(result, run.config, subject)
    }
    parts = [
        f"# {subject.name}",
        _what(run.config, subject),
        _simulated(run),
        "## Evaluations",
        *_evaluations(results, own, run.config),
        "## The run",
        *_origin(run),
        "## Skills",
        *_skills(subject.bank),
        "## Loading",
        *_loading(run.config, subject),
    ]
    body = "\n\n".join(part for part in parts if part)
    return front_matter.join(_metadata(run.config, subject, own), body)


def _metadata(config: Config, subject: Subject, own: Mapping[str, Any]) -> dict[str, Any]:
    """Makes the front matter; results are those of this very policy, or left out."""
    kind = [] if subject.stage == "base" else ["grpo"] if subject.stage == "rl" else ["sft"]
    adapter = subject.lora is not None
    values: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "base_model": subject.base,
    }
    if subject.stage != "base":
        values["base_model_relation"] = "adapter" if adapter else "finetune"
    tags = ["skillrl", "reinforcement-learning", "agent", *kind, config.env.name]
    values["tags"] = [*tags, "lora"] if adapter else tags
    results = [_entry(config, split, result) for split, result in own.items() if result["n"]]
    if results:
        values["model-index"] = [{"name": subject.name, "results": results}]
    return values


def _entry(config: Config, split: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Makes an entry of the hub's model-index of one evaluation."""
    low, high = _interval(result)
    known = f"n = {result['n']}, 95 % interval {_percent(low)} to {_percent(high)} %"
    return {
        "task": {"type": "reinforcement-learning", "name": "language-model agent"},
        "dataset": {
            "name": f"{_title(config)} {split}",
            "type": config.env.name,
            "split": split,
        },
        "metrics": [
            {
                "type": "success_rate",
                "name": f"success rate ({known})",
                "value": round(result["success"], 4),
                "args": {
                    "n": result["n"],
                    "low": low if low is None else round(low, 4),
                    "high": high if high is None else round(high, 4),
                    "temperature": result.get("temperature", 0.0),
                    "repeats": result.get("repeats", 1),
                    "tasks": result.get("manifest", ""),
                },
            }
        ],
    }


def _is_of(result: Mapping[str, Any], config: Config, subject: Subject) -> bool:
    """Tells whether an evaluation of the stage is of this very policy."""
    updates = subject.step * config.rl.minibatches if subject.stage == "rl" else 0
    return result.get("policy_version", 0) == updates


def _interval(result: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Returns the 95 % interval; repeats of a task are not independent, so then over tasks."""
    over = result["pass_at"]["1"] if "pass_at" in result else result
    return over["low"], over["high"]


# Sections ---------------------------------------------------------------------


def _what(config: Config, subject: Subject) -> str:
    count = short_number(sizes_of(subject.sizes).parameters)
    made = {
        "base": "The policy that the run started from, untrained.",
        "sft": f"The cold start (SFT on demonstrations with skills), after {subject.step} epochs.",
        "rl": f"The policy after {subject.step} iterations of GRPO with an evolving skill bank, "
        f"{subject.step * config.rl.minibatches} updates.",
    }[subject.stage]
    form = f"written in {config.model.dtype}"
    if subject.lora is not None:
        form = f"as a LoRA adapter of rank {subject.lora.rank} in float32"
        if config.model.adapter_path:
            merged = as_command.without_place(config.model.adapter_path)
            form += f", which belongs on the base with the adapter {merged} merged into it"
    return (
        f"A language-model agent for {_title(config)}, trained from `{subject.base}` "
        f"({count} parameters) by skillrl, which is SkillRL (arXiv 2602.08234) in JAX. {made} It "
        f"is {form}, and plays with the skills of `skill_bank.json` in its prompts."
    )


def _simulated(run: RunDirectory) -> str:
    """Says which parts of the run stood in for the real thing."""
    summary = run.file("summary.json")
    if summary.exists():
        found: Sequence[str] = read_sealed(summary)["simulated"]
    else:  # what the environment simulates, only itself knows
        listed = list_parts(as_command.public(run.config), "")
        found = [f"{part.name}: {part.what}" for part in listed if part.simulated]
    return f"Simulated in this run: {'; '.join(found)}." if found else ""


def _evaluations(results: Results, own: Mapping[str, Any], config: Config) -> Iterator[str]:
    if not results:
        yield (
            "This run has evaluated nothing yet; `skillrl evaluate` measures success on held-out "
            "tasks."
        )
        return
    each = "once" if config.evaluation.repeats == 1 else "once per repeat"
    bold = " Bold rows are of this policy." if own else ""
    yield (
        f"Success on held-out tasks, each of a fixed list {each}, with the 95 % Wilson interval "
        f"(over tasks where they are repeated).{bold}"
    )
    rows = []
    for stage, splits in results.items():
        for split, result in splits.items():
            low, high = _interval(result)
            label = _STAGES[stage]
            if stage == "rl":
                label += f", {result.get('policy_version', 0)} updates"
            mark = "**" if own.get(split) is result else ""
            rows.append(
                [
                    f"{mark}{label}{mark}",
                    split,
                    f"{_percent(result['success'])} %",
                    f"{_percent(low)} to {_percent(high)} %",
                    result["n"],
                    result.get("skills", 0),
                    f"{result.get('temperature', 0.0):g}",
                ]
            )
    yield _table(["policy", "split", "success", "95 %", "n", "skills", "temperature"], rows)
    for split, result in own.items():
        parts = [(key, part) for key, part in result["by_category"].items() if part["n"]]
        yield f"By category, {split}:"
        yield _table(
            ["category", "success", "95 %", "n"],
            [
                [
                    key,
                    f"{_percent(part['success'])} %",
                    f"{_percent(part['low'])} to {_percent(part['high'])} %",
                    part["n"],
                ]
                for key, part in parts
            ],
        )


def _origin(run: RunDirectory) -> Iterator[str]:
    yield (
        "The settings of the run, as one command (`PATH` stands for directories of the machine; "
        "API keys come from the environment):"
    )
    yield _code(as_command.command("train", run.config), "bash")
    place = run.file("environment.json")
    if not place.exists():
        return
    made = read_sealed(place)
    versions = [f"{name} {found}" for name, found in made["versions"].items() if found]
    kinds = collections.Counter(device.partition(" ")[2] for device in made["devices"])
    devices = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    yield f"Seed {run.config.seed}; {', '.join(versions)}; {devices}."


def _skills(bank: SkillBank) -> Iterator[str]:
    if not bank.skills:
        yield "The bank is empty: the policy plays without skills."
        return
    counts = bank.summary()
    yield (
        f"`skill_bank.json` holds version {bank.version} of the bank: {counts['total']} skills "
        f"({counts['general']} general, {counts['task_specific']} task-specific, "
        f"{counts['mistakes']} mistakes to avoid), {counts['evolved']} of them added during "
        "training. `skills/` has the same as Agent Skills, a folder with SKILL.md for each."
    )
    if not bank.history:
        return
    versions: dict[tuple[int, int], list[BankEvent]] = {}
    for event in bank.history:
        versions.setdefault((event.version, event.step), []).append(event)
    newest = list(versions.items())[-_SHOWN:]
    left = len(versions) - len(newest)
    yield "Its history" + (f" (the newest {_SHOWN} of {len(versions)} versions):" if left else ":")
    yield _table(
        ["version", "iteration", *ACTIONS],
        [
            [version, step, *(sum(e.action == action for e in events) for action in ACTIONS)]
            for (version, step), events in newest
        ],
    )


def _loading(config: Config, subject: Subject) -> Iterator[str]:
    yield "`DIR` is this directory, or its copy. With skillrl, JAX:"
    if subject.lora is None:
        yield _code(
            'import skillrl\n\npolicy = skillrl.load_policy("DIR")  # params, config, tokenizer',
            "python",
        )
        yield "With transformers:"
        yield _code(
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("DIR", dtype="auto")\n'
            'tokenizer = AutoTokenizer.from_pretrained("DIR")',
            "python",
        )
    else:
        yield _code(
            "import skillrl\n\n"
            f'policy = skillrl.load_policy("{subject.base}", adapter="DIR")  # merged',
            "python",
        )
        yield "With PEFT:"
        yield _code(
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{subject.base}", dtype="auto")\n'
            'model = PeftModel.from_pretrained(base, "DIR")',
            "python",
        )
    sizes = subject.sizes
    if sizes.model_type == "qwen2" and sizes.hidden_size != sizes.num_heads * sizes.head_dim:
        yield (
            f"vLLM does not serve it: it reads no `head_dim` of a Qwen2, and the heads of this one "
            f"are {sizes.head_dim} wide where {sizes.hidden_size} / {sizes.num_heads} is expected."
        )
    elif subject.lora is None:
        yield "With vLLM:"
        yield _code("vllm serve DIR", "bash")
    else:
        yield "With vLLM:"
        yield _code(
            f"vllm serve {subject.base} --enable-lora --max-lora-rank {subject.lora.rank} "
            "--lora-modules policy=DIR",
            "bash",
        )
    bank = " --bank=DIR/skill_bank.json" if subject.bank.skills else ""
    yield (
        "To play the held-out tasks again, with the skills that it was saved with: `skillrl "
        f"evaluate --checkpoint=DIR{bank}` and the flags of the command above."
    )


# Words ------------------------------------------------------------------------


def _title(config: Config) -> str:
    name = config.env.name.removeprefix("agentgym_")
    return _TITLES.get(name, name)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _code(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
