"""The front door, as a notebook uses it: everything by `import skillrl`."""

import dataclasses
import gc
import subprocess
import sys
import weakref

import jax
import numpy as np
import pytest

import skillrl
from skillrl import Skill, SkillBank, SkillRLError, envs
from skillrl.models import hub, weights
from skillrl.models.tokenizer import Tokenizer
from tests.conftest import ToySuite, spread_params

GROUP = 4


pytestmark = pytest.mark.usefixtures("few_shapes")


@pytest.fixture(scope="module")
def suite():
    return skillrl.make_suite("alfworld")


@pytest.fixture(scope="module")
def directory(tiny_config, tmp_path_factory):
    """A policy that compiles soon: small and random, with the tokenizer of one that ships."""
    path, shipped = tmp_path_factory.mktemp("policy"), hub.ASSETS / "tiny_qwen2_alfworld"
    size = Tokenizer.load(shipped).vocab_size
    config = dataclasses.replace(tiny_config, vocab_size=size, num_layers=1, max_positions=2048)
    weights.save(path, spread_params(config), config, tokenizer_dir=shipped)
    return path


@pytest.fixture(scope="module")
def policy(directory):
    return skillrl.load_policy(directory)


@pytest.fixture(scope="module")
def tasks(suite):
    return [task for task in suite.tasks("train") if task.category == "pick_and_place_simple"][:2]


@pytest.fixture(scope="module")
def played(policy, suite, tasks):
    return skillrl.rollout(policy, suite, tasks, group_size=GROUP, temperature=1.0, seed=0)


@pytest.fixture(scope="module")
def episodes(played):
    """Every other one as if it had been won, which a random policy never does."""
    return [dataclasses.replace(one, won=at % 2 == 0) for at, one in enumerate(played)]


def test_importing_is_instant_and_touches_no_device():
    code = "import sys, skillrl; skillrl.Config; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_name_is_there_and_documented():
    for name in skillrl.__all__:
        assert getattr(skillrl, name).__doc__ or name == "__version__"
    assert set(skillrl.__all__) <= set(dir(skillrl))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        skillrl.nothing  # noqa: B018


def test_a_policy_has_what_a_notebook_asks_for(policy):
    assert policy.config.hidden_size
    assert policy.tokenizer.decode(policy.tokenizer.encode("look around")) == "look around"
    assert jax.tree.structure(policy.params) == jax.tree.structure(policy.shardings)


def test_a_name_on_the_hub_is_looked_up_there(monkeypatch):
    asked = []

    def cached(model_id):
        asked.append(model_id)
        return hub.ASSETS / "tiny_qwen2_alfworld"

    monkeypatch.setattr(hub, "_cached", cached)
    assert skillrl.load_policy("owner/some-model-0.5B").config.hidden_size
    assert asked == ["owner/some-model-0.5B"]


def test_a_policy_that_cannot_be_loaded_is_refused(tmp_path):
    with pytest.raises(SkillRLError, match="no such directory"):
        skillrl.load_policy(tmp_path / "nowhere")
    with pytest.raises(SkillRLError, match="the axes of the mesh are x"):
        skillrl.load_policy(mesh=jax.make_mesh((1,), ("x",)))


def test_a_policy_that_is_dropped_leaves_nothing_behind(directory, suite, tasks):
    policy = skillrl.load_policy(directory)
    skillrl.rollout(policy, suite, tasks[:1])
    model = weakref.ref(policy.model)
    del policy
    gc.collect()
    assert model() is None


def test_rollouts_come_group_by_group_and_again_the_same(policy, suite, tasks, played):
    assert [(e.task.id, e.member) for e in played] == [
        (task.id, member) for task in tasks for member in range(GROUP)
    ]
    assert skillrl.rollout(policy, suite, tasks, group_size=GROUP, seed=0) == played
    other = skillrl.rollout(policy, suite, tasks, group_size=GROUP, seed=0, iteration=1)
    assert [e.steps for e in other] != [e.steps for e in played]


def test_the_same_task_twice_is_played_twice(policy, suite, tasks):
    first, second = skillrl.rollout(policy, suite, [tasks[0]] * 2, temperature=1.0)
    assert (first.repeat, second.repeat) == (0, 1)
    assert first.steps != second.steps


def test_an_environment_of_ones_own_is_played_by_its_name(policy):
    with envs.registered(toy=ToySuite):
        toy = skillrl.make_suite("toy")
        played = skillrl.rollout(policy, toy, toy.tasks("train")[:1], group_size=2)
    assert [episode.member for episode in played] == [0, 1]
    assert all(episode.steps for episode in played)


def test_what_the_settings_import_is_imported(few_shapes, suite, policy, tasks):
    config = dataclasses.replace(few_shapes, modules=("nowhere.py",))
    for use in (
        lambda: skillrl.make_suite("alfworld", config),
        lambda: skillrl.rollout(policy, suite, tasks, config=config),
        lambda: skillrl.distill([], suite, config=config),
    ):
        with pytest.raises(SkillRLError, match=r"modules=nowhere\.py: there is no file"):
            use()


def test_a_skill_stands_in_the_prompt(policy, suite, tasks):
    mine = Skill(title="Look twice", principle="Go to the shelf and look.", category="general")
    bank = SkillBank().add([mine])
    (episode,) = skillrl.rollout(policy, suite, tasks[:1], bank)
    assert len(episode.skills) == 1
    assert "Look twice" in policy.tokenizer.decode(episode.prefix_ids)


