"""Makes the tiny base policy that ships with the package, from nothing, on the train split.

    python launchers/make_tiny_policy.py --output skillrl/assets/tiny_qwen2_alfworld

It stands in for the pretrained model of a real run: it knows the format, the words and
how households work, but does only the simplest part of what it is told. It starts from
attention that compares and copies (`skillrl.models.mimetic`) and imitates a text-only
demonstrator, part of whose moves are replaced by random or impossible ones, so that it has
seen what happens after a mistake; from the second stage on with skills in half of the
prompts (distilled by the simulated teacher from expert and noisy episodes of the train
split). In the last stage the demonstrator is mostly careless (`envs.alfworld.careless`):
that is what makes the policy weak. Fixed seeds; about 30 minutes on two cores.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_OUTPUT = flags.DEFINE_string("output", None, "Directory of the policy.", required=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", "runs/tiny_policy", "Keeps the weights after each stage, where a rerun goes on."
)
_SCALE = flags.DEFINE_float("scale", 1.0, "Share of the updates, for a quick try.")
_SEED = flags.DEFINE_integer("seed", 7, "Of weights and episodes.")

MAX_STEPS = 25
HELD_BACK = 48  # last tasks of the train split, for looking at the result
VOCABULARY = 1024
_NAME = re.compile(r" [a-z]+ [1-9](?!\d)")  # a numbered name, one token like any other word
PREFIXES = (64, 216)
BUCKETS = (64, 80, 96, 112, 136, 168, 288)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Updates with one setting; the learning rate goes from `rate` to `last_rate`."""

    updates: int
    episodes: int  # per update, played by the demonstrator
    skilled: float  # share of prompts with skills
    rate: float
    last_rate: float
    aligned: float  # share of episodes that pursue the stated task, without skills
    aligned_with_skills: float
    noise: float  # share of moves that are replaced
    impossible: float  # share of these that are not admissible, and then often repeated


STAGES = (
    Stage(260, 6, 0.0, 0.020, 0.0120, 0.95, 1.00, 0.30, 0.5),
    Stage(180, 6, 0.5, 0.012, 0.0030, 0.95, 1.00, 0.30, 0.5),
    Stage(320, 6, 0.5, 0.008, 0.0004, 0.95, 1.00, 0.30, 0.5),
    Stage(70, 6, 0.5, 0.0045, 0.0003, 0.1, 0.1, 0.30, 0.5),
)


