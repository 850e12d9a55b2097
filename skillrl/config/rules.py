"""Checks the rules that tie settings together; a field's own bounds stand where it is declared."""

from __future__ import annotations

from skillrl.config.sections import (
    LORA_TARGETS,
    EvaluationConfig,
    EvolutionConfig,
    LoraConfig,
    MeshConfig,
    ModelConfig,
    RLConfig,
    RolloutConfig,
)
from skillrl.errors import SkillRLError


def check_rl(rl: RLConfig) -> None:
    """Refuses counts of episodes, clip ranges and schedules that contradict each other.

    Raises:
      SkillRLError: two values do not go together; says what would fit.
    """
    if rl.batch_size % rl.group_size:
        fit = max(1, (rl.batch_size + rl.group_size // 2) // rl.group_size) * rl.group_size
        raise SkillRLError(
            f"rl.batch_size is {rl.batch_size}, which is not a multiple of rl.group_size "
            f"({rl.group_size}): an iteration plays whole groups. Use {fit}, for example."
        )
    if rl.group_size == 1 and rl.advantage == "grpo":
        raise SkillRLError(
            "rl.group_size is 1: rl.advantage=grpo compares the episodes of a group, so alone "
            "every advantage would be 0. Use 2 or more."
        )
    if rl.bare_members >= rl.group_size:
        raise SkillRLError(
            f"rl.bare_members is {rl.bare_members}, but a group has {rl.group_size} members "
            "(rl.group_size): none would be left to play with skills. Use at most "
            f"{rl.group_size - 1}, or leave the bank empty."
        )
    high = rl.clip_epsilon_high or rl.clip_epsilon
    if rl.clip_ratio_c is not None and rl.clip_ratio_c <= 1 + high:
        raise SkillRLError(
            f"rl.clip_ratio_c is {rl.clip_ratio_c:g}, which is not above 1 + the upper clip range "
            f"({1 + high:g}): it limits ratios that the clip leaves alone. Use 3, or null for no "
            "limit."
        )
    groups = rl.batch_size // rl.group_size
    if rl.minibatches > groups:
        raise SkillRLError(
            f"rl.minibatches is {rl.minibatches}, but an iteration has only {groups} groups "
            f"(rl.batch_size / rl.group_size) and a minibatch holds whole ones. "
            f"Use at most {groups}."
        )
    if rl.temperature != 1.0:
        raise SkillRLError(
            f"rl.temperature is {rl.temperature}: RL trains on the log-probabilities of the full "
            "softmax at temperature 1, so it must sample there. Use 1.0 (evaluation.temperature "
            "and collect.temperature are free)."
        )
    if rl.lr_schedule != "constant" and 0 < rl.training_epochs <= rl.warmup_iterations:
        raise SkillRLError(
            f"rl.warmup_iterations is {rl.warmup_iterations}, but rl.training_epochs is "
            f"{rl.training_epochs}: with rl.lr_schedule={rl.lr_schedule} nothing would be left to "
            f"decay over. Use at most {rl.training_epochs - 1}, or rl.lr_schedule=constant."
        )


def check_rollout(rollout: RolloutConfig, rl: RLConfig, model: ModelConfig) -> None:
    """Refuses slots that cannot be dealt out evenly, and int8 sampling where it cannot be used.

    Raises:
      SkillRLError: two values do not go together; says what would fit.
    """
    if rollout.slots % (rollout.members * rollout.lanes):
        raise SkillRLError(
            f"rollout.slots is {rollout.slots}, which is not a multiple of rollout.members "
            f"({rollout.members}) x rollout.lanes ({rollout.lanes}): each decode worker has "
            "whole prefix rows of rollout.members slots."
        )
    if rollout.weights == "int8" and rl.old_logprobs != "recomputed":
        raise SkillRLError(
            f"rollout.weights is int8, but rl.old_logprobs is {rl.old_logprobs}: the int8 copy "
            "that samples is not the policy that is trained, so its log-probabilities cannot stand "
            "for that one's. Use rl.old_logprobs=recomputed, or rollout.weights=policy."
        )
    if rollout.weights == "int8" and model.policy == "openai":
        raise SkillRLError(
            "rollout.weights is int8, but model.policy is openai: the server's weights are its "
            "own. Use rollout.weights=policy, or model.policy=local."
        )


def check_engine(rollout: RolloutConfig, model: ModelConfig) -> None:
    """Refuses a rollout engine that has nothing to serve, and running ahead where it is no use.

    Raises:
      SkillRLError: two values do not go together; says what would fit.
    """
    if rollout.engine == "local":
        if rollout.max_staleness:
            raise SkillRLError(
                f"rollout.max_staleness is {rollout.max_staleness}, but rollout.engine is local: "
                "these devices cannot play while they learn. Use rollout.max_staleness=0, or a "
                "server (rollout.engine=vllm or sglang)."
            )
        return
    if model.policy == "openai":
        raise SkillRLError(
            f"rollout.engine is {rollout.engine}, but model.policy is openai: such a policy stays "
            "on its server as it is, and rollout.engine serves one of ours. Use "
            "model.policy=local with model.policy_path, or rollout.engine=local."
        )
    if rollout.weights == "int8":
        raise SkillRLError(
            f"rollout.weights is int8, but rollout.engine is {rollout.engine}, which reads the "
            "policy as it is exported. Use rollout.weights=policy."
        )


def check_evolution(evolution: EvolutionConfig) -> None:
    """Refuses examinations that would never be held.

    Raises:
      SkillRLError: two values do not go together; says what would fit.
    """
    if evolution.exam_share and not evolution.enabled:
        raise SkillRLError(
            f"evolution.exam_share is {evolution.exam_share:g}, but evolution.enabled is false: "
            "skills are examined where the bank evolves. Use evolution.exam_share=0, or "
            "evolution.enabled=true (with evolution.max_new_skills=0 the teacher adds nothing)."
        )


def check_lora(lora: LoraConfig, model: ModelConfig) -> None:
    """Refuses adapter targets that do not exist, and an adapter beside frozen parameters.

    Raises:
      SkillRLError: two values do not go together; says what would fit.
    """
    unknown = [target for target in lora.targets if target not in LORA_TARGETS]
    if unknown or not lora.targets or len(set(lora.targets)) < len(lora.targets):
        raise SkillRLError(
            f"lora.targets is {list(lora.targets)}: name some of {', '.join(LORA_TARGETS)}, each "
            "once."
        )
    if lora.rank and model.freeze:
        raise SkillRLError(
            f"lora.rank is {lora.rank}, so an adapter alone is trained, and model.freeze="
            f"{list(model.freeze)} has no meaning beside it. Leave one of them out."
        )


def check_mesh(mesh: MeshConfig) -> None:
    """Refuses sizes of the mesh that do not say how many devices each axis has.

    Raises:
      SkillRLError: two values do not go together; says what would fit.
    """
    sizes = (mesh.data, mesh.fsdp, mesh.tensor)
    if 0 in sizes or sizes.count(-1) > 1:
        raise SkillRLError(
            f"mesh (data, fsdp, tensor) is {sizes}: each size is 1 or more, and at most one is -1 "
            "(as many devices as the others leave)."
        )


def check_evaluation(evaluation: EvaluationConfig) -> None:
    """Refuses splits that are named twice or not at all.

    Raises:
      SkillRLError: two values do not go together; says what would fit.
    """
    for name in ("splits", "final_splits"):
        splits = getattr(evaluation, name)
        if len(set(splits)) < len(splits) or "" in splits:
            raise SkillRLError(
                f"evaluation.{name} is {list(splits)}: name each split once, and none empty."
            )
