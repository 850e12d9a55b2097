"""Makes the tiny base policy that ships with the package, from nothing, on the train split.

    python launchers/make_tiny_policy.py --output skillrl/assets/tiny_qwen2_alfworld

It stands in for the pretrained model of a real run: it knows the format, the words and
how households work, but seldom does what it is told. It imitates a demonstrator that
mostly pursues an errand of its own instead of the task in the prompt, and whose moves
are sometimes replaced by random or impossible ones, so that it has seen what happens
after a mistake. Half of its prompts carry skills (distilled by the simulated teacher
from expert and noisy episodes of the train split). Fixed seeds; two cores, an estimated
70 minutes. The weights that ship now come from a prototype of it: see their README.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_OUTPUT = flags.DEFINE_string("output", None, "Directory of the policy.", required=True)
_SCALE = flags.DEFINE_float("scale", 1.0, "Share of the updates, for a quick try.")
_SEED = flags.DEFINE_integer("seed", 7, "Of weights and episodes.")

MAX_STEPS = 25
HELD_BACK = 48  # last tasks of the train split, for looking at the result
VOCABULARY = 768
BUCKETS = (104, 120, 136, 156, 180, 212, 288)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Updates with one setting; the learning rate goes from `rate` to `last_rate`."""

    updates: int
    episodes: int
    rate: float
    last_rate: float
    aligned: float  # share of episodes that pursue the stated task, without skills
    aligned_with_skills: float
    noise: float  # share of moves that are replaced
    impossible: float  # share of these that are not admissible


STAGES = (
    Stage(410, 5, 0.02, 0.02, 0.20, 0.30, 0.25, 0.0),
    Stage(124, 7, 0.015, 0.0110, 0.25, 0.35, 0.30, 0.4),
    Stage(180, 7, 0.015, 0.0042, 0.50, 0.60, 0.35, 0.5),
    Stage(175, 6, 0.015, 0.0030, 0.90, 0.95, 0.30, 0.5),
    Stage(375, 6, 0.012, 0.0010, 0.95, 1.00, 0.30, 0.5),
)


def main(_: Sequence[str]) -> None:
    """Tokenizer, weights, two stages of imitation, export."""
    import jax
    import numpy as np
    import optax
    from optax.contrib import MuonDimensionNumbers, muon

    from skillrl.agent.agent import SkillAgent
    from skillrl.agent.prompt import PromptConfig, render_prefix, render_suffix
    from skillrl.config import EnvConfig
    from skillrl.envs import make_suite
    from skillrl.models import tiny_tokenizer, weights
    from skillrl.models.config import ModelConfig
    from skillrl.models.parameters import axes_tree
    from skillrl.models.tokenizer import Tokenizer
    from skillrl.models.transformer import init
    from skillrl.parallel import mesh as meshes
    from skillrl.parallel import rules
    from skillrl.skills.retrieval import retrieve
    from skillrl.teacher.offline import HashingEmbedder
    from skillrl.teacher.simulated import vocabulary
    from skillrl.training.batch import Sample, Shapes, make_minibatch
    from skillrl.training.losses import sft_loss
    from skillrl.training.update import make_updater

    output = Path(_OUTPUT.value)
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
        for task, rows in _errands(suite, seed=99, count=700, aligned=0.3, noise=0.25, bad=0.0):
            yield suite.role + "\n" + render_prefix(suite.role, task.goal, skills_for(task))[1]
            for observation, past, thought, action in rows:
                for shown in (prompts, PromptConfig(history_length=2)):
                    yield render_suffix(
                        len(past) + 1, observation.text, observation.admissible, past, shown
                    )
                yield f"<think>{thought}</think><action>{action}</action>"
        yield from vocabulary()

    tiny_tokenizer.build(corpus(), output, vocab_size=VOCABULARY, phrases=("go to",))
    tokenizer = Tokenizer.load(output)
    agent = SkillAgent(tokenizer, role=suite.role, config=prompts)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=96,
        intermediate_size=256,
        num_layers=3,
        num_heads=3,
        num_kv_heads=3,
        head_dim=32,
        rope_theta=10_000.0,
        max_positions=2048,
    )
    params = jax.jit(lambda key: init(key, config))(jax.random.key(0))

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
    shapes = Shapes(16, 1, (216,), BUCKETS, (20,))
    seed = _SEED.value * 1_000_000
    for number, stage in enumerate(STAGES):
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
        for update in (bar := tqdm(range(updates), desc=f"stage {number + 1}")):
            samples = []
            for i in range(stage.episodes):
                draw = seed + update * 1000 + i
                with_skills = random.Random(draw).random() < 0.5
                aligned = stage.aligned_with_skills if with_skills else stage.aligned
                episodes = _errands(
                    suite,
                    seed=draw,
                    count=1,
                    aligned=aligned,
                    noise=stage.noise,
                    bad=stage.impossible,
                )
                for task, rows in episodes:
                    prefix, _, _ = agent.prefix(task, skills_for(task) if with_skills else ())
                    for observation, past, thought, action in rows:
                        suffix, _ = agent.suffix(observation, past, prefix_length=len(prefix))
                        answer = agent.response_ids(thought, action)
                        samples.append(Sample(prefix, suffix, answer, trajectory=i))
            state, metrics = updater.update(state, make_minibatch(samples, shapes))
            losses.append(metrics["loss"])
            if update % 10 == 9:
                bar.set_postfix(loss=f"{np.mean([float(x) for x in losses[-10:]]):.3f}")
        params, seed = state.params, seed + 500_000
    weights.save(output, params, config, tokenizer_dir=output, dtype="float32")
    print(f"written: {output}")


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


def _errands(suite, *, seed: int, count: int, aligned: float, noise: float, bad: float):
    """Episodes of a demonstrator: (task, [(observation, past, thought, action)]).

    The recorded move is always the demonstrator's; the one played may be another.
    """
    from skillrl.agent.prompt import Past
    from skillrl.envs.alfworld.errands import other_goal
    from skillrl.envs.alfworld.expert import TemplateExpert

    rng = random.Random(seed)
    tasks = suite.tasks("train")
    environment = suite.make()
    for _ in range(count):
        task = tasks[rng.randrange(len(tasks) - HELD_BACK)]
        goal = task.goal if rng.random() < aligned else other_goal(task, rng)
        expert, observation = TemplateExpert(goal), environment.reset(task)
        past: list[Past] = []
        rows = []
        for _ in range(MAX_STEPS):
            move = expert.act(observation)
            rows.append((observation, list(past), move.thought, move.action))
            action = move.action
            if rng.random() < noise:
                slip = rng.random() < bad
                action = (
                    _impossible(action, observation, rng)
                    if slip
                    else rng.choice(observation.admissible)
                )
            past.append(Past(observation.text, action))
            result = environment.step(action)
            observation = result.observation
            if result.done:
                break
        yield task, rows


def _impossible(action: str, observation, rng: random.Random) -> str:
    """A likely slip: a wrong number, a mixture of two actions, or something out of place."""
    words, kind = action.split(), rng.random()
    if kind < 0.4:
        return " ".join(str(rng.randint(1, 4)) if w.isdigit() else w for w in words)
    if kind < 0.7:
        return " ".join(words[:2] + rng.choice(observation.admissible).split()[-2:])
    return rng.choice(["go to cabinet 4", "take mug 1 from countertop 1", "open fridge 1", ""])


if __name__ == "__main__":
    app.run(main)
