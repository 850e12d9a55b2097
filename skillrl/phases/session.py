"""What all phases of a run share, built once: devices, policy shapes, agent, engine, teacher."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax

from skillrl.agent.agent import Episode, SkillAgent, make_agent
from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import Suite, make_suite
from skillrl.errors import SkillRLError
from skillrl.inference.base import Engine, Sampling, apart, ladder
from skillrl.io.console import Progress
from skillrl.models import hub, lora, weights
from skillrl.models.attention import check_attention
from skillrl.models.lora import Lora
from skillrl.models.parameters import axes_tree
from skillrl.models.quantised import quantise
from skillrl.models.tokenizer import Tokenizer
from skillrl.models.transformer import Params, init
from skillrl.parallel import addresses, background, compile_cache, host_memory, room
from skillrl.parallel.mesh import make_mesh
from skillrl.parallel.rules import tree_shardings
from skillrl.phases.run_directory import Metrics, RunDirectory
from skillrl.phases.simulated_parts import parts
from skillrl.phases.wall import WallClock
from skillrl.rollout.collector import Job, collect
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import for_prompt
from skillrl.teacher.base import Embedder, Teacher
from skillrl.teacher.registry import make_embedder, make_teacher
from skillrl.training import partition
from skillrl.training.finite import check_finite
from skillrl.training.packing import PART, Shapes
from skillrl.training.partition import Partition
from skillrl.types import Skill, Task, Trajectory

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Session:
    """One process working on one run directory.

    Attributes:
      config: settings.
      run: the run directory, locked.
      metrics: numbers on disk.
      suite: tasks and environments.
      seed: of every draw.
    """

    config: Config
    run: RunDirectory
    metrics: Metrics
    suite: Suite
    seed: int

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The devices."""
        mesh = self.config.mesh
        made = make_mesh(mesh.data, mesh.fsdp, mesh.tensor)
        if made.devices.flat[0].platform == "cpu":
            host_memory.keep_freed()
        return made

    @functools.cached_property
    def policy_dir(self) -> Path:
        """Hugging Face directory of the base policy."""
        model = self.config.model
        path = presets.resolve_path(model.policy_path) if model.policy_path else None
        return hub.resolve(path, model.policy_model_id)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Of the base policy."""
        return Tokenizer.load(self.policy_dir)

    @functools.cached_property
    def model(self) -> Any:
        """Sizes of the policy."""
        model = weights.read_config(self.policy_dir)
        if self.tokenizer.rows > model.vocab_size:
            raise SkillRLError(
                f"{self.policy_dir}: the tokenizer has {self.tokenizer.rows} tokens, but "
                f"vocab_size in config.json is {model.vocab_size}: some would have no embedding. "
                "Use the tokenizer and config.json that came with the weights"
            )
        rl = self.config.rl
        if rl.max_prompt_length + rl.max_response_length > model.max_positions:
            _LOG.warning(
                "%s was made for %d positions; rl.max_prompt_length=%d and "
                "rl.max_response_length=%d allow longer ones, which it has not learned",
                self.policy_dir.name,
                model.max_positions,
                rl.max_prompt_length,
                rl.max_response_length,
            )
        settings = self.config.model
        model = dataclasses.replace(
            model,
            dtype=settings.dtype,
            attention=settings.attention,
            scan_layers=settings.scan_layers,
            mesh=self.mesh if self.mesh.size > 1 else None,
        )
        check_attention(model, self.mesh)
        return model

    @functools.cached_property
    def param_shardings(self) -> Any:
        """How parameters lie on the mesh."""
        shapes = jax.eval_shape(lambda: init(jax.random.key(0), self.model))
        return tree_shardings(self.mesh, axes_tree(self.model), shapes)

    @property
    def _lora(self) -> Lora:
        settings = self.config.lora
        return Lora(settings.rank, settings.alpha, settings.targets)

    @functools.cached_property
    def partition(self) -> Partition:
        """What of the policy is trained; phases share it."""
        rank, model = self.config.lora.rank, self.config.model
        if rank:
            return partition.adapter(self.model, self._lora, seed=self.seed)
        if model.freeze:
            return partition.all_but(self.model, model.freeze, model.param_dtype)
        return partition.everything(self.model, model.param_dtype)

    def load_policy(self, directory: Path | None = None) -> Params:
        """Parameters of a Hugging Face directory (the base policy's by default)."""
        load = functools.partial(
            weights.load,
            directory or self.policy_dir,
            self.model,
            shardings=self.param_shardings,
            dtype=self.config.model.param_dtype,
        )
        with self.progress("load", 1, unit="policy file", leave=False):
            params = self.wait_for("reading the weights", load)
        if directory is None and self.config.model.adapter_path:
            adapter, shape = lora.load(self.config.model.adapter_path, self.model)
            params = lora.merge(adapter, params, shape)
        return params

    def export(self, policy: Params, directory: Path) -> None:
        """Writes a policy as a Hugging Face directory.

        Raises:
          SkillRLError: a parameter is not finite, or the directory cannot be written.
        """
        check_finite(policy, f"{directory} is not written: the parameter")
        with _writing(directory):
            weights.save(
                directory,
                policy,
                self.model,
                tokenizer_dir=self.policy_dir,
                dtype=self.config.model.dtype,
            )

    def export_adapter(self, trained: Params, directory: Path, *, base: Path) -> None:
        """Writes a trained adapter in PEFT's format; `base` is the model that it adapts.

        Raises:
          SkillRLError: as `export`.
        """
        check_finite(trained, f"{directory} is not written: the parameter")
        with _writing(directory):
            lora.save(directory, trained, self.model, self._lora, base=str(base))

    @functools.cached_property
    def teacher(self) -> Teacher:
        """Answers are kept in the run directory, so a resumed run asks nothing twice."""
        return make_teacher(self.config.model, self.run.file("teacher"))

    @functools.cached_property
    def embedder(self) -> Embedder:
        """Likewise."""
        return make_embedder(self.config.model, self.run.file("teacher"))

    @functools.cached_property
    def _buckets(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        rollout = self.config.rollout
        rungs = ladder(self.config.rl.max_prompt_length, growth=rollout.bucket_growth)
        return rollout.prefix_buckets or rungs, rollout.suffix_buckets or rungs

    @property
    def prefix_limit(self) -> int:
        """Tokens that the shared part of a prompt may have."""
        return min(self._buckets[0][-1], self.config.rl.max_prompt_length - 1)

    @property
    def suffix_limit(self) -> int:
        """Tokens that a step's own part may have."""
        return self._cache_buckets[-1]

    @functools.cached_property
    def _cache_buckets(self) -> tuple[int, ...]:
        """Room for a suffix in a slot."""
        return self.config.rollout.cache_buckets or apart(self._buckets[1])

    @functools.cached_property
    def engine(self) -> Any:
        """The rollout engine; local ones need `publish` before they answer."""
        rollout, model = self.config.rollout, self.config.model
        if model.policy == "openai":
            from skillrl.inference.openai import OpenAIEngine
            from skillrl.inference.remote import RemoteEngine

            server = OpenAIEngine(
                model.policy_api_base,
                model.policy_model_id,
                model.policy_api_key,
                concurrency=rollout.slots,
                timeout=model.policy_timeout,
                retries=model.policy_retries,
            )
            return RemoteEngine(server, slots=rollout.slots, seed=self.seed)
        from skillrl.inference.local import Layout, LocalEngine
        from skillrl.models.joined import worth_joining

        rows = rollout.slots // (rollout.members * rollout.lanes)
        prefixes, suffixes = self._buckets
        layout = Layout(
            rows,
            rollout.members,
            prefixes,
            tuple(s for s in suffixes if s <= rollout.prefill_tokens) or suffixes[:1],
            self._cache_buckets,
            rollout.prefix_cache or max(2 * rows, rows * rollout.members, 32),
            rollout.prefill_tokens,
            rollout.lanes,
            join=worth_joining(self.mesh),
            devices=self.mesh.shape["data"] * self.mesh.shape["fsdp"],
        )
        room.check_grid(  # the smallest that can be asked for; the others before they are made
            self.model,
            self.mesh,
            rows=layout.rows,
            members=layout.members,
            prefix=layout.prefix_buckets[0],
            cell=layout.cache_buckets[0] + self.config.rl.max_response_length,
        )
        stops = tuple(dict.fromkeys((self.tokenizer.im_end_id, self.tokenizer.eos_id)))
        return LocalEngine(self.model, layout, seed=self.seed, stops=stops, mesh=self.mesh)

    @functools.cached_property
    def agent(self) -> SkillAgent:
        """The one prompt builder and parser."""
        local = self.config.model.policy == "local"
        return make_agent(
            self.config,
            self.suite,
            self.tokenizer if local else None,
            suffix_limit=self._cache_buckets[-1] if local else None,
        )

    def shapes(self, *, members: int) -> Shapes:
        """Compiled shapes of training, with at most `members` rows on a line of one prefix."""
        batch, (prefixes, suffixes) = self.config.train_batch, self._buckets
        # A wide ladder: what pads a response is never computed but for its scores.
        most = self.config.rl.max_response_length
        responses = batch.response_buckets or ladder(most, growth=2.0)
        if responses[-1] < most:  # given with a preset, and the limit was raised since
            responses = (*responses, most)
        longest = suffixes[-1] + responses[-1]
        rows = batch.row_buckets or ladder(longest, growth=self.config.rollout.bucket_growth)
        rows = (*(width for width in rows if width < longest), longest)
        devices = self.mesh.shape["data"] * self.mesh.shape["fsdp"]
        # The smaller of its two sizes; a single row is always allowed.
        room.check_micro_batch(self.model, self.mesh, tokens=batch.tokens // PART)
        return Shapes(batch.tokens, members, prefixes, rows, responses, devices)

    def skills(self, bank: SkillBank, task: Task) -> tuple[Skill, ...]:
        """What is retrieved for a task, in prompt order."""
        return for_prompt(bank, task, embedder=self.embedder, settings=self.config.skill_retrieval)

    def job(
        self,
        task: Task,
        bank: SkillBank,
        *,
        phase: int,
        iteration: int = 0,
        member: int = 0,
        repeat: int = 0,
    ) -> Job:
        """An episode of `task` with skills from `bank`, every draw at its address."""
        skills = self.skills(bank, task)
        number = addresses.task_number(task.id)

        def start() -> Episode:
            return self.agent.episode(
                task,
                skills,
                address=lambda step: (phase, iteration, number, member, repeat, step),
                member=member,
                repeat=repeat,
                policy_version=self.engine.version,
                bank_version=bank.version,
            )

        ids = tuple(skill.id for skill in skills)
        return Job(
            task=task,
            start=start,
            member=member,
            repeat=repeat,
            skills=ids,
            bank_version=bank.version,
        )

    def play(
        self,
        jobs: Iterable[Job],
        *,
        temperature: float,
        on_done: Callable[[Trajectory], None] | None = None,
        width: int = 0,
        engine: Engine | None = None,
        may_all_fail: bool = False,
    ) -> list[Trajectory]:
        """Plays jobs with the published policy; trajectories in the order of the jobs.

        Raises:
          SkillRLError: a token had a log-probability that is not finite: the parameters are,
            but what is computed from them is not.
        """
        engine, jobs = engine or self.engine, list(jobs)
        start, before = time.monotonic(), engine.tokens

        def on_turn(done: int) -> None:
            drawn = engine.tokens - before
            rate = f", {drawn} tokens ({drawn / (time.monotonic() - start):.0f}/s)" if drawn else ""
            self.note(f"{done} of {len(jobs)} episodes played{rate or ', reading prompts'}")

        played = collect(
            jobs,
            suite=self.suite,
            engine=engine,
            sampling=Sampling(
                temperature=temperature, max_tokens=self.config.rl.max_response_length
            ),
            workers=self.config.env.workers,
            width=width,
            on_done=on_done,
            on_turn=on_turn,
            may_all_fail=may_all_fail,
        )
        for trajectory in played:
            for number, step in enumerate(trajectory.steps, 1):
                if not all(map(math.isfinite, step.logprobs)):
                    raise SkillRLError(
                        f"task {trajectory.task.id}, step {number}: the policy gave its answer a "
                        "log-probability that is not finite, so it has diverged. Go on from an "
                        "earlier checkpoint or other weights, with a lower learning rate."
                    )
        return played

    def publish(self, params: Params, version: int) -> None:
        """Gives the engine parameters to act with; a remote engine has its own.

        Raises:
          SkillRLError: a parameter is not finite: every answer would be the same token.
        """
        if self.config.model.policy == "local":
            check_finite(params, "the policy cannot act: its parameter")
            int8 = self.config.rollout.weights == "int8"
            self.engine.publish(quantise(params) if int8 else params, version)

    def progress(
        self, phase: str, total: int, *, unit: str, done: int = 0, leave: bool = True
    ) -> Progress:
        """A progress bar, if wanted; it also notes the time, which a kill then does not take.

        `note` shows what goes on in the newest that is open.
        """
        bar = Progress(
            phase,
            total,
            unit=unit,
            done=done,
            enabled=self.config.logging.progress,
            on_update=self.wall.note,
            leave=leave,
        )
        self._bars.append(bar)
        return bar

    def note(self, doing: str) -> None:
        """Shows in the progress bar what goes on within a step of it."""
        while self._bars and self._bars[-1].closed:
            self._bars.pop()
        if self._bars:
            self._bars[-1].note(doing)

    def wait_for(self, doing: str, work: Callable[..., T], *arguments: Any) -> T:
        """``work(*arguments)`` on the device; meanwhile `doing` is shown and Ctrl-C is heard."""
        return background.wait_for(work, *arguments, beat=lambda: self.note(doing))

    @functools.cached_property
    def _bars(self) -> list[Progress]:
        return []

    @functools.cached_property
    def wall(self) -> WallClock:
        """Seconds per phase, over all sessions of the run."""
        return WallClock(self.run.file("wall_seconds.json"))

    def timed(self, phase: str) -> AbstractContextManager[None]:
        """Adds the seconds spent to ``wall_seconds.json``, over all sessions of the run."""
        return self.wall.timed(phase)

    @property
    def simulated(self) -> list[str]:
        """Parts of the run that are not the real thing."""
        found = parts(self.config, self.suite.simulated)
        return [f"{part.name}: {part.what}" for part in found if part.simulated]


@contextmanager
def open_session(
    config: Config, workdir: Path, *, seed: int, lock: bool = True
) -> Iterator[Session]:
    """A session on `workdir`: locked, its environment recorded; closed at the end."""
    room.devices()  # before anything is created: JAX_PLATFORMS may name what is not here
    compile_cache.enable()
    suite = make_suite(config.env.name, config.env)
    with RunDirectory(workdir, config, lock=lock) as run:
        if lock:
            run.write_environment()
        with Metrics(run, tensorboard=config.logging.tensorboard) as metrics:
            yield Session(config, run, metrics, suite, seed)


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise SkillRLError(
            f"{directory}: cannot be written ({error}). Check the permissions and the free space "
            "there, then start the same command again; checkpoints are untouched."
        ) from error


def outcome(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Rates over episodes: success, score, steps, invalid actions, errors."""
    usable = [t for t in trajectories if not t.error]
    steps = [step for t in usable for step in t.steps]
    return {
        "episodes": len(usable),
        "success": sum(t.won for t in usable) / max(1, len(usable)),
        "score": sum(t.score for t in usable) / max(1, len(usable)),
        "steps": len(steps) / max(1, len(usable)),
        "invalid": sum(bool(s.invalid) for s in steps) / max(1, len(steps)),
        "errored": len(trajectories) - len(usable),
    }
