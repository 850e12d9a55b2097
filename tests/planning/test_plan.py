"""Plans: which policies, meshes and kinds there are, and programs that are those of a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from skillrl.config.settings import Config, ModelConfig
from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import kv_zeros
from skillrl.models.policy import Model
from skillrl.models.released import RELEASED
from skillrl.parallel.mesh import make_mesh
from skillrl.phases import build
from skillrl.planning import candidates, programs
from skillrl.planning.candidates import Candidate
from skillrl.planning.guess import guess, ranked
from skillrl.planning.hlo import Cost
from skillrl.planning.iteration import program_seconds
from skillrl.planning.kinds import KINDS, find_kind
from skillrl.planning.measure import measure
from skillrl.planning.plan import make_plan
from skillrl.planning.policies import find_sizes
from skillrl.planning.records import Outcome, Plan, Row
from skillrl.planning.report import report
from skillrl.planning.targets import environment
from skillrl.training.batch import Sample, make_minibatch

NANO = TransformerConfig(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=32,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    max_positions=512,
)
FIELDS = {
    "model_type": "qwen2",
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 512,
    "torch_dtype": "float32",
}
SECTIONS: dict[str, Any] = {
    "env": {"max_steps": 4},
    "rl": {
        "batch_size": 4,
        "group_size": 2,
        "minibatches": 1,
        "max_prompt_length": 64,
        "max_response_length": 16,
    },
    "rollout": {"slots": 4, "prefix_buckets": [32], "suffix_buckets": [32]},
    "train_batch": {
        "tokens": 192,
        "members": 2,
        "row_buckets": [48],
        "response_buckets": [16],
        "logprob_chunk": 0,
    },
    "model": {"dtype": "float32", "remat": "none"},
}


def nano(directory: Path, **sections: Any) -> Config:
    """Settings of a policy that is two layers of nothing, of which only config.json is there."""
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(FIELDS))
    merged = {k: {**SECTIONS.get(k, {}), **sections.get(k, {})} for k in {**SECTIONS, **sections}}
    merged["model"] = {**merged["model"], "policy_path": str(directory)}
    return Config.from_dict(merged)


def test_a_directory_needs_nothing_but_its_config(tmp_path):
    sizes, source = find_sizes(nano(tmp_path / "policy").model)
    assert (sizes.num_layers, sizes.hidden_size, sizes.dtype) == (2, 16, "float32")
    assert "config.json" in source


@pytest.mark.parametrize("field", ["policy_path", "policy_model_id"])
def test_released_names_stand_for_their_sizes(field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = dataclasses.replace(ModelConfig(), **{field: "Qwen/Qwen3-4B-Instruct-2507"})
    sizes, source = find_sizes(model)
    assert sizes == dataclasses.replace(RELEASED["Qwen3-4B"], dtype="bfloat16")
    assert "released" in source


def test_what_is_not_known_is_refused_with_the_names_that_are():
    with pytest.raises(SkillRLError, match=r"model\.policy_path=nobody/7B.*Qwen2\.5-7B.*config"):
        find_sizes(dataclasses.replace(ModelConfig(), policy_path="nobody/7B"))


def test_unknown_kinds_are_refused():
    with pytest.raises(SkillRLError, match="--device_kind=b200: choose one of h100"):
        find_kind("b200")


@pytest.mark.parametrize(
    ("mesh", "wrong"),
    [((2, 8, 1), "needs 16 devices, but --devices=8"), ((-1, 3, 1), "cannot be divided by 3")],
)
def test_a_mesh_that_does_not_fit_is_refused(mesh, wrong, tmp_path):
    axes = dict(zip(("data", "fsdp", "tensor"), mesh, strict=True))
    with pytest.raises(SkillRLError, match=wrong):
        candidates.configured(nano(tmp_path / "p", mesh=axes), 8)


def test_an_open_axis_takes_the_rest(tmp_path):
    config = nano(tmp_path / "p", mesh={"data": -1, "fsdp": 2})
    assert candidates.configured(config, 8) == Candidate(
        data=4, fsdp=2, tensor=1, tokens=192, remat="none"
    )
    assert not candidates.mesh_is_open(config)
    assert candidates.mesh_is_open(nano(tmp_path / "p"))


def test_meshes_divide_devices_heads_and_width():
    found = candidates.meshes(8, NANO)
    assert set(found) == {
        *((8, 1, 1), (4, 2, 1), (2, 4, 1), (1, 8, 1)),
        *((4, 1, 2), (2, 2, 2), (1, 4, 2)),  # two kv heads: tensor goes no further
    }


def test_a_candidate_is_settings(tmp_path):
    one = Candidate(data=2, fsdp=4, tensor=1, tokens=96, remat="full")
    config = one.applied(nano(tmp_path / "p"))
    assert (config.mesh.data, config.mesh.fsdp, config.train_batch.tokens) == (2, 4, 96)
    assert config.model.remat == "full"
    assert "--set mesh.fsdp=4" in one.flags


def released_guess(name: str, devices: int, kind: str):
    config = Config.from_dict({"model": {"remat": "full"}})
    sizes = dataclasses.replace(RELEASED[name], dtype="bfloat16")
    one = Candidate(data=1, fsdp=devices, tensor=1, tokens=8192, remat="full")
    return guess(one, config, sizes=sizes, kind=KINDS[kind], buckets=build.make_buckets(config))


def test_a_guess_knows_what_cannot_fit():
    assert not released_guess("Qwen2.5-32B", 1, "h100").fits
    assert released_guess("Qwen2.5-0.5B", 8, "h200").fits
    best = ranked([released_guess("Qwen2.5-7B", n, "h100") for n in (1, 8)])
    assert best[0].candidate.fsdp == 8


def test_seconds_by_hand():
    h100 = KINDS["h100"]
    products = Cost(flops=0.35 * 989e12, bytes=0.0, collectives={}, sent={})
    assert program_seconds(products, h100, devices=1) == pytest.approx(1.0)
    # 450 GB gathered take a second; reduced ones two; beyond a host it is 50 GB/s.
    sent = Cost(flops=0.0, bytes=0.0, collectives={}, sent={"all-gather": 450e9})
    assert program_seconds(sent, h100, devices=8) == pytest.approx(1.0)
    assert program_seconds(sent, h100, devices=16) == pytest.approx(9.0)
    both = dataclasses.replace(sent, sent={"all-reduce": 450e9}, collectives={"all-reduce": 1000})
    assert program_seconds(both, h100, devices=8) == pytest.approx(2.01)
    read = Cost(flops=0.0, bytes=0.0, collectives={}, sent={})
    assert program_seconds(read, h100, devices=1, read=0.44 * 3.35e12) == pytest.approx(1.0)


def test_fused_attention_wants_its_own_devices(tmp_path):
    config = nano(tmp_path / "p", model={"attention": "cudnn", "dtype": "bfloat16"})
    with pytest.raises(SkillRLError, match=r"attention=cudnn needs a gpu.*v5e is a tpu"):
        make_plan(config, kind=KINDS["v5e"], devices=1, tried=1, until=0.0, say=lambda text: None)


def test_the_compiling_process_has_its_devices_and_no_card():
    env = environment(64, {"XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_x=1"})
    assert env["JAX_PLATFORMS"] == "cpu"
    assert "--xla_x=1" in env["XLA_FLAGS"]
    assert env["XLA_FLAGS"].count("device_count") == 1
    assert "device_count=64" in env["XLA_FLAGS"]


def a_plan(*largest: float) -> Plan:
    """A plan with candidates that take `largest` bytes and ever less time."""
    row = Row(
        name="micro-batch",
        runs=2.0,
        flops=1e9,
        bytes=1e6,
        collectives=3,
        sent={"all-gather": 5e6},
        working=2.0**30,
        moment=2.0**31,
        seconds=1.0,
    )
    outcomes = [
        Outcome(
            candidate=Candidate(data=1, fsdp=8, tensor=1, tokens=n, remat="full"),
            held={"parameters": 2.0**30, "optimizer": 2.0**31},
            rows=(row,),
            largest=size,
            at="micro-batch",
            fits=size <= 70 * 2**30,
            seconds=100.0 - n,
            compile_seconds=1.0,
        )
        for n, size in enumerate(largest, 1)
    ]
    return Plan(
        policy="p",
        target="8 virtual devices",
        real=False,
        kind="h100",
        devices=8,
        reason="as the settings say",
        outcomes=tuple(outcomes),
        guessed=9,
        limit=70.0 * 2**30,
    )


@pytest.mark.parametrize(("largest", "said"), [(60 * 2**30, "yes"), (71 * 2**30, "no")])
def test_the_report_has_the_rows_that_programs_look_for(largest, said):
    lines = report(a_plan(largest), Config()).splitlines()
    assert f"fits: {said}" in lines
    (optimizer,) = [line for line in lines if line.split()[:1] == ["optimizer"]]
    assert optimizer.split()[1:] == ["2.00", "exact"]


def test_the_best_is_the_fastest_that_fits():
    assert a_plan(60 * 2**30, 71 * 2**30, 65 * 2**30).best.candidate.tokens == 3
    assert a_plan(90 * 2**30, 80 * 2**30).best.candidate.tokens == 2  # the least memory


def test_a_plan_survives_json():
    plan = a_plan(60 * 2**30)
    assert Plan.from_json(json.loads(plan.dumps())) == plan


@pytest.mark.slow
def test_programs_of_a_plan_are_those_that_a_run_compiles(tmp_path):
    """The same shapes as an update reads, and within 15 % of what its program takes."""
    config = nano(tmp_path / "policy")
    sizes, _ = find_sizes(config.model)
    mesh = make_mesh()
    it = programs.make_subject(config, sizes, mesh=mesh)
    planned = {program.name: program for program in programs.training(it)}

    # As RL makes it, with weights.
    model = Model(
        directory=tmp_path, config=sizes, tokenizer=cast(Any, None), mesh=mesh, shardings={}
    )
    partition = build.make_partition(config, model, seed=0)
    updater = build.rl_updater(config, model, partition)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), partition.shapes)
    shapes = build.make_shapes(config, model, samples_per_row=config.train_batch.members)
    samples = [
        Sample(
            prefix_ids=(group, *range(3, 34)),
            suffix_ids=tuple(range(32)),
            response_ids=tuple(range(16)),
            old_logprobs=(-1.0,) * 16,
            advantage=1.0,
            trajectory=2 * group + member,
        )
        for group in range(2)
        for member in range(2)
    ]
    batch = make_minibatch(samples, shapes)
    (micro,) = batch.micro_batches
    program = planned["micro-batch"]
    kinds = lambda tree: [(np.shape(x), x.dtype) for x in jax.tree.leaves(tree)]  # noqa: E731
    assert kinds(program.arguments[3]) == kinds(micro)
    assert kinds(program.arguments[0]) == kinds(params)

    kv = kv_zeros(sizes, (micro.prefix.shape[0], 1), batch.prefix_width)
    assert kinds(kv) == kinds(program.arguments[1])
    real = (
        updater.programs["micro_step"]
        .lower(params, kv, {}, micro, jax.tree.map(np.zeros_like, params))
        .compile()
        .memory_analysis()
    )
    taken = real.temp_size_in_bytes + real.output_size_in_bytes - real.alias_size_in_bytes
    found = measure(program, sizes=sizes, tensor=1, halved=False, scores=True)
    assert found.working == pytest.approx(taken, rel=0.15)
    assert found.cost.flops > 0
