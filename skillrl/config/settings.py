"""Every setting of a run: one nested frozen dataclass, strict about its input.

The defaults are the paper's (arXiv 2602.08234, table 4 and section 4.1); where the
paper is silent they are the sound choice named in docs/architecture.md. Each field
carries its own bounds, `check` adds the rules that tie fields together. Names of
registered things (environments, teachers, estimators) are checked by their registries
when a run starts, so that this module needs none of the rooms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from skillrl.config import strict
from skillrl.config.strict import option
from skillrl.errors import SkillRLError

MANY = 10_000_000
"""No run has more episodes or updates than that; lists of so many still fit into memory."""

LONG = strict.LONGEST
"""Tokens of a prompt or a response that any model may read."""

A_DAY = 86_400
"""Seconds to wait at most; sockets take no number of any size."""


@dataclasses.dataclass(frozen=True)
class SFTConfig:
    """Cold start: supervised fine-tuning on skill-augmented demonstrations."""

    learning_rate: float = option(1e-4, low=0)
    batch_size: int = option(16, low=1, high=MANY)
    """Examples (single steps of an episode) per optimiser update."""
    epochs: int = option(3, low=1, high=MANY)
    warmup_fraction: float = option(0.03, low=0, high=1)
    weight_decay: float = option(0.0, low=0)
    max_grad_norm: float = option(1.0, above=0)
    num_examples: int = option(7500, low=0)
    """At most this many step examples; 0 means all."""
    max_skipped_updates: int = option(3, low=1, harmless=True)
    """This many updates in a row without a finite gradient end the phase."""


@dataclasses.dataclass(frozen=True)
class RLConfig:
    """GRPO. Counts are in episodes; one iteration plays and learns `batch_size` of them."""

    learning_rate: float = option(1e-6, low=0)
    batch_size: int = option(64, low=1, high=MANY)
    """Episodes per iteration: tasks x group_size."""
    group_size: int = option(8, low=1, high=MANY)
    kl_coeff: float = option(0.01, low=0)
    clip_epsilon: float = option(0.2, above=0)
    invalid_action_penalty: float = option(0.1, low=0)
    max_prompt_length: int = option(6000, low=1, high=LONG)
    """Tokens of a prompt, prefix and suffix together."""
    max_response_length: int = option(1024, low=1, high=LONG)
    training_epochs: int = option(150, low=0, high=MANY)
    """Iterations; 0 stops after the cold start."""
    minibatches: int = option(4, low=1)
    """Optimiser updates per iteration, each over whole groups."""
    weight_decay: float = option(0.01, low=0)
    max_grad_norm: float = option(1.0, above=0)
    clip_epsilon_high: float | None = option(None, above=0)
    """Upper clip range; null means `clip_epsilon`."""
    clip_ratio_c: float | None = option(3.0, above=1)
    """Where an advantage is negative, a ratio above this has no gradient (dual clip); null sets no
    limit."""
    entropy_coeff: float = option(0.0, low=0)
    """Weight of the policy's entropy at each response token, which is added to the objective."""
    advantage: str = option("grpo", filled=True)
    loss_aggregation: str = option(
        "token_mean", choices=("token_mean", "trajectory_mean", "micro_batch_mean")
    )
    loss_micro_batch: int = option(4, low=1)
    """Step samples of a micro-batch, for loss_aggregation=micro_batch_mean alone."""
    kl_estimator: str = option("k3", filled=True)
    """``k3`` has a bounded slope, ``k3_clamped`` none above 10, as released; ``k1`` does not
    pull."""
    reward: str = option("success", choices=("success", "score"))
    temperature: float = option(1.0, above=0)
    """Recorded log-probabilities are those of the full softmax: only 1.0 is accepted."""
    old_logprobs: str = option("sampler", choices=("sampler", "recomputed"))
    warmup_iterations: int = option(0, low=0)
    lr_schedule: str = option("constant", choices=("constant", "linear", "cosine"))
    max_skipped_updates: int = option(3, low=1, harmless=True)
    """This many updates in a row without a finite gradient end the phase after the iteration."""


@dataclasses.dataclass(frozen=True)
class SkillRetrievalConfig:
    """What of the bank enters a prompt."""

    top_k: int = option(6, low=0)
    """Task-specific skills (K of eq. 4)."""
    similarity_threshold: float = option(0.4, low=-1, high=1)
    """Cosine similarity that a task-specific skill must exceed (delta of eq. 4)."""
    general_top_k: int = option(6, low=0)
    mistakes_top_k: int = option(5, low=0)
    order: str = option("similar", filled=True)
    """The rule that fills these budgets: `similar` takes the skills most similar to the task,
    `stored` the first as stored (evolved general ones before the others), which needs no embedder
    and has no threshold; others are registered with `skillrl.skills.register_retrieval`."""
    first_step: bool = option(True)
    """Whether the first prompt of an episode has the skills, too. Without, they stand in front of
    the observation from the second step on and are read again at every step."""


