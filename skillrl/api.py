"""Offers what `import skillrl` has: the parts of a run as plain functions, and whole runs.

Functions here take and return the records that everything else works with (`Task`, `Trajectory`,
`SkillBank`, `Policy`), so that any of them can be replaced by one's own. Settings that are not
given are those of ``--mock`` for the environment at hand (`default_config`). The pieces below are
public too: the pure losses and estimators in `skillrl.training`, the jitted updates in
`skillrl.training.update`, rollout engines in `skillrl.inference`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrl import extensions
from skillrl.config import presets
from skillrl.config.settings import Config, public_dict
from skillrl.envs import Suite
from skillrl.envs import make_suite as _make_suite
from skillrl.errors import SkillRLError
from skillrl.io.files import read_sealed
from skillrl.io.text import printable
from skillrl.parallel import processes
from skillrl.preflight import static_checks
from skillrl.types import Task, Trajectory

if TYPE_CHECKING:
    import jax

    from skillrl.models.policy import Policy
    from skillrl.rollouts.player import Player
    from skillrl.skills.bank import SkillBank
    from skillrl.skills.evolve import EvolutionEvent
    from skillrl.teacher.base import Embedder, Teacher


def make_suite(name: str, config: Config | None = None) -> Suite:
    """Makes the environment `name`: its tasks in fixed order, and handles that play them.

    Args:
      name: ``alfworld``, ``webshop``, ``search``, or one that you registered.
      config: its settings are in ``config.env``; by default those of ``--mock``.

    Raises:
      SkillRLError: there is no such environment, or its data cannot be read.
    """
    return _make_suite(name, settings_for(name, config).env)


@functools.cache
def default_config(env: str = "alfworld") -> Config:
    """Resolves the settings that functions here use where none are given: those of ``--mock``.

    All lengths are padded to the largest of its buckets, though: who plays a few episodes by hand
    waits for compiling longer than for computing, and every bucket is a program more.

    Config is frozen: change one with `dataclasses.replace`, or `resolve` others by their names,
    ``resolve("alfworld", overrides=["rl.kl_coeff=0"]).config``.
    """
    config = presets.resolve(env, mock=True).config
    rollout, batch = config.rollout, config.train_batch
    return dataclasses.replace(
        config,
        rollout=dataclasses.replace(
            rollout,
            lanes=1,
            prefix_buckets=rollout.prefix_buckets[-1:],
            suffix_buckets=rollout.suffix_buckets[-1:],
            cache_buckets=rollout.cache_buckets[-1:],
        ),
        train_batch=dataclasses.replace(batch, row_buckets=batch.row_buckets[-1:]),
    )


def load_policy(
    path: str | Path = "asset:tiny_qwen2_alfworld",
    *,
    mesh: jax.sharding.Mesh | None = None,
    dtype: str = "float32",
    param_dtype: str = "float32",
    attention: str = "xla",
    adapter: str | Path = "",
) -> Policy:
    """Loads a Hugging Face checkpoint of the Qwen2, Qwen2.5 or Qwen3 architecture.

    Args:
      path: a directory with config.json, tokenizer and safetensors, ``asset:NAME`` for one of
        the tiny policies that ship with the package, or a name on the Hugging Face hub, such as
        ``Qwen/Qwen2.5-7B-Instruct``, which is downloaded if it is not in the local cache.
      mesh: devices in the axes data, fsdp and tensor, as `skillrl.parallel.mesh.make_mesh` lays
        them out; by default one device, as in a run.
      dtype: of activations; an accelerator wants ``bfloat16``.
      param_dtype: of the parameters; float32 is what training wants.
      attention: an implementation registered in `skillrl.models.attention`.
      adapter: directory of a LoRA adapter in PEFT's format that is merged into the parameters.

    Returns:
      The policy: ``params``, ``config``, ``tokenizer`` and ``shardings``.

    Raises:
      SkillRLError: there is no such checkpoint, it cannot be read, or `mesh` has other axes.
    """
    from skillrl.models import directory as model_directory
    from skillrl.models.policy import Policy, load_params, open_model
    from skillrl.parallel import compile_cache
    from skillrl.parallel.mesh import AXES, make_mesh

    mesh = make_mesh() if mesh is None else mesh
    if mesh.axis_names != AXES:
        raise SkillRLError(
            f"the axes of the mesh are {', '.join(map(str, mesh.axis_names))}, and a policy is "
            f"laid out along {', '.join(AXES)}: make it with skillrl.parallel.mesh.make_mesh"
        )
    compile_cache.enable()
    named = str(path)
    local = named.startswith("asset:") or model_directory.expanded(named).exists()
    hub_name = "" if local else model_directory.hub_name(named) or ""
    model = open_model(
        None if hub_name else presets.resolve_path(named),
        mesh,
        model_id=hub_name,
        dtype=dtype,
        attention=attention,
    )
    return Policy(model=model, params=load_params(model, dtype=param_dtype, adapter=str(adapter)))


def rollout(
    policy: Policy,
    suite: Suite,
    tasks: Sequence[Task],
    bank: SkillBank | None = None,
    *,
    group_size: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    iteration: int = 0,
    config: Config | None = None,
) -> list[Trajectory]:
    """Plays every task `group_size` times and returns the trajectories, group by group.

    The same arguments give the same tokens on the same machine.

    Args:
      policy: acts.
      suite: the environment that the tasks are of.
      tasks: such as ``suite.tasks("train")[:4]``.
      bank: skills that prompts show; None for no skills.
      group_size: episodes of each task, G.
      temperature: of sampling; 0 is greedy.
      seed: of all draws.
      iteration: another number gives other draws under the same seed.
      config: settings of prompts, retrieval and the engine.

    Returns:
      ``len(tasks) * group_size`` trajectories: the members of the first task's group, then those
      of the second's. A task that is named twice has two groups, which draw differently.

    Raises:
      SkillRLError: `group_size` is below 1, a task does not fit into a prompt, or every episode
        failed.
    """
    from skillrl.parallel import random_keys
    from skillrl.rollouts.player import make_job, play
    from skillrl.skills.bank import SkillBank

    if group_size < 1:
        raise SkillRLError(f"group_size is {group_size}; every task is played once or more")
    player = _player(policy, suite, config=settings_for(suite.name, config), seed=seed)
    skills = bank if bank is not None else SkillBank()
    jobs = [
        make_job(
            player,
            task,
            skills,
            phase=random_keys.RL,
            iteration=iteration,
            member=member,
            repeat=at,
        )
        for at, task in zip(_occurrences(tasks), tasks, strict=True)
        for member in range(group_size)
    ]
    return play(player, jobs, temperature=temperature)


def evaluate(
    policy: Policy,
    suite: Suite,
    split: str = "valid_unseen",
    bank: SkillBank | None = None,
    *,
    limit: int = 0,
    temperature: float = 0.0,
    repeats: int = 1,
    seed: int = 0,
    config: Config | None = None,
) -> dict[str, Any]:
    """Measures success on a split: every task once, in fixed order, greedily by default.

    Args:
      policy: acts.
      suite: the environment.
      split: ``train``, ``valid_seen`` or ``valid_unseen``.
      bank: skills that prompts show; None for no skills.
      limit: plays this many of the first tasks; 0 plays all.
      temperature: of sampling; 0 is greedy.
      repeats: how often each task is played.
      seed: of all draws, where there are any.
      config: settings of prompts, retrieval and the engine.

    Returns:
      ``success`` with its number of episodes ``n`` and the 95 % Wilson interval from ``low`` to
      ``high``, the same ``by_category``, and ``mean_steps``, ``invalid_actions``, ``errored``. The
      hash of the tasks is ``manifest``; with repeats ``pass_at`` has pass@1 and pass@k.

    Raises:
      SkillRLError: the split has no tasks.
    """
    from skillrl.evaluation.evaluate import evaluate as measure
    from skillrl.evaluation.evaluate import manifest
    from skillrl.skills.bank import SkillBank

    player = _player(policy, suite, config=settings_for(suite.name, config), seed=seed)
    result, _ = measure(
        player,
        bank if bank is not None else SkillBank(),
        tasks=manifest(suite, split, limit=limit),
        temperature=temperature,
        repeats=repeats,
    )
    return result


def distill(
    episodes: Sequence[Trajectory],
    suite: Suite,
    *,
    teacher: str | Teacher | None = None,
    embedder: str | Embedder | None = None,
    config: Config | None = None,
) -> SkillBank:
    """Lets a teacher write a skill bank from successes and failures of training tasks.

    Args:
      episodes: of the train split.
      suite: the environment that they are of.
      teacher: a `Teacher`, or the registered name of one, which ``config.model`` configures; by
        default ``config.model.teacher``, the simulated one where no `config` is given.
      embedder: finds skills that say the same; an `Embedder`, a registered name, or by default
        ``config.model.embedder``.
      config: settings in ``config.distill`` and ``config.model``.

    Raises:
      SkillRLError: an episode is of another split, or the teacher does not answer.
    """
    from skillrl.skills.distill import distill as distill_skills

    config = settings_for(suite.name, config)
    bank, _ = distill_skills(
        episodes,
        teacher=_teacher(teacher, config),
        categories=suite.categories,
        embedder=_embedder(embedder, config),
        max_per_category=config.distill.max_trajectories_per_category,
        general_count=config.distill.general_skills,
        max_request_tokens=config.distill.max_request_tokens,
    )
    return bank


def evolve(
    bank: SkillBank,
    episodes: Sequence[Trajectory],
    *,
    teacher: str | Teacher | None = None,
    embedder: str | Embedder | None = None,
    step: int = 0,
    config: Config | None = None,
) -> tuple[SkillBank, EvolutionEvent]:
    """Lets a bank evolve from the failures of weak categories (paper 3.3).

    Args:
      bank: the skills so far.
      episodes: training episodes since the last time.
      teacher: as in `distill`.
      embedder: as in `distill`.
      step: number of the iteration, for the provenance of new skills.
      config: settings in ``config.evolution``: which categories are weak, how many skills; and
        ``config.distill.max_request_tokens``.

    Returns:
      The new bank, and what was looked at and what came of it. Where no category is
      weak, or the teacher does not answer, that is the bank as it was.

    Raises:
      SkillRLError: an episode is not of the train split.
    """
    from skillrl.skills.evolve import evolve as evolve_bank

    config = settings_for("alfworld", config)  # no environment has evolution settings of its own
    settings = config.evolution
    return evolve_bank(
        bank,
        episodes,
        teacher=_teacher(teacher, config),
        step=step,
        embedder=_embedder(embedder, config),
        evolution_threshold=settings.evolution_threshold,
        min_episodes=settings.min_episodes,
        max_new_skills=settings.max_new_skills,
        max_skills=settings.max_skills,
        max_analysis_deep=settings.max_analysis_deep,
        max_analysis_shallow=settings.max_analysis_shallow,
        max_request_tokens=config.distill.max_request_tokens,
    )


def train(
    config: Config,
    workdir: str | Path,
    *,
    on_metrics: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Runs all four phases and their evaluations, as ``skillrl train`` does.

    Args:
      config: the settings, as from `resolve`.
      workdir: the run directory; the same call on it goes on where it was cut off, and on a
        finished run only prints the result.
      on_metrics: called with each row of metrics once it is on disk: ``phase``, ``step``, and
        numbers by name (None where a number was not finite). Rows of earlier calls, which are in
        ``metrics.jsonl``, do not come again.

    Returns:
      What ``summary.json`` holds: results by stage and split, the bank, the curve, times.

    Raises:
      SkillRLError: something is missing or does not fit; the message says what to do.
    """
    run("train", config, workdir, on_metrics=on_metrics)
    return processes.on_first("summary", lambda: read_sealed(Path(workdir) / "summary.json"))


