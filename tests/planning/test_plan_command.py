"""`skillrl plan` as it is typed: real processes, for devices that are not there."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from skillrl.cli import main

GIB = 2**30
TINY = (
    "--set=rollout.prefix_buckets=[64]",
    "--set=rollout.suffix_buckets=[64]",
    "--set=rollout.prefill_tokens=128",
    "--set=rl.max_prompt_length=128",
    "--set=train_batch.tokens=512",
    "--set=train_batch.row_buckets=[]",
)


def planned(*flags: str) -> tuple[str, dict[str, float]]:
    """What the command prints, and the rows of its first table in GiB."""
    done = subprocess.run(
        [sys.executable, "-m", "skillrl", "plan", *flags],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w[\w ]*?)  +([\d.e-]+)  ", done.stdout, re.M)
    return done.stdout, {name: float(number) for name, number in rows}


@pytest.mark.parametrize(
    ("flags", "wrong"),
    [
        ((), "plan needs --devices=N and --device_kind=NAME"),
        (("--devices=8", "--device_kind=gtx"), "--device_kind=gtx: choose one of h100"),
        (("--devices=9999", "--device_kind=h100"), "--devices=9999: plan for 1 to 4096"),
    ],
)
def test_wrong_flags_are_refused_before_anything_starts(flags, wrong, capsys):
    assert main.main(["plan", *flags]) == 2
    assert wrong in capsys.readouterr().err


def test_the_compiling_process_hands_its_refusals_on(capsys):
    flags = ["--set=model.policy_path=nobody/7B", "--devices=2", "--device_kind=a100"]
    assert main.main(["plan", *flags]) == 2
    err = capsys.readouterr().err
    assert "model.policy_path=nobody/7B: neither a directory here nor a released policy" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_tiny_policy_fits_on_eight_devices(tmp_path):
    output = tmp_path / "plan.json"
    flags = ("--devices=8", "--device_kind=h100", "--tried=2", f"--output={output}")
    said, rows = planned("--mock", *TINY, *flags)
    assert "fits: yes" in said.splitlines()
    assert "no axis of mesh is set; of" in said
    found = json.loads(output.read_text())
    first = found["outcomes"][0]
    assert rows["optimizer"] == pytest.approx(first["held"]["optimizer"] / GIB, rel=0.05)
    mesh = first["candidate"]
    assert mesh["data"] * mesh["fsdp"] * mesh["tensor"] == 8
    programs = {row["name"]: row for row in first["rows"]}
    assert programs["micro-batch"]["collectives"] > 0
    assert programs["decode step"]["flops"] > 0
    assert first["largest"] == max(row["moment"] for row in first["rows"])


@pytest.mark.slow
def test_32b_does_not_fit_on_one_device():
    policy = "--set=model.policy_path=Qwen/Qwen2.5-32B-Instruct"
    said, rows = planned(policy, *TINY, "--devices=1", "--device_kind=h100", "--tried=1")
    assert "fits: no" in said.splitlines()
    assert rows["optimizer"] == pytest.approx(8 * 32_763_876_352 / GIB, rel=1e-3)
    assert "nothing is exchanged" in said


@pytest.mark.slow
def test_7b_on_eight_devices(tmp_path):
    output = tmp_path / "plan.json"
    flags = ("--config=alfworld_qwen2.5_7b", "--devices=8", "--device_kind=h200", "--tried=1")
    said, rows = planned(*flags, f"--output={output}")
    assert "data 1 x fsdp 8 x tensor 1" in said
    assert rows["optimizer"] == pytest.approx(8 * 7_615_616_512 / 8 / GIB, rel=1e-3)
    (outcome,) = json.loads(output.read_text())["outcomes"]
    micro = next(row for row in outcome["rows"] if row["name"] == "micro-batch")
    # Every layer's weights are gathered, each pass, in bfloat16; all is one row of 7,024 tokens.
    layers = 6_525_618_176
    assert 2 * 2 * layers < micro["sent"]["all-gather"] < 8 * 2 * layers
    tokens, scores = 7024, 4 * 28 * 28 * 128 * 7024 * 13024
    least = 3 * (2 * layers * tokens + scores)
    assert least < micro["flops"] < 1.6 * least