@dataclasses.dataclass(frozen=True)
class EvolutionConfig:
    """When the bank grows from failures, and by how much."""

    validation_interval: int = option(5, low=1)
    """Iterations between two looks at the categories."""
    max_new_skills: int = option(3, low=0)
    evolution_threshold: float = option(0.4, low=0, high=1)
    """A category whose success is below this is shown to the teacher."""
    max_analysis_deep: int = option(10, low=1)
    max_analysis_shallow: int = option(5, low=1)
    enabled: bool = option(True)
    min_episodes: int = option(4, low=1)
    """Fewer episodes of a category than this say nothing about it."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The policy, the teacher and the embedder. Keys are never written or printed."""

    policy_api_base: str = option("http://localhost:8000/v1", url=True)
    policy_model_id: str = option("Qwen/Qwen2.5-7B-Instruct")
    teacher_api_base: str = option("https://api.openai.com/v1", url=True)
    teacher_model_id: str = option("o3", filled=True)
    policy_api_key: str = option("", secret=True)
    teacher_api_key: str = option("", secret=True)
    embedding_api_base: str = option("https://api.openai.com/v1", url=True)
    embedding_model_id: str = option("text-embedding-3-small", filled=True)
    embedding_api_key: str = option("", secret=True)
    policy_path: str = option("", path=True)
    """Hugging Face directory, or ``asset:NAME`` for one that ships with the package."""
    policy: str = option("local", choices=("local", "openai"))
    teacher: str = option("openai", filled=True)
    """``openai``, ``simulated`` or another registered teacher."""
    embedder: str = option("openai", filled=True)
    """``openai``, ``hashing`` or another registered embedder."""
    dtype: str = option("bfloat16", choices=("bfloat16", "float32"))
    """Computation; softmax and log-probabilities are always float32."""
    attention: str = option("xla", choices=("xla", "cudnn", "splash"), harmless=True)
    """What computes attention over many tokens: ``xla`` on any device, or a fused kernel,
    ``cudnn`` on NVIDIA GPUs and ``splash`` on one TPU. Decoding is always by ``xla``."""
    scan_layers: bool = option(True, harmless=True)
    """Whether training loops over the layers of a deep model, which compiles in seconds. Written
    out one by one they move less memory, but take half a minute for each program."""
    param_dtype: str = option("float32", choices=("bfloat16", "float32"))
    remat: str = option("dots", choices=("none", "full", "dots"))
    """What a backward pass computes again: nothing, everything, or all but the projections."""
    freeze: tuple[str, ...] = option(())
    """Parameters that are not trained: shell patterns of their paths, such as ``embed/*``."""
    adapter_path: str = option("", path=True)
    """LoRA adapter in PEFT's format that is merged into the policy when it is loaded."""
    policy_timeout: float = option(120.0, above=0, high=86400, harmless=True)
    """Seconds to wait for the server of the policy, while it sends nothing; four times as long for
    a whole answer. Likewise for teacher and embedder."""
    policy_retries: int = option(4, low=0, high=100, harmless=True)
    """Tries after the first, with pauses that double from half a second to a minute. Likewise."""
    teacher_timeout: float = option(300.0, above=0, high=86400, harmless=True)
    teacher_retries: int = option(5, low=0, high=100, harmless=True)
    teacher_max_tokens: int = option(0, low=0, harmless=True)
    """Longest answer of the teacher, its reasoning included; 0 leaves that to its server."""
    embedding_timeout: float = option(300.0, above=0, high=86400, harmless=True)
    embedding_retries: int = option(5, low=0, high=100, harmless=True)
    embedding_batch_size: int = option(64, low=1, high=2048, harmless=True)
    """Most texts of one request; halved by itself for a server that takes fewer."""


LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Projections that can be adapted, by their names in PEFT."""


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (arXiv 2106.09685). The cold start's is merged into the policy; RL
    trains a new one beside that, which switched off is the reference policy."""

    rank: int = option(0, low=0, high=65536)
    """Of the adapters; 0 trains the parameters themselves."""
    alpha: float = option(32.0, above=0)
    """The adapters' product is scaled by alpha / rank."""
    targets: tuple[str, ...] = option(LORA_TARGETS)
    """Projections that get one."""