def test_grpo_moves_the_policy_and_leaves_the_one_that_was_given(policy, suite, tasks, episodes):
    before = jax.tree.map(np.asarray, policy.params)
    training, metrics = skillrl.grpo_step(policy, episodes)
    other, same = skillrl.grpo_step(policy, episodes)
    assert same == metrics
    assert other.updater is training.updater  # nothing is compiled again
    assert metrics["grad_norm"] > 0
    assert metrics["sampler_gap_fresh"] < 1e-4  # what was sampled is what is trained on
    updates = training.updates
    assert updates == min(4, 2)  # rl.minibatches of whole groups
    once = training.policy
    again, _ = skillrl.grpo_step(training, episodes)
    assert again.updates == 2 * updates
    assert _equal(policy.params, before)
    assert not _equal(once.params, before)
    assert not _equal(again.policy.params, once.params)
    (played,) = skillrl.rollout(again.policy, suite, tasks[:1])
    assert played.policy_version == 2 * updates
    for use in (
        lambda: training.policy,
        lambda: training.updates,
        lambda: skillrl.grpo_step(training, episodes),
        lambda: skillrl.sft_step(training, episodes, suite),
    ):
        with pytest.raises(SkillRLError, match="this Training has been trained further"):
            use()


def test_half_a_group_is_refused(policy, episodes):
    first, second, *others = episodes
    for broken in (episodes[:-1], [second, first, *others], episodes[2:]):
        with pytest.raises(SkillRLError, match=rf"{len(broken)} episodes are no whole groups of 4"):
            skillrl.grpo_step(policy, broken)


def test_episodes_without_anything_to_learn_from_are_refused(policy, suite, tasks, episodes):
    failed = [dataclasses.replace(episode, error="gone") for episode in episodes]
    for broken in ([], failed):
        with pytest.raises(SkillRLError, match="no episode to learn from"):
            skillrl.grpo_step(policy, broken)
    with pytest.raises(SkillRLError, match="holds no tokens"):
        skillrl.grpo_step(policy, skillrl.demonstrate(suite, tasks))
    with pytest.raises(SkillRLError, match="alone every advantage would be 0"):
        skillrl.grpo_step(policy, [episodes[0], episodes[GROUP]])


def test_settings_that_the_episodes_do_not_fit_are_refused(few_shapes, policy, episodes):
    rl = dataclasses.replace(few_shapes.rl, max_response_length=8)
    short = dataclasses.replace(few_shapes, rl=rl)
    with pytest.raises(SkillRLError, match=r"rl\.max_response_length is 8, and there are \d+"):
        skillrl.grpo_step(policy, episodes, config=short)


def test_imitation_lowers_its_loss(few_shapes, policy, suite, tasks):
    shown = skillrl.demonstrate(suite, tasks)
    assert all(episode.won for episode in shown)
    sft = dataclasses.replace(few_shapes.sft, learning_rate=1e-4)
    config = dataclasses.replace(few_shapes, sft=sft)
    training, metrics = skillrl.sft_step(policy, shown, suite, config=config)
    losses = [metrics["loss"]]
    for _ in range(3):
        training, metrics = skillrl.sft_step(training, shown, suite)
        losses.append(metrics["loss"])
    assert (training.config, training.updates) == (config, 4)
    assert losses == sorted(set(losses), reverse=True)  # no step is without learning rate


@pytest.mark.examples
def test_an_adapter_is_trained_beside_a_policy_that_samples_in_int8(
    few_shapes, policy, suite, tasks
):
    config = dataclasses.replace(
        few_shapes,
        lora=dataclasses.replace(few_shapes.lora, rank=2),
        rl=dataclasses.replace(few_shapes.rl, old_logprobs="recomputed"),
        rollout=dataclasses.replace(few_shapes.rollout, weights="int8"),
    )
    played = skillrl.rollout(policy, suite, tasks[:1], group_size=2, config=config)
    training, metrics = skillrl.grpo_step(policy, played, config=config)
    assert metrics["sampler_gap"] < 1e-4  # of the recomputed ones, not of the int8 copy's
    assert training.updates == 1
    assert jax.tree.structure(training.policy.params) == jax.tree.structure(policy.params)
    assert len(jax.tree.leaves(training.train_state.params)) == 2 * 7
    assert training.start is policy


def test_a_bank_is_distilled_and_evolves(suite, episodes):
    shown = skillrl.demonstrate(suite, suite.tasks("train")[:6])
    bank = skillrl.distill([*episodes, *shown], suite)
    assert len(bank) > 0
    lost = [dataclasses.replace(episode, won=False) for episode in episodes]
    grown, event = skillrl.evolve(bank, lost, teacher="simulated", step=1)
    assert event.overall == 0.0
    assert grown.version > bank.version
    assert event.added or event.refined


def test_evaluation_counts_every_task_once(policy, suite):
    result = skillrl.evaluate(policy, suite, "valid_unseen", limit=4, temperature=1.0)
    assert result["n"] == 4
    assert result["low"] <= result["success"] <= result["high"]


def test_what_would_stop_a_run_is_said_before_it_starts(tmp_path):
    config = skillrl.resolve("alfworld", overrides=["rl.advantage=nothing"]).config
    with pytest.raises(SkillRLError, match="unknown advantage estimator 'nothing'"):
        skillrl.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(SkillRLError, match="of type Resolved and should be a Config"):
        skillrl.train(skillrl.resolve("alfworld"), tmp_path / "run")
    with pytest.raises(SkillRLError, match="no command 'dance'"):
        skillrl.run("dance", config, tmp_path / "run")
    with pytest.raises(SkillRLError, match="evaluate has no option 'splits'; it has: checkpoint"):
        skillrl.run("evaluate", config, tmp_path / "run", splits="train")


def _equal(first, second) -> bool:
    return all(
        bool(np.array_equal(a, b))
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    )
