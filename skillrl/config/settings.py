"""Declares every setting of a run: one nested frozen dataclass, strict about its input.

The sections are in `skillrl.config.sections` and `skillrl.config.environment`, the rules that tie
their fields together in `skillrl.config.rules`. Their names can be imported from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from skillrl.config import rules, strict
from skillrl.config.environment import (
    AlfworldConfig,
    EnvConfig,
    SearchConfig,
    ServerConfig,
    WebshopConfig,
)
from skillrl.config.sections import (
    LORA_TARGETS,
    AgentConfig,
    CheckpointConfig,
    CollectConfig,
    DistillConfig,
    EvaluationConfig,
    EvolutionConfig,
    LoggingConfig,
    LoraConfig,
    MeshConfig,
    ModelConfig,
    RLConfig,
    RolloutConfig,
    SFTConfig,
    SkillRetrievalConfig,
    TrainBatchConfig,
)
from skillrl.config.strict import setting
from skillrl.io.numbers import MAX_INT

__all__ = [
    "LORA_TARGETS",
    "AgentConfig",
    "AlfworldConfig",
    "CheckpointConfig",
    "CollectConfig",
    "Config",
    "DistillConfig",
    "EnvConfig",
    "EvaluationConfig",
    "EvolutionConfig",
    "LoggingConfig",
    "LoraConfig",
    "MeshConfig",
    "ModelConfig",
    "RLConfig",
    "RolloutConfig",
    "SFTConfig",
    "SearchConfig",
    "ServerConfig",
    "SkillRetrievalConfig",
    "TrainBatchConfig",
    "WebshopConfig",
    "check",
    "diff",
    "public_dict",
    "resumable_settings",
    "resumable_summary",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Holds all settings of a run; `Config()` has the paper's values."""

    seed: int = setting(0, low=0, high=MAX_INT)
    modules: tuple[str, ...] = setting(())
    """Python files (``mine.py``) or modules of yours that are imported first, to register
    estimators, losses, teachers, embedders, retrieval rules or environments."""
    sft: SFTConfig = dataclasses.field(default_factory=SFTConfig)
    rl: RLConfig = dataclasses.field(default_factory=RLConfig)
    skill_retrieval: SkillRetrievalConfig = dataclasses.field(default_factory=SkillRetrievalConfig)
    evolution: EvolutionConfig = dataclasses.field(default_factory=EvolutionConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
    env: EnvConfig = dataclasses.field(default_factory=EnvConfig)
    agent: AgentConfig = dataclasses.field(default_factory=AgentConfig)
    rollout: RolloutConfig = dataclasses.field(default_factory=RolloutConfig)
    train_batch: TrainBatchConfig = dataclasses.field(default_factory=TrainBatchConfig)
    collect: CollectConfig = dataclasses.field(default_factory=CollectConfig)
    distill: DistillConfig = dataclasses.field(default_factory=DistillConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    logging: LoggingConfig = dataclasses.field(default_factory=LoggingConfig)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], base: Config | None = None) -> Config:
        """Puts the values of `mapping` into `base` (default: the paper's), and checks the result.

        Raises:
          SkillRLError: an unknown key, a wrong type, a value out of bounds or two
            values that do not go together; the message names key, value and remedy.
        """
        config = strict.merge(base if base is not None else cls(), mapping)
        check(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Returns nested plain values, API keys included; `public_dict` is the one to show."""
        return strict.plain(self)


# Fields that people look for and that are deliberately not there.
strict.explain(
    {
        "rl.top_k": "RL samples from the full softmax, whose log-probabilities it trains on; "
        "remove the key (for retrieved skills it is skill_retrieval.top_k)",
        "rl.top_p": "RL samples from the full softmax, whose log-probabilities it trains on; "
        "remove the key",
    }
)


def check(config: Config) -> None:
    """Applies the rules that tie fields together.

    Raises:
      SkillRLError: names the fields, their values and what would fit.
    """
    rules.check_rl(config.rl)
    rules.check_rollout(config.rollout, config.rl, config.model)
    rules.check_engine(config.rollout, config.model)
    rules.check_lora(config.lora, config.model)
    rules.check_mesh(config.mesh)
    rules.check_evolution(config.evolution)
    rules.check_evaluation(config.evaluation)


def public_dict(config: Config) -> dict[str, Any]:
    """Returns `config` as nested plain values without any API key: safe to print and keep."""
    return strict.plain(config, secrets=False)


def diff(old: Config, new: Config) -> list[str]:
    """Lists the changes from `old` to `new` that a resumed run refuses, one line per field.

    Fields marked as resumable may change (`resumable_settings`); API keys are not compared.
    """
    lines = []
    for path, spec, before, after in strict.pairs(old, new):
        if before == after or spec["secret"] or spec["resumable"] is True:
            continue
        line = f"{path} was {strict.show(before)}, now {strict.show(after)}"
        if spec["resumable"] == strict.UPWARDS:
            if after > before:
                continue
            line += " (it may only grow)"
        lines.append(line)
    return lines


def resumable_settings() -> list[str]:
    """Lists the settings that may change when a run is resumed, by the marks of their fields.

    A section of which every field may change is one entry, such as ``mesh.*``; a field that may
    only grow has `` (upwards)`` behind its name.
    """
    default = Config()
    fields = [(path, spec["resumable"]) for path, spec, *_ in strict.pairs(default, default)]
    fixed = {path.rpartition(".")[0] for path, mark in fields if mark is not True}
    names = []
    for path, mark in fields:
        section = path.rpartition(".")[0]
        if mark:
            growing = " (upwards)" if mark == strict.UPWARDS else ""
            names.append(path + growing if section in fixed else f"{section}.*")
    return list(dict.fromkeys(names))


def resumable_summary() -> str:
    """Says `resumable_settings` in one line, the fields of a section in braces."""
    sections: dict[str, list[str]] = {}
    for name in resumable_settings():
        section = name.partition(" ")[0].rpartition(".")[0]
        sections.setdefault(section, []).append(name.removeprefix(f"{section}."))
    return ", ".join(
        f"{section}.{fields[0]}" if len(fields) == 1 else f"{section}.{{{','.join(fields)}}}"
        for section, fields in sections.items()
    )
