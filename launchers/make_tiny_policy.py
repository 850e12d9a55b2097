"""Makes the tiny base policy that ships with the package, from nothing, on the train split.

    python launchers/make_tiny_policy.py --env=alfworld --output skillrl/assets/tiny_qwen2_alfworld

It stands in for the pretrained model of a real run: it knows the format, the words and how the
environment works, and lacks the task's own knowledge. It starts from attention that compares and
copies (`tiny_policies/induction_init.py`) and imitates text-only demonstrators, part of whose
moves are replaced by random or impossible ones, so that it has seen what happens after a mistake.

A course makes it follow advice: its demonstrator has each piece of competence only where the
prompt says so, and in later stages answers what the policy itself did (DAgger).

What is particular to an environment lies in launchers/tiny_policies. Seeds are fixed. ALFWorld
takes about three hours on two cores, the others about one.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from launchers.tiny_policies.course import Course, Lesson, Stage

_ENV = flags.DEFINE_string("env", "alfworld", "Environment: one of launchers/tiny_policies.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory of the policy.", required=True)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Default: runs/tiny_policy_<env>. Keeps the weights after each stage, where a rerun goes on.",
)
_SCALE = flags.DEFINE_float("scale", 1.0, "Share of the updates, for a quick try.")
_SEED = flags.DEFINE_integer("seed", 7, "Of weights and episodes.")

VOCABULARY = 1024
REFRESH = 6  # updates for which the policy plays episodes ahead
WHOLE = 500  # first number, in an update, of the episodes that `Stage.whole` adds
_NUMBERED = re.compile(r" \S+ [1-9]")


def main(_: Sequence[str]) -> None:
    """Builds the tokenizer and the weights, imitates stage by stage, and exports the policy."""
    import jax
    import numpy as np
    import optax
    from optax.contrib import MuonDimensionNumbers, muon

    from launchers.tiny_policies import tiny_tokenizer
    from launchers.tiny_policies.induction_init import induction_init
    from skillrl.agent.agent import SkillAgent, render_response
    from skillrl.agent.prompt import render_prefix, render_suffix
    from skillrl.api import default_config, load_policy
    from skillrl.config.settings import EnvConfig
    from skillrl.envs import answer_form, make_suite
    from skillrl.models import intact, weights
    from skillrl.models.config import TransformerConfig
    from skillrl.models.parameters import axes_tree
    from skillrl.models.tokenizer import Tokenizer
    from skillrl.parallel import compile_cache, random_keys, rules
    from skillrl.parallel import mesh as meshes
    from skillrl.phases.build import make_engine
    from skillrl.rollouts.player import Player, make_job, play
    from skillrl.skills.bank import SkillBank
    from skillrl.teacher.simulated import vocabulary
    from skillrl.training.batch import Sample, make_minibatch
    from skillrl.training.losses import sft_loss
    from skillrl.training.packing import Shapes
    from skillrl.training.update import make_updater

    compile_cache.enable()
    course: Course = importlib.import_module(f"launchers.tiny_policies.{_ENV.value}").COURSE
    suite = make_suite(course.env, EnvConfig(max_steps=course.max_steps))
    form = answer_form(suite)

    def corpus() -> Iterator[str]:
        rng = random.Random(99)
        everything = dataclasses.replace(course.stages[-1], skilled=1.0)
        for _ in range(1400):
            drawn = course.lesson(rng, everything)
            yield "\n".join(
                render_prefix(
                    suite.role,
                    drawn.task.goal,
                    skills=drawn.skills,
                    instruction=form.instruction,
                )
            )
            for observation, past, (move, *_) in _demonstration(drawn, course, everything, rng):
                for shown in (course.prompts, *course.other_prompts):
                    yield render_suffix(
                        len(past) + 1,
                        observation.text,
                        admissible=observation.admissible,
                        past=past,
                        config=shown,
                    )
                yield render_response(move.thought, move.action, form.tags)
        yield from vocabulary(course.env)

    workdir = Path(_WORKDIR.value or f"runs/tiny_policy_{course.env}")
    output, words = Path(_OUTPUT.value), workdir / "tokenizer"
    if not (words / "tokenizer.json").exists():
        texts = list(corpus())
        phrases = course.phrases(texts)
        tiny_tokenizer.build(texts, words, vocab_size=VOCABULARY, phrases=phrases, tags=form.tags)
    tokenizer = Tokenizer.load(words)
    agent = SkillAgent(tokenizer, role=suite.role, config=course.prompts, form=form)
    config = TransformerConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=128,
        intermediate_size=320,
        num_layers=4,
        num_heads=4,
        num_kv_heads=4,
        head_dim=32,
        rope_theta=100_000.0,
        max_positions=2048,
    )
    params = induction_init(config, parts=_parts(words))

    settings = default_config(course.env)
    settings = dataclasses.replace(
        settings,
        env=dataclasses.replace(settings.env, max_steps=course.max_steps),
        rl=dataclasses.replace(settings.rl, max_prompt_length=course.prompts.max_prompt_length),
    )

    def act(lessons: dict[int, Lesson], stage: Stage, state) -> dict[int, Sequence[str]]:
        """Plays the episodes of lessons with the policy as it now is; returns its actions."""
        nonlocal engine
        weights.save(workdir / "latest", state.params, config, tokenizer_dir=words, dtype="float32")
        if engine is None:
            engine = make_engine(settings, load_policy(workdir / "latest").model, seed=_SEED.value)
        engine.publish(state.params, 1)
        tasks = {draw: dataclasses.replace(of.task, id=str(draw)) for draw, of in lessons.items()}
        player = Player(
            suite=_Practice(
                {tasks[draw].id: of for draw, of in lessons.items()},
                stage.steps or course.max_steps,
            ),
            agent=agent,
            engine=engine,
            retriever=lambda bank, task: lessons[int(task.id)].skills,
            max_response_length=course.responses[-1],
        )
        jobs = [
            make_job(player, task, SkillBank(), phase=random_keys.RL) for task in tasks.values()
        ]
        played = play(player, jobs, temperature=stage.temperature)
        won.extend(one.won for one in played)
        return {int(one.task.id): [step.action for step in one.steps] for one in played}

    engine: Any = None
    won: list[bool] = []

    def matrices(tree):
        """Says which axes of a parameter Muon orthogonalises; None leaves it to Adam."""

        def axes(path, _):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if "/mlp/" in name:
                return MuonDimensionNumbers((1,), (2,))
            if name.endswith(("query/kernel", "key/kernel", "value/kernel")):
                return MuonDimensionNumbers((1,), (3,))
            return MuonDimensionNumbers((2,), (3,)) if name.endswith("output/kernel") else None

        return jax.tree_util.tree_map_with_path(axes, tree)

    mesh = meshes.make_mesh()
    rows = tuple(bucket + course.responses[-1] for bucket in course.buckets)
    shapes = Shapes(
        tokens=16 * rows[0],
        samples_per_row=1,
        prefix_buckets=course.prefixes,
        row_buckets=rows,
        response_buckets=course.responses,
    )

    def show(stage, draw, played=()):
        """Plays an episode, slips and all; the answers are what the demonstrator meant to do."""
        rng = random.Random(draw)
        if draw % 1000 >= WHOLE:
            stage = dataclasses.replace(stage, steps=0, contrasts=1)
        drawn = course.lesson(rng, stage)
        readings = [drawn.skills, *(skills for skills, _ in drawn.others)]
        prefixes = [agent.prefix(drawn.task, skills)[0] for skills in readings]
        samples: list[list[Sample]] = [[] for _ in readings]
        steps = _demonstration(drawn, course, stage, rng, played)
        came = [True] * len(readings)  # to this step, by what each would have done before
        for number, (observation, past, moves) in enumerate(steps):
            if number:
                before = steps[number - 1][2]
                came = [
                    c and m.action == past[-1].action for c, m in zip(came, before, strict=True)
                ]
            differ = [at for at, move in enumerate(moves) if move != moves[0]]
            if stage.astray < 1:
                differ = [at for at in differ if came[at] or rng.random() < stage.astray]
            common = not differ and course.frequent(moves[0])
            wrong = number < len(played) and played[number] != moves[0].action
            failed = bool(past) and past[-1].failed
            if common and not wrong and not failed and rng.random() >= stage.plain:
                continue
            for at in (0, *rng.sample(differ, min(stage.contrasts, len(differ)))):
                move = moves[at]
                suffix, _ = agent.suffix(observation, past, prefix_length=len(prefixes[at]))
                response = agent.response_ids(move.thought, move.action)
                samples[at].append(
                    Sample(prefix_ids=prefixes[at], suffix_ids=suffix, response_ids=response)
                )
        return [found for found in samples if found]

    for number, stage in enumerate(course.stages, start=1):
        kept = workdir / f"stage{number}"
        if (kept / "config.json").exists():
            params = weights.load(kept, config, dtype="float32")
            continue
        updates = max(1, round(stage.updates * _SCALE.value))
        rate = optax.join_schedules(
            [
                optax.linear_schedule(0.05 * stage.rate, stage.rate, 20),
                optax.linear_schedule(stage.rate, stage.last_rate, updates),
            ],
            [20],
        )
        optimizer = optax.chain(
            optax.clip_by_global_norm(1.0),
            muon(
                rate,
                adam_learning_rate=lambda step, rate=rate: 0.15 * rate(step),
                adam_b2=0.98,
                muon_weight_dimension_numbers=matrices,
            ),
        )
        updater = make_updater(
            config=config,
            loss=lambda logprobs, m: (
                sft_loss(logprobs, m.weights),
                {"loss": sft_loss(logprobs, m.weights)},
            ),
            optimizer=optimizer,
            mesh=mesh,
            param_shapes=jax.eval_shape(lambda p=params: p),
            param_shardings=rules.tree_shardings(mesh, axes_tree(config), params),
            optimizer_shardings=jax.tree.map(
                lambda _: rules.replicated(mesh),
                jax.eval_shape(optimizer.init, params),
            ),
        )
        state, losses = updater.init(params), []
        own = round(stage.own * stage.episodes)
        acted: dict[int, Sequence[str]] = {}
        for update in (bar := tqdm(range(updates), desc=f"stage {number}")):
            first = ((_SEED.value * 10 + number) * 10_000 + update) * 1000
            if own and update % REFRESH == 0:
                draws = [first + at * 1000 + i for at in range(REFRESH) for i in range(own)]
                drawn = {draw: course.lesson(random.Random(draw), stage) for draw in draws}
                acted = act(drawn, stage, state)
            whole = range(first + WHOLE, first + WHOLE + stage.whole)
            draws = (*range(first, first + stage.episodes), *whole)
            episodes = [e for draw in draws for e in show(stage, draw, acted.get(draw, ()))]
            samples = [
                dataclasses.replace(sample, trajectory=i)
                for i, episode in enumerate(episodes)
                for sample in episode
            ]
            state, metrics = updater.update(state, make_minibatch(samples, shapes))
            losses.append(metrics["loss"])
            if update % 25 == 24:
                weights.save(
                    workdir / "latest", state.params, config, tokenizer_dir=words, dtype="float32"
                )
            if update % 10 == 9:
                shown = {"loss": f"{np.mean([float(x) for x in losses[-10:]]):.3f}"}
                if won:
                    shown["won"] = f"{np.mean(won[-100:]):.2f}"
                bar.set_postfix(shown)
        params = state.params
        weights.save(kept, params, config, tokenizer_dir=words, dtype="float32")
    weights.save(output, params, config, tokenizer_dir=words, dtype="float32")
    if output.resolve().parent == intact.SHIPPED:
        intact.seal_shipped()
    print(f"written: {output}")


def _parts(words: Path) -> dict[int, tuple[int, int]]:
    """Maps numbered names that are one token to the tokens of name and number."""
    content = json.loads((words / "tokenizer.json").read_text())
    whole = content["model"]["vocab"]
    vocabulary = {added["content"]: added["id"] for added in content["added_tokens"]}
    pairs = {name: name.rsplit(" ", 1) for name in vocabulary if _NUMBERED.fullmatch(name)}
    return {
        vocabulary[name]: (whole[f"Ġ{kind.strip()}"], whole[f"Ġ{number}"])
        for name, (kind, number) in pairs.items()
        if f"Ġ{kind.strip()}" in whole
    }


class _Practice:
    """A suite, and an environment, in which each task is played where its lesson says."""

    def __init__(self, lessons: dict[str, Lesson], max_steps: int):
        self._lessons, self._max_steps = lessons, max_steps

    def make(self):
        return _Practice(self._lessons, self._max_steps)

    def reset(self, task):
        self._environment, self._left = self._lessons[task.id].environment, self._max_steps
        return self._environment.reset(task)

    def step(self, action):
        result, self._left = self._environment.step(action), self._left - 1
        return result if self._left else dataclasses.replace(result, done=True)

    def close(self):
        pass


def _demonstration(
    drawn: Lesson,
    course: Course,
    stage: Stage,
    rng: random.Random,
    played: Sequence[str] = (),
):
    """Plays an episode of a demonstrator that makes mistakes: [(observation, past, moves)].

    The moves are those of the demonstrator and of the lesson's others; the one played may be
    another. Where the policy has `played` the episode, its actions are played again.
    """
    from skillrl.agent.parse import is_admissible
    from skillrl.agent.prompt import HistoryStep

    task, environment = drawn.task, drawn.environment
    experts = [drawn.expert, *(other for _, other in drawn.others)]
    observation = environment.reset(task)
    past: list[HistoryStep] = []
    rows, stuck = [], False
    for number in range(len(played) or stage.steps or course.max_steps):
        moves = [expert.act(observation) for expert in experts]
        rows.append((observation, list(past), moves))
        move = moves[0]
        action = move.action
        if played:
            action = played[number]
        elif stuck and rng.random() < 0.5:
            action = past[-1].action  # a failed action tends to be tried again
        elif rng.random() < stage.noise:
            if rng.random() < stage.impossible:
                action = course.slip(task, move.action, past, observation, rng)
            else:
                action = course.random_move(task, observation, rng)
        offers = observation.admissible
        stuck = bool(offers) and not is_admissible(action, offers)
        past.append(HistoryStep(observation.text, action, stuck))
        for one, meant in zip(experts, moves, strict=True):
            if action != meant.action and hasattr(one, "played"):
                one.played("" if stuck else action)
        result = environment.step(action)
        observation = result.observation
        if result.done:
            break
    return rows


if __name__ == "__main__":
    app.run(main)