def run(name: str, config: Config, workdir: str | Path, **options: Any) -> None:
    """Runs one command on a run directory, as ``skillrl NAME`` does.

    Everything that would stop it later is asked first; then the real and the simulated parts are
    printed, and the command works until it is done.

    Args:
      name: ``train``, ``collect``, ``distill``, ``sft``, ``rl`` or ``evaluate``.
      config: the settings, as from `resolve`.
      workdir: the run directory, made if it is not there.
      **options: the command's own, such as ``checkpoint`` and ``split`` of ``evaluate``; see the
        function of this name in `skillrl.pipeline`.

    Raises:
      SkillRLError: something is missing or does not fit; the message says what to do.
    """
    if name not in static_checks.OPTIONS:
        raise SkillRLError(f"no command {name!r}; there are: {', '.join(static_checks.OPTIONS)}")
    _checked(config)
    known = (*static_checks.OPTIONS[name], *(["on_metrics"] if name == "train" else []))
    for option in options:
        if option not in known:
            raise SkillRLError(
                f"{name} has no option {option!r}; it has: {', '.join(known)}. Settings are part "
                "of the config."
            )
    given = {option: options.get(option) for option in static_checks.OPTIONS[name]}
    if name == "evaluate":
        given["checkpoint"] = given["checkpoint"] or "rl"
    processes.check_same(f"{name} in {workdir}", {"settings": public_dict(config), **given})
    if not processes.is_first():  # there the checks do it
        extensions.load(config.modules)
    check = functools.partial(
        static_checks.check_command, name, config, workdir=Path(workdir), chosen=given
    )
    print(printable(processes.on_first("checks", check)), flush=True)
    from skillrl import pipeline

    getattr(pipeline, name)(config, Path(workdir), **{**options, **given})