@dataclasses.dataclass(frozen=True)
class AlfworldConfig:
    """ALFWorld alone; docs/alfworld.md says more."""

    goals: str = option("template", choices=("template", "human"))
    """The sentence that is the task: the game's own, or the first that a person wrote."""
    engine: str = option("native", choices=("native", "textworld"), harmless=True)
    """``textworld`` plays in the real engine, slowly; a test holds both to the same answers."""


@dataclasses.dataclass(frozen=True)
class WebshopConfig:
    """What WebShop shows and asks for; files are in env.data_dir."""

    goals: str = option("synthetic", choices=("synthetic", "human"))
    """Goals made from the catalogue, as the released code trains on, or written by people."""
    goal_seed: int = option(233, low=0)
    """Of prices, price limits and the order of goals, hence of the splits."""
    split: str = option("products", choices=("products", "skillrl", "original"))
    """How goals are divided: no product of valid_unseen is trained on, or as released (the
    first 500 goals are valid_unseen), or as in the WebShop paper (500 test, 1,000 development)."""
    observation: str = option("text", choices=("text", "text_rich"))
    """Pages on one line, or a line for each piece with buttons and chosen options marked."""
    nouns: str = option("letters", choices=("letters", "spacy"))
    """What finds the nouns of titles in rewards: a fixed rule, or the original's tagger."""
    products: str = option("")
    """Name of the items_shuffle file in env.data_dir; empty takes the only one."""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Question answering with a search engine (``--env=search``)."""

    retriever: str = option("bm25", choices=("bm25", "http"))
    """``bm25`` searches `corpus` here; ``http`` asks the servers of `urls`."""
    corpus: str = option("", path=True)
    """JSONL of {id, contents}; empty means the passages of the generated questions."""
    urls: tuple[str, ...] = option((), url=True, harmless=True)
    """Servers with POST /retrieve; several are dealt out in turn."""
    dialect: str = option("single", choices=("single", "batched"))
    """What these read: ``single`` {"query": q} or, as Search-R1's, ``batched`` {"queries": [q]}."""
    top_k: int = option(3, low=1, high=100)
    """Passages shown per search."""
    datasets: tuple[str, ...] = option(())
    """Of those in env.data_dir; empty means all."""
    timeout: float = option(60.0, above=0, high=A_DAY, harmless=True)
    """Seconds to wait for a server."""
    retries: int = option(9, low=0, high=1000, harmless=True)
    """Tries after the first, with growing pauses (9 are about a minute)."""


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """A live environment server, for environments that play on one."""

    url: str = option("", url=True, harmless=True)
    """Its address; empty takes the environment's usual one (docs/servers.md)."""
    timeout: float = option(30.0, above=0, high=A_DAY, harmless=True)
    """Seconds to wait for an answer; one that comes later counts as none."""
    retries: int = option(6, low=0, high=1000, harmless=True)
    """Fresh sessions on which an episode is replayed before it is given up as errored."""
    backoff: float = option(0.5, low=0, high=A_DAY, harmless=True)
    """Seconds before the first replay; doubles each time, up to 30."""
    num_tasks: int = option(0, low=0, high=1_000_000_000)
    """First so many training tasks; 0 takes all that the server has."""
    action_field: str = option("")
    """OpenEnv: field of an action that takes the text; empty reads it from /schema."""
    text_field: str = option("")
    """OpenEnv: field of an observation that the agent reads; empty looks for the usual ones."""


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """The environment; `name` is looked up in the registry of environments."""

    name: str = option("alfworld", filled=True)
    data_dir: str = option("", path=True)
    """Directory of real games; empty plays generated ones, ``env`` those of ALFWORLD_DATA."""
    max_steps: int = option(50, low=1, high=MANY)
    workers: int = option(0, low=0, high=4096, harmless=True)
    """Environment threads; 0 steps in the main thread. Never changes a result."""
    module: str = option("", path=True)
    """A Python file (``mine.py``) or module (``package.mine``) of yours that is imported first,
    to register the environment; see docs/new_environment.md."""
    alfworld: AlfworldConfig = AlfworldConfig()
    webshop: WebshopConfig = WebshopConfig()
    search: SearchConfig = SearchConfig()
    server: ServerConfig = ServerConfig()