def main(_: Sequence[str]) -> None:
    """Tokenizer, weights, stages of imitation, export."""
    import jax
    import numpy as np
    import optax
    from optax.contrib import MuonDimensionNumbers, muon

    from skillrl.agent.agent import SkillAgent
    from skillrl.agent.prompt import PromptConfig, render_prefix, render_suffix
    from skillrl.config import EnvConfig
    from skillrl.envs import make_suite
    from skillrl.envs.alfworld.careless import careless_goal
    from skillrl.models import tiny_tokenizer, weights
    from skillrl.models.config import ModelConfig
    from skillrl.models.mimetic import mimetic_init
    from skillrl.models.parameters import axes_tree
    from skillrl.models.tokenizer import Tokenizer
    from skillrl.parallel import mesh as meshes
    from skillrl.parallel import rules
    from skillrl.skills.retrieval import retrieve
    from skillrl.teacher.offline import HashingEmbedder
    from skillrl.teacher.simulated import vocabulary
    from skillrl.training.batch import Sample, Shapes, make_minibatch
    from skillrl.training.losses import sft_loss
    from skillrl.training.update import make_updater

    suite = make_suite("alfworld", EnvConfig(max_steps=MAX_STEPS))
    prompts = PromptConfig(history_length=0, action_history=MAX_STEPS, max_prompt_length=1024)
    bank, embedder = _bank(suite), HashingEmbedder()

    def skills_for(task):
        found = retrieve(
            bank,
            task,
            embedder=embedder,
            top_k=2,
            similarity_threshold=0.05,
            general_top_k=1,
            mistakes_top_k=1,
        )
        return [*found.general, *found.task_specific, *found.mistakes]

    def corpus() -> Iterator[str]:
        rng = random.Random(99)
        for task in rng.choices(suite.tasks("train")[:-HELD_BACK], k=700):
            yield suite.role + "\n" + render_prefix(suite.role, task.goal, skills_for(task))[1]
            for observation, past, move in _demonstration(suite, task, task.goal, STAGES[0], rng):
                for shown in (prompts, PromptConfig(history_length=2)):
                    yield render_suffix(
                        len(past) + 1, observation.text, observation.admissible, past, shown
                    )
                yield f"<think>{move.thought}</think><action>{move.action}</action>"
        yield from vocabulary()

    workdir, output = Path(_WORKDIR.value), Path(_OUTPUT.value)
    words = workdir / "tokenizer"
    texts = list(corpus())
    counts = collections.Counter(name for text in texts for name in _NAME.findall(text))
    most: dict[str, int] = {}
    for name, count in counts.items():
        kind, number = name.rsplit(" ", 1)
        if count >= 20:
            most[kind] = max(most.get(kind, 0), int(number))
    names = [f"{kind} {number + 1}" for kind in sorted(most) for number in range(most[kind])]
    tiny_tokenizer.build(texts, words, vocab_size=VOCABULARY, phrases=("go to", *names))
    tokenizer = Tokenizer.load(words)
    agent = SkillAgent(tokenizer, role=suite.role, config=prompts)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=96,
        intermediate_size=256,
        num_layers=3,
        num_heads=4,
        num_kv_heads=4,
        head_dim=32,
        rope_theta=100_000.0,
        max_positions=2048,
    )
    params = mimetic_init(config, parts=_parts(words))

    def matrices(tree):
        """Which axes of a parameter Muon orthogonalises; None leaves it to Adam."""

        def axes(path, _):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if "/mlp/" in name:
                return MuonDimensionNumbers((1,), (2,))
            if name.endswith(("query/kernel", "key/kernel", "value/kernel")):
                return MuonDimensionNumbers((1,), (3,))
            return MuonDimensionNumbers((2,), (3,)) if name.endswith("output/kernel") else None

        return jax.tree_util.tree_map_with_path(axes, tree)

    mesh = meshes.make_mesh()
    shapes = Shapes(16, 1, PREFIXES, BUCKETS, (20,))
    tasks = suite.tasks("train")[:-HELD_BACK]

    def show(stage, draw):
        """An episode of the demonstrator, slips and all; the answers are what it meant to do."""
        rng = random.Random(draw)
        task, with_skills = rng.choice(tasks), rng.random() < stage.skilled
        aligned = stage.aligned_with_skills if with_skills else stage.aligned
        goal = task.goal if rng.random() < aligned else careless_goal(task)
        prefix, _, _ = agent.prefix(task, skills_for(task) if with_skills else ())
        samples = []
        for observation, past, move in _demonstration(suite, task, goal, stage, rng):
            suffix, _ = agent.suffix(observation, past, prefix_length=len(prefix))
            samples.append(Sample(prefix, suffix, agent.response_ids(move.thought, move.action)))
        return samples

    for number, stage in enumerate(STAGES, start=1):
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
        for update in (bar := tqdm(range(updates), desc=f"stage {number}")):
            first = ((_SEED.value * 10 + number) * 10_000 + update) * 1000
            episodes = [show(stage, first + i) for i in range(stage.episodes)]
            samples = [
                dataclasses.replace(sample, trajectory=i)
                for i, episode in enumerate(episodes)
                for sample in episode
            ]
            state, metrics = updater.update(state, make_minibatch(samples, shapes))
            losses.append(metrics["loss"])
            if update % 10 == 9:
                bar.set_postfix(loss=f"{np.mean([float(x) for x in losses[-10:]]):.3f}")
        params = state.params
        weights.save(kept, params, config, tokenizer_dir=words, dtype="float32")
    weights.save(output, params, config, tokenizer_dir=words, dtype="float32")
    print(f"written: {output}")


def _parts(words: Path) -> dict[int, tuple[int, int]]:
    """Numbered names that are one token -> the tokens of name and number."""
    content = json.loads((words / "tokenizer.json").read_text())
    whole = content["model"]["vocab"]
    vocabulary = {added["content"]: added["id"] for added in content["added_tokens"]}
    pairs = {name: name.rsplit(" ", 1) for name in vocabulary if _NAME.fullmatch(name)}
    return {
        vocabulary[name]: (whole[f"Ġ{kind.strip()}"], whole[f"Ġ{number}"])
        for name, (kind, number) in pairs.items()
        if f"Ġ{kind.strip()}" in whole
    }