def settings_for(env: str, config: Config | None) -> Config:
    """Returns `config`, or the default one for `env`; what it registers is imported.

    Raises:
      SkillRLError: `config` is something else, or a file or module that ``config.modules`` names
        cannot be imported.
    """
    config = _checked(config) if config is not None else default_config(env)
    extensions.load(config.modules)
    return config


def _checked(config: Config) -> Config:
    if not isinstance(config, Config):
        raise SkillRLError(
            f"config is of type {type(config).__name__} and should be a Config: with resolve, that "
            "is resolve(...).config"
        )
    return config


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kept:
    """Holds what played last with a model, and the policy that it acts with.

    The policy is not kept alive: it holds the model, which holds this.
    """

    player: Player
    config: Config
    seed: int
    policy: weakref.ref[Policy]


_KEPT: weakref.WeakKeyDictionary[Any, _Kept] = weakref.WeakKeyDictionary()
"""Model -> what played last with it: its slots and its layout of the parameters are used again."""


def _player(policy: Policy, suite: Suite, *, config: Config, seed: int) -> Player:
    """Makes what plays with `policy`, or takes what played last if it is the same."""
    from skillrl.phases.build import make_player, make_retriever, publish

    if config.model.policy != "local":
        raise SkillRLError(
            f"model.policy is {config.model.policy}, but the policy that was given is here: use "
            "model.policy=local, or skillrl.run with the commands collect and evaluate"
        )
    kept = _KEPT.get(policy.model)
    same = kept is not None and (kept.config, kept.seed) == (config, seed)
    if kept is not None and same and kept.player.suite is suite:
        player = kept.player
        if kept.policy() is policy:
            return player
    else:
        _KEPT.pop(policy.model, None)  # before there is another: each has memory for its slots
        del kept
        player = make_player(
            config,
            suite,
            model=policy.model,
            retriever=make_retriever(config, policy.model),
            seed=seed,
        )
    publish(config, player, params=policy.params, version=policy.version)
    _KEPT[policy.model] = _Kept(player=player, config=config, seed=seed, policy=weakref.ref(policy))
    return player


def _teacher(teacher: str | Teacher | None, config: Config) -> Teacher:
    from skillrl.teacher.registry import make_teacher

    if teacher is None:
        return make_teacher(config.model)
    if not isinstance(teacher, str):
        return teacher
    return make_teacher(dataclasses.replace(config.model, teacher=teacher))


def _embedder(embedder: str | Embedder | None, config: Config) -> Embedder:
    from skillrl.teacher.registry import make_embedder

    if embedder is None:
        return make_embedder(config.model)
    if not isinstance(embedder, str):
        return embedder
    return make_embedder(dataclasses.replace(config.model, embedder=embedder))


def _occurrences(tasks: Sequence[Task]) -> list[int]:
    """Counts how often each task stood earlier in the list, so that no two episodes draw alike."""
    before: collections.Counter[str] = collections.Counter()
    found = []
    for task in tasks:
        found.append(before[task.id])
        before[task.id] += 1
    return found