@dataclasses.dataclass(frozen=True)
class AgentConfig:
    """What a prompt shows besides skills and task."""

    history_length: int = option(2, low=0)
    """Recent (observation, action) pairs."""
    action_history: int = option(0, low=0)
    """Earlier actions listed without their observations; admissible ones among them apart."""
    max_observation_tokens: int = option(2048, low=1)
    require_think: bool = option(True)
    """A response without ``<think>`` is an invalid action."""


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """Compiled shapes of sampling: they come from here and from nothing else."""

    slots: int = option(32, low=1, high=65536)
    """Requests that are worked on side by side."""
    members: int = option(1, low=1, high=65536)
    """Slots that share one prefix row."""
    lanes: int = option(1, low=1, high=1024)
    """Grids that the slots are dealt out to: while one decodes, the host plays the others'
    episodes. One reads the weights less often, which is what an accelerator's decoding costs."""
    suffix_buckets: tuple[int, ...] = option((), ladder=True)
    """Padded suffix lengths in tokens; empty builds a ladder up to rl.max_prompt_length. Rollouts
    read a suffix longer than their last in chunks."""
    prefix_buckets: tuple[int, ...] = option((), ladder=True)
    cache_buckets: tuple[int, ...] = option((), ladder=True)
    """Room for a suffix in a slot; empty takes suffix buckets that are twice apart. Requests decode
    together if prefix and room are in the same bucket, so few wide ones fill an accelerator."""
    bucket_growth: float = option(1.25, above=1)
    prefix_cache: int = option(0, low=0, high=MANY)
    """Prefixes kept per bucket; 0 keeps twice the grid's rows, at least its slots and 32."""
    prefill_tokens: int = option(2048, low=1, high=LONG)
    """Suffix tokens that one prefill reads, padding included: several short suffixes, or a chunk of
    a long one. Others decode between two prefills."""
    weights: str = option("policy", choices=("policy", "int8"))
    """What samples: the policy itself, or a copy with int8 weights, which half the bytes of
    bfloat16 are read for. That plays slightly differently, in evaluations too, so RL must
    recompute its log-probabilities (rl.old_logprobs). Adapters stay as they are."""


@dataclasses.dataclass(frozen=True)
class TrainBatchConfig:
    """Compiled shapes of training."""

    tokens: int = option(16384, low=1, high=1_000_000_000)
    """Suffix and response tokens of one micro-batch over all devices, padding included; a row
    per device is always allowed."""
    members: int = option(8, low=1, high=65536)
    """Rows that share one prefix in RL's micro-batches; 1 packs best, more share more."""
    row_buckets: tuple[int, ...] = option((), ladder=True)
    """Padded lengths of suffix and response together; empty builds a ladder. The largest suffix
    with the largest response always has a bucket."""
    response_buckets: tuple[int, ...] = option((), ladder=True)
    """Response tokens that are scored, padded; empty builds a ladder up to
    rl.max_response_length, which always has a bucket."""
    logprob_chunk: int = option(1024, low=0)
    """Response tokens whose scores [tokens, vocabulary] exist at once; 0 means all of them."""


