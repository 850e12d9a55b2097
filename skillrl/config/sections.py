"""Declares the sections of the settings but those of environments, each a frozen dataclass.

The defaults are the paper's (arXiv 2602.08234, table 4 and section 4.1); where the paper is
silent they are the sound choice named in docs/architecture.md. Each field carries its own bounds
and says whether it may change when a run is resumed; `skillrl.config.rules` ties fields together.
Names of registered things (teachers, estimators) are checked by their registries when a run
starts, so that this module needs none of the rooms.
"""

from __future__ import annotations

import dataclasses

from skillrl.config.strict import MAX_COUNT, MAX_SECONDS, MAX_TOKENS, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Says how the cold start fine-tunes the policy on skill-augmented demonstrations."""

    learning_rate: float = setting(1e-4, low=0)
    batch_size: int = setting(16, low=1, high=MAX_COUNT)
    """Examples (single steps of an episode) per optimiser update."""
    epochs: int = setting(3, low=0, high=MAX_COUNT)
    """Passes over the examples; 0 leaves the base policy as it is, so that RL has no cold start."""
    warmup_fraction: float = setting(0.03, low=0, high=1)
    weight_decay: float = setting(0.0, low=0)
    max_grad_norm: float = setting(1.0, above=0)
    num_examples: int = setting(7500, low=0)
    """At most this many step examples; 0 means all."""
    rewrite_expert: bool = setting(False)
    """The teacher writes thoughts for the expert's successes too, which then use the skills of the
    prompt; otherwise they keep what the expert thought, who has read none."""
    max_skipped_updates: int = setting(3, low=1, resumable=True)
    """This many updates in a row without a finite gradient end the phase."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RLConfig:
    """Says how GRPO learns: one iteration plays `batch_size` episodes and learns from them."""

    learning_rate: float = setting(1e-6, low=0)
    batch_size: int = setting(64, low=1, high=MAX_COUNT)
    """Episodes per iteration: tasks x group_size."""
    group_size: int = setting(8, low=1, high=MAX_COUNT)
    bare_members: int = setting(0, low=0, high=MAX_COUNT)
    """Members of each group, its last ones, that play without skills. What the others win more than
    these is logged as `skill_gain`; all are trained on the prompt that they had."""
    kl_coeff: float = setting(0.01, low=0)
    clip_epsilon: float = setting(0.2, above=0)
    invalid_action_penalty: float = setting(0.1, low=0)
    max_prompt_length: int = setting(6000, low=1, high=MAX_TOKENS)
    """Tokens of a prompt, prefix and suffix together."""
    max_response_length: int = setting(1024, low=1, high=MAX_TOKENS)
    training_epochs: int = setting(150, low=0, high=MAX_COUNT, resumable="upwards")
    """Iterations; 0 stops after the cold start."""
    minibatches: int = setting(4, low=1)
    """Optimiser updates per iteration, each over whole groups."""
    weight_decay: float = setting(0.01, low=0)
    max_grad_norm: float = setting(1.0, above=0)
    clip_epsilon_high: float | None = setting(None, above=0)
    """Upper clip range; null means `clip_epsilon`."""
    clip_ratio_c: float | None = setting(3.0, above=1)
    """Where an advantage is negative, a ratio above this has no gradient (dual clip); null sets no
    limit."""
    entropy_coeff: float = setting(0.0, low=0)
    """Weight of the policy's entropy at each response token, which is added to the objective."""
    advantage: str = setting("grpo", nonempty=True)
    policy_loss: str = setting("clipped", nonempty=True)
    """The objective of a token: `clipped` is PPO's; others are registered with
    `skillrl.training.losses.register_policy_loss`."""
    loss_aggregation: str = setting(
        "token_mean", choices=("token_mean", "trajectory_mean", "micro_batch_mean")
    )
    loss_micro_batch: int = setting(4, low=1)
    """Step samples of a micro-batch, for loss_aggregation=micro_batch_mean alone."""
    kl_estimator: str = setting("k3", nonempty=True)
    """``k3`` has a bounded slope, ``k3_clamped`` none above 10, as released; ``k1`` does not
    pull."""
    reward: str = setting("success", choices=("success", "score"))
    zero_variance_filter: bool = setting(False)
    """Leaves groups out of the update in which every advantage is 0 but for the penalty of invalid
    actions: with GRPO's, those whose episodes all ended alike. They would pull towards the
    reference policy and away from invalid actions, and cost as much as the others (SkyRL's name;
    DAPO, arXiv 2503.14476, section 3.2, plays others in their place)."""
    temperature: float = setting(1.0, above=0)
    """Recorded log-probabilities are those of the full softmax: only 1.0 is accepted."""
    old_logprobs: str = setting("sampler", choices=("sampler", "recomputed"))
    importance: str = setting("token", nonempty=True)
    """How much a token counts that an older policy sampled, where rollout.max_staleness is above 0:
    `token` by its ratio of the two policies, at most 2, `sequence` by that of its whole response,
    at most 2, `icepop` by its ratio, and not at all outside [0.5, 5], `masked` by that of its
    response, and not at all outside [0.5, 2]; others are registered with
    `skillrl.training.importance.register_importance`."""
    warmup_iterations: int = setting(0, low=0)
    lr_schedule: str = setting("constant", choices=("constant", "linear", "cosine"))
    max_skipped_updates: int = setting(3, low=1, resumable=True)
    """This many updates in a row without a finite gradient end the phase after the iteration."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkillRetrievalConfig:
    """Says which skills of the bank enter a prompt."""

    top_k: int = setting(6, low=0)
    """Task-specific skills (K of eq. 4)."""
    similarity_threshold: float = setting(0.4, low=-1, high=1)
    """Cosine similarity that a task-specific skill must exceed (delta of eq. 4)."""
    general_top_k: int = setting(6, low=0)
    mistakes_top_k: int = setting(5, low=0)
    max_tokens: int = setting(0, low=0, high=MAX_TOKENS)
    """Tokens of a prompt that skills may take; those of the lowest utility are left out first. 0
    sets no limit."""
    order: str = setting("similar", nonempty=True)
    """The rule that fills these budgets: `similar` takes the skills most similar to the task,
    `useful` likewise, but those first that are measured to help, and those last that hurt,
    `stored` the first as stored (evolved general ones before the others), which needs no embedder
    and has no threshold, `paper` does so in the category that the released code's keywords find in
    the goal, `flat` the most similar of all, of whatever category and kind, under one budget as
    large as the three together; others are registered with `skillrl.skills.register_retrieval`."""
    content: str = setting("skills", choices=("skills", "neutral", "none"))
    """What prompts show of what was retrieved: the skills, in place of each a text of its length
    about nothing (`skillrl.skills.neutral`), or nothing at all. Controls want the last two."""
    first_step: bool = setting(True)
    """Whether the first prompt of an episode has the skills, too. Without, they stand in front of
    the observation from the second step on and are read again at every step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """Says when the skill bank grows from failures, and by how much."""

    validation_interval: int = setting(5, low=1)
    """Iterations between two looks at the categories."""
    max_new_skills: int = setting(3, low=0)
    """Most additions and refinements of one event, and most merges and retirements."""
    max_skills: int = setting(0, low=0, high=MAX_COUNT)
    """Skills that the bank keeps after an event, those of the highest utility; 0 sets no limit, and
    the paper has none."""
    evolution_threshold: float = setting(0.4, low=0, high=1)
    """A category whose success is below this is shown to the teacher."""
    max_analysis_deep: int = setting(10, low=1)
    max_analysis_shallow: int = setting(5, low=1)
    enabled: bool = setting(True)
    min_episodes: int = setting(4, low=1)
    """Fewer episodes of a category than this say nothing about it."""
    exam_share: float = setting(0.0, low=0, high=1)
    """Episodes in which skills are examined, as a share of the training episodes since the last
    look: training tasks are played with and without a skill, and those that hurt are retired; 0
    examines none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Chooses policy, teacher and embedder. Keys are never written or printed."""

    policy_api_base: str = setting("http://localhost:8000/v1", url=True)
    policy_model_id: str = setting("Qwen/Qwen2.5-7B-Instruct")
    teacher_api_base: str = setting("https://api.openai.com/v1", url=True)
    teacher_model_id: str = setting("o3", nonempty=True)
    policy_api_key: str = setting("", secret=True)
    teacher_api_key: str = setting("", secret=True)
    embedding_api_base: str = setting("https://api.openai.com/v1", url=True)
    embedding_model_id: str = setting("text-embedding-3-small", nonempty=True)
    embedding_api_key: str = setting("", secret=True)
    policy_path: str = setting("", path=True)
    """Hugging Face directory, or ``asset:NAME`` for one that ships with the package."""
    policy: str = setting("local", choices=("local", "openai"))
    teacher: str = setting("openai", nonempty=True)
    """``openai``, ``simulated`` or another registered teacher."""
    embedder: str = setting("openai", nonempty=True)
    """``openai``, ``hashing`` or another registered embedder."""
    dtype: str = setting("bfloat16", choices=("bfloat16", "float32"))
    """What the model computes in; softmax and log-probabilities are always float32."""
    attention: str = setting("xla", choices=("xla", "cudnn", "splash"), resumable=True)
    """What computes attention over many tokens: ``xla`` on any device, or a fused kernel,
    ``cudnn`` on NVIDIA GPUs and ``splash`` on one TPU. Decoding is always by ``xla``."""
    scan_layers: bool = setting(True, resumable=True)
    """Whether training loops over the layers of a deep model, which compiles in seconds. Written
    out one by one they move less memory, but take half a minute for each program."""
    param_dtype: str = setting("float32", choices=("bfloat16", "float32"))
    remat: str = setting("dots", choices=("none", "full", "dots"))
    """What a backward pass computes again: nothing, everything, or all but the projections."""
    freeze: tuple[str, ...] = setting(())
    """Parameters that are not trained: shell patterns of their paths, such as ``embed/*``."""
    adapter_path: str = setting("", path=True)
    """LoRA adapter in PEFT's format that is merged into the policy when it is loaded."""
    policy_timeout: float = setting(120.0, above=0, high=MAX_SECONDS, resumable=True)
    """Seconds to wait for the server of the policy, while it sends nothing; four times as long for
    a whole answer. The timeouts of teacher and embedder mean the same."""
    policy_retries: int = setting(4, low=0, high=100, resumable=True)
    """Tries after the first, with pauses that double from half a second to a minute. The
    retries of teacher and embedder mean the same."""
    teacher_timeout: float = setting(300.0, above=0, high=MAX_SECONDS, resumable=True)
    teacher_retries: int = setting(5, low=0, high=100, resumable=True)
    teacher_max_tokens: int = setting(0, low=0, resumable=True)
    """Longest answer of the teacher, its reasoning included; 0 leaves that to its server."""
    embedding_timeout: float = setting(300.0, above=0, high=MAX_SECONDS, resumable=True)
    embedding_retries: int = setting(5, low=0, high=100, resumable=True)
    embedding_batch_size: int = setting(64, low=1, high=2048, resumable=True)
    """Most texts of one request; halved by itself for a server that takes fewer."""


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Projections that can be adapted, by their names in PEFT."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Says which low-rank adapters are trained (arXiv 2106.09685), if any.

    The cold start's is merged into the policy. RL trains a new one beside that; with the new one
    switched off, the policy is the reference policy.
    """

    rank: int = setting(0, low=0, high=65536)
    """Rank of the adapters; 0 trains the parameters themselves."""
    alpha: float = setting(32.0, above=0)
    """The adapters' product is scaled by alpha / rank."""
    targets: tuple[str, ...] = setting(LORA_TARGETS)
    """Projections that get an adapter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Says what a prompt shows besides skills and task."""

    history_length: int = setting(2, low=0)
    """Recent (observation, action) pairs."""
    action_history: int = setting(0, low=0)
    """Earlier actions listed without their observations; admissible ones among them apart."""
    max_observation_tokens: int = setting(2048, low=1)
    require_think: bool = setting(True)
    """A response without ``<think>`` is an invalid action."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """Says who samples; where that is this machine, fixes the sizes that sampling is compiled for,
    and nothing else does."""

    slots: int = setting(32, low=1, high=65536)
    """Requests that are worked on side by side."""
    members: int = setting(1, low=1, high=65536)
    """Group members: slots that share one prefix row."""
    lanes: int = setting(1, low=1, high=1024)
    """Decode workers that the slots are dealt out to: while one decodes, the host plays the others'
    episodes. One reads the weights less often, which is what an accelerator's decoding costs."""
    suffix_buckets: tuple[int, ...] = setting((), increasing=True)
    """Padded suffix lengths in tokens; empty builds buckets up to rl.max_prompt_length. Rollouts
    read a suffix longer than their last in chunks."""
    prefix_buckets: tuple[int, ...] = setting((), increasing=True)
    cache_buckets: tuple[int, ...] = setting((), increasing=True)
    """Room for a suffix in a slot; empty takes suffix buckets that are twice apart. Requests decode
    together if prefix and room are in the same bucket, so few wide ones fill an accelerator."""
    bucket_growth: float = setting(1.25, above=1)
    prefix_cache: int = setting(0, low=0, high=MAX_COUNT)
    """Prefixes kept per bucket; 0 keeps twice as many as a decode state has rows, and at least as
    many as it has slots, or 32."""
    prefill_tokens: int = setting(2048, low=1, high=MAX_TOKENS)
    """Suffix tokens that one prefill reads, padding included: several short suffixes, or a chunk of
    a long one. Others decode between two prefills."""
    weights: str = setting("policy", choices=("policy", "int8"))
    """What samples: the policy itself, or a copy with int8 weights, which half the bytes of
    bfloat16 are read for. That plays slightly differently, in evaluations too, so RL must
    recompute its log-probabilities (rl.old_logprobs). Adapters stay as they are."""
    engine: str = setting("local", choices=("local", "vllm", "sglang", "openai"))
    """What samples: these devices, or a server that is given every new policy: vLLM, SGLang, or
    another that takes token ids on /v1/completions and LoRA adapters (docs/pods.md). slots is then
    how many requests are under way at once, and the sizes below it mean nothing."""
    api_base: str = setting("http://localhost:8000", url=True, resumable=True)
    """Address of that server, without /v1. Key, timeout and retries are model.policy_*."""
    served_model: str = setting("policy", nonempty=True, resumable=True)
    """What that server calls its model (--served-model-name)."""
    weights_dir: str = setting("", path=True, resumable=True)
    """Where policies are put for that server to read, by the same path on its machine, each run's
    into a directory of its own; empty takes rl/published of the run directory."""
    max_gap: float = setting(0.1, above=0, resumable=True)
    """Largest difference, in nats and on average over a few tokens, between log-probabilities of
    that server and ours. Above it the server does not have our policy, and the run ends."""
    patience: float = setting(900.0, low=0, high=MAX_SECONDS, resumable=True)
    """Seconds that that server may be gone before the run ends."""
    max_staleness: int = setting(0, low=0, high=64)
    """How many iterations the policy that plays may be behind the one that learns. Above 0 that
    server plays the next iterations meanwhile, and rl.importance corrects for it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainBatchConfig:
    """Fixes the sizes that training is compiled for."""

    tokens: int = setting(16384, low=1, high=1_000_000_000)
    """Suffix and response tokens of one micro-batch over all devices, padding included; a row
    per device is always allowed."""
    members: int = setting(8, low=1, high=65536)
    """Samples that share one prefix row in a block, in RL; 1 packs best, more share more."""
    row_buckets: tuple[int, ...] = setting((), increasing=True)
    """Padded lengths of suffix and response together; empty builds buckets. The largest suffix
    with the largest response always has a bucket."""
    response_buckets: tuple[int, ...] = setting((), increasing=True)
    """Response tokens that are scored, padded; empty builds buckets up to
    rl.max_response_length, which always has a bucket."""
    logprob_chunk: int = setting(1024, low=0)
    """Response tokens whose scores [tokens, vocabulary] exist at once; 0 means all of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Says how many episodes the base policy plays of its own, which is phase one."""

    episodes: int = setting(256, low=1, high=MAX_COUNT)
    temperature: float = setting(1.0, low=0)
    expert_episodes: int = setting(0, low=0, high=MAX_COUNT)
    """Episodes of the environment's expert added to them (always reported)."""
    expert_slips: float = setting(0.0, low=0, high=1)
    """Share of expert steps replaced by a mistake that it then recovers from: its last action once
    more, where that is not admissible. Environments without admissible actions have no slips."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Says how the teacher distils trajectories into skills, which is phase two."""

    max_trajectories_per_category: int = setting(16, low=1)
    general_skills: int = setting(12, low=1)
    """Most skills that the teacher writes for tasks of every category."""
    max_request_tokens: int = setting(0, low=0, high=MAX_TOKENS)
    """Budget of a request that shows the teacher trajectories, in evolution too, by four characters
    to a token; 0 sets none. Long observations lose their middle, never the last three steps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Says how the policy is evaluated on held-out tasks, which never feed back."""

    splits: tuple[str, ...] = setting(("valid_unseen",))
    final_splits: tuple[str, ...] = setting(("valid_seen", "valid_unseen"))
    temperature: float = setting(0.0, low=0)
    """0 is greedy, the headline mode of every stage."""
    repeats: int = setting(1, low=1, high=MAX_COUNT)
    max_tasks: int = setting(0, low=0)
    """How many tasks of a split are played, counted from its first; 0 means all."""
    quick_tasks: int = setting(24, low=0)
    """Tasks of the periodic evaluation during RL; 0 turns it off."""
    quick_interval: int = setting(5, low=1)
    protocol: str = setting("")
    """A published protocol that this evaluation follows (`skillrl.evaluation.protocol`): what
    departs from it, in settings or in the games, is warned of. Empty for none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Says how often the train state is saved, in iterations, and which are kept."""

    interval: int = setting(5, low=1)
    keep: int = setting(2, low=1)
    """How many of the latest stay."""
    keep_every: int = setting(0, low=0, resumable=True)
    """Those of every so many iterations stay too; 0 for none."""
    keep_best: int = setting(0, low=0, resumable=True)
    """How many of those with the highest success in training stay too (RL)."""
    asynchronous: bool = setting(True, resumable=True)
    """Whether training goes on while a checkpoint is written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Lays devices out along three axes; one size may be -1: as many as the others leave."""

    data: int = setting(1, low=-1, resumable=True)
    """Copies of the model."""
    fsdp: int = setting(1, low=-1, resumable=True)
    """Ways in which parameters and optimiser state are split."""
    tensor: int = setting(1, low=-1, resumable=True)
    """Ways in which heads, feed-forward and vocabulary are split."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """Says what is shown and written while a run goes on."""

    tensorboard: bool = setting(True, resumable=True)
    progress: bool = setting(True, resumable=True)
    stop_on_alarm: bool = setting(False, resumable=True)
    """An alarm (signs of collapse) ends the phase, RL after a checkpoint, with exit status 3."""