def _bank(suite):
    """Skills that the simulated teacher distils from 60 expert and 60 noisy episodes."""
    from skillrl.agent.agent import render_response
    from skillrl.envs.alfworld.expert import TemplateExpert
    from skillrl.skills.distill import distill
    from skillrl.teacher.offline import HashingEmbedder
    from skillrl.teacher.simulated import SimulatedTeacher
    from skillrl.types import Step, Trajectory

    rng, environment, played = random.Random(5), suite.make(), []
    for index, task in enumerate(suite.tasks("train")[:120]):
        expert, observation, steps = TemplateExpert(task.goal), environment.reset(task), []
        for _ in range(MAX_STEPS):
            move, admissible = expert.act(observation), observation.admissible
            noisy = index % 2 == 0 and rng.random() < 0.9
            action = rng.choice(admissible) if noisy else move.action
            result = environment.step(action)
            response = render_response(move.thought, action)
            steps.append(Step(observation.text, admissible, (), (), (), response, action))
            observation = result.observation
            if result.done:
                break
        played.append(
            Trajectory(task, (), tuple(steps), result.won, final=observation.text, source="expert")
        )
    bank, _ = distill(
        played,
        teacher=SimulatedTeacher(),
        categories=suite.categories,
        embedder=HashingEmbedder(),
    )
    return bank


def _demonstration(suite, task, goal: str, stage: Stage, rng: random.Random):
    """One episode of a demonstrator that makes mistakes: [(observation, past, move)].

    The move is always the demonstrator's; the one played may be another.
    """
    from skillrl.agent.prompt import Past
    from skillrl.envs.alfworld.expert import TemplateExpert

    environment = suite.make()
    expert, observation = TemplateExpert(goal), environment.reset(task)
    past: list[Past] = []
    rows, stuck = [], False
    for _ in range(MAX_STEPS):
        move = expert.act(observation)
        rows.append((observation, list(past), move))
        action = move.action
        if stuck and rng.random() < 0.5:
            action = past[-1].action  # a failed action tends to be tried again
        elif rng.random() < stage.noise:
            if rng.random() < stage.impossible:
                action = _impossible(move.action, past, expert.goal.thing, observation, rng)
            else:
                action = rng.choice(observation.admissible)
        stuck = action not in observation.admissible
        past.append(Past(observation.text, action, stuck))
        result = environment.step(action)
        observation = result.observation
        if result.done:
            break
    return rows


def _impossible(action: str, past, thing: str, observation, rng: random.Random) -> str:
    """A likely slip: a wrong number, a mixture of two actions, or something out of place.

    Most of them are what a policy does that recites without looking: the same place again,
    the next number of its kind, or the kind that comes next in other rooms. It learns to
    read the list only if it has seen its own favourites fail.
    """
    from skillrl.envs.alfworld.rooms import CAN_CONTAIN

    words, other = action.split(), rng.choice(observation.admissible).split()
    visited = [p.action for p in past if p.action.startswith("go to ")]
    if visited and rng.random() < 0.7:
        place, number = visited[-1].rsplit(" ", 1)
        kinds = sorted(f"go to {kind.lower()}" for kind in CAN_CONTAIN)
        after = [f"{kind} 1" for kind in kinds if kind > place][:3]
        if number.isdecimal():
            after += [f"{place} {int(number) + 1}"] * 2
        absent = [a for a in [*after, visited[-1]] if a not in observation.admissible]
        return rng.choice(absent or [visited[-1]])
    return rng.choice(
        [
            " ".join(str(rng.randint(1, 4)) if w.isdigit() else w for w in words),
            " ".join(words[:2] + other[-2:]),
            " ".join(other[:2] + words[-2:]),
            past[-1].action if past else "go to cabinet 4",
            f"take {thing} {rng.randint(1, 2)} from {' '.join(other[-2:])}",
            rng.choice(["take mug 1 from countertop 1", "open fridge 1", ""]),
        ]
    )


if __name__ == "__main__":
    app.run(main)