@dataclasses.dataclass(frozen=True)
class CollectConfig:
    """Phase one: the base policy's own episodes."""

    episodes: int = option(256, low=1, high=MANY)
    temperature: float = option(1.0, low=0)
    expert_episodes: int = option(0, low=0, high=MANY)
    """Episodes of the environment's expert added to them (always reported)."""
    expert_slips: float = option(0.0, low=0, high=1)
    """Share of expert steps replaced by a mistake that it then recovers from: its last action once
    more, where that is not admissible. Environments without admissible actions have no slips."""


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Phase two: trajectories to skills."""

    max_trajectories_per_category: int = option(16, low=1)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Held-out tasks; they never feed back."""

    splits: tuple[str, ...] = option(("valid_unseen",))
    final_splits: tuple[str, ...] = option(("valid_seen", "valid_unseen"))
    temperature: float = option(0.0, low=0)
    """0 is greedy, the headline mode of every stage."""
    repeats: int = option(1, low=1, high=MANY)
    max_tasks: int = option(0, low=0)
    """First so many tasks of a split; 0 means all."""
    quick_tasks: int = option(24, low=0)
    """Tasks of the quick look during RL; 0 turns it off."""
    quick_interval: int = option(5, low=1)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """How often the train state is saved, in iterations, and how many are kept."""

    interval: int = option(5, low=1)
    keep: int = option(2, low=1)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices per axis; one axis may be -1: as many as the others leave."""

    data: int = option(1, low=-1, harmless=True)
    """Copies of the model."""
    fsdp: int = option(1, low=-1, harmless=True)
    """Ways in which parameters and optimiser state are split."""
    tensor: int = option(1, low=-1, harmless=True)
    """Ways in which heads, feed-forward and vocabulary are split."""


@dataclasses.dataclass(frozen=True)
class LoggingConfig:
    """What is shown and written while a run goes on."""

    tensorboard: bool = option(True, harmless=True)
    progress: bool = option(True, harmless=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run. `Config()` is the paper's."""

    seed: int = option(0, low=0, high=2**31 - 1)
    sft: SFTConfig = SFTConfig()
    rl: RLConfig = RLConfig()
    skill_retrieval: SkillRetrievalConfig = SkillRetrievalConfig()
    evolution: EvolutionConfig = EvolutionConfig()
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    env: EnvConfig = EnvConfig()
    agent: AgentConfig = AgentConfig()
    rollout: RolloutConfig = RolloutConfig()
    train_batch: TrainBatchConfig = TrainBatchConfig()
    collect: CollectConfig = CollectConfig()
    distill: DistillConfig = DistillConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    mesh: MeshConfig = MeshConfig()
    logging: LoggingConfig = LoggingConfig()

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], base: Config | None = None) -> Config:
        """`base` (default: the paper's) with the values of `mapping` put in, checked.

        Raises:
          SkillRLError: an unknown key, a wrong type, a value out of bounds or two
            values that do not go together; the message names key, value and remedy.
        """
        config = strict.merge(base if base is not None else cls(), mapping)
        check(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, API keys included; `public_dict` is the one to show."""
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
    rl, rollout = config.rl, config.rollout
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
    if rollout.slots % (rollout.members * rollout.lanes):
        raise SkillRLError(
            f"rollout.slots is {rollout.slots}, which is not a multiple of rollout.members "
            f"({rollout.members}) x rollout.lanes ({rollout.lanes}): each lane's grid has whole "
            "rows of members, a row per prefix."
        )
    if rollout.weights == "int8" and rl.old_logprobs != "recomputed":
        raise SkillRLError(
            f"rollout.weights is int8, but rl.old_logprobs is {rl.old_logprobs}: the int8 copy "
            "that samples is not the policy that is trained, so its log-probabilities cannot stand "
            "for that one's. Use rl.old_logprobs=recomputed, or rollout.weights=policy."
        )
    if rollout.weights == "int8" and config.model.policy == "openai":
        raise SkillRLError(
            "rollout.weights is int8, but model.policy is openai: the server's weights are its "
            "own. Use rollout.weights=policy, or model.policy=local."
        )
    lora = config.lora
    unknown = [target for target in lora.targets if target not in LORA_TARGETS]
    if unknown or not lora.targets or len(set(lora.targets)) < len(lora.targets):
        raise SkillRLError(
            f"lora.targets is {list(lora.targets)}: name some of {', '.join(LORA_TARGETS)}, each "
            "once."
        )
    if lora.rank and config.model.freeze:
        raise SkillRLError(
            f"lora.rank is {lora.rank}, so an adapter alone is trained, and model.freeze="
            f"{list(config.model.freeze)} has no meaning beside it. Leave one of them out."
        )
    sizes = (config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    if 0 in sizes or sizes.count(-1) > 1:
        raise SkillRLError(
            f"mesh (data, fsdp, tensor) is {sizes}: each size is 1 or more, and at most one is -1 "
            "(as many devices as the others leave)."
        )
    for name in ("splits", "final_splits"):
        splits = getattr(config.evaluation, name)
        if len(set(splits)) < len(splits) or "" in splits:
            raise SkillRLError(
                f"evaluation.{name} is {list(splits)}: name each split once, and none empty."
            )


def public_dict(config: Config) -> dict[str, Any]:
    """`config` as nested plain values with every API key removed: safe to print and keep."""
    return strict.plain(config, secrets=False)


def diff(old: Config, new: Config) -> list[str]:
    """What may not change between the sessions of one run, one line per changed field.

    Devices (mesh, model.attention and model.scan_layers), logging, environment threads and
    max_skipped_updates may change, and rl.training_epochs may grow. API keys are not compared.
    """
    lines = []
    for path, spec, before, after in strict.pairs(old, new):
        if before == after or spec["secret"] or spec["harmless"]:
            continue
        if path == "rl.training_epochs":
            if after < before:
                lines.append(f"{path} was {before}, now {after} (it may only grow)")
            continue
        lines.append(f"{path} was {strict.show(before)}, now {strict.show(after)}")
    return lines
