"""The mock training run: what it learns, how long it takes, and what the controls say.

    python benchmarks/mock_run.py --seeds 0,1,2 --json benchmarks/results/mock_run.json

Per seed: `launchers/train.py --env=ENV --mock --seed=N` in a process of its own, wall
time with compilation and peak memory included. Controls continue from a copy of the
seed's cold start, so that only one thing differs:

- frozen: the same RL phase with learning rate 0 (the bank still evolves);
- sft x4: four times the expert demonstrations, no RL.

What is finished in ``--workdir`` is not run again, so seeds may also be run one by one, or
side by side on cores of their own (``taskset -c 0 ... --seeds 1``), and then put together.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from skillrl.evaluation.intervals import difference, wilson  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from skillrl.io.files import read_sealed, write_sealed  # noqa: E402

COLD_START = ("collect", "distill", "sft", "evaluation", "checkpoints/sft", "teacher")


def train(env: str, workdir: Path, seed: int, extra: list[str]) -> dict:
    """Runs the training command; its summary with seconds and peak memory of that process."""
    measured = workdir / "measured.json"
    if measured.exists():
        return json.loads(measured.read_text())
    command = [sys.executable, str(ROOT / "launchers/train.py"), f"--env={env}", "--mock"]
    command += [f"--seed={seed}", f"--workdir={workdir}", "--set=logging.progress=false", *extra]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(
            f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}"
        )
    summary = json.loads((workdir / "summary.json").read_text())
    result = {
        **summary,
        "seconds": time.monotonic() - start,
        "peak_gb": usage.ru_maxrss / 2**20,
        "cores": len(os.sched_getaffinity(0)),
    }
    measured.write_text(json.dumps(result))
    return result


def fork(source: Path, target: Path, changes: dict[str, dict], *, parts: tuple[str, ...]) -> None:
    """A new work directory that has some phases of `source` and other settings."""
    target.mkdir(parents=True)
    for part in parts:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part)
    for path in (target / "evaluation").glob("rl-*.json"):
        path.unlink()
    config = read_sealed(source / "config.json")
    for section, values in changes.items():
        config[section].update(values)
    write_sealed(target / "config.json", config)
    phases = read_sealed(source / "phases.json") if "sft" in parts else {}
    write_sealed(target / "phases.json", phases)


def as_flags(changes: dict[str, dict]) -> list[str]:
    return [
        f"--set={s}.{k}={json.dumps(v)}" for s, values in changes.items() for k, v in values.items()
    ]


def control(
    env: str, name: str, source: Path, seed: int, changes: dict, parts: tuple[str, ...]
) -> dict:
    target = source.with_name(f"{source.name}-{name}")
    if not (target / "summary.json").exists():
        shutil.rmtree(target, ignore_errors=True)
        fork(source, target, changes, parts=parts)
        if "sft" not in parts:  # only the base policy's evaluation is the same
            for path in (target / "evaluation").glob("sft-*.json"):
                path.unlink()
    return train(env, target, seed, as_flags(changes))


def pooled(runs: list[dict], stage: str, split: str = "valid_unseen") -> tuple[int, int]:
    found = [run["eval"][stage][split] for run in runs if split in run["eval"].get(stage, {})]
    return sum(round(r["success"] * r["n"]) for r in found), sum(r["n"] for r in found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--env", default="alfworld", help="alfworld, webshop or search")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--control_seeds", default="0", help="seeds with controls; may be empty")
    parser.add_argument("--workdir", default="", help="default: runs/mock_run_<env>")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    base = Path(args.workdir or f"runs/mock_run_{args.env}").absolute()
    seeds = [int(s) for s in args.seeds.split(",")]
    runs = []
    for seed in seeds:
        runs.append(train(args.env, base / f"seed{seed}", seed, []))
        print(f"seed {seed}: {runs[-1]['seconds']:.0f} s, {runs[-1]['peak_gb']:.2f} GB", flush=True)
    controls: dict[str, list[dict]] = {"frozen": [], "sft x4": []}
    for seed in [int(s) for s in args.control_seeds.split(",") if s]:
        source = base / f"seed{seed}"
        config = json.loads((source / "config.json").read_text())
        frozen = {"rl": {"learning_rate": 0.0}}
        controls["frozen"].append(control(args.env, "frozen", source, seed, frozen, COLD_START))
        more = {
            "collect": {"expert_episodes": 4 * config["collect"]["expert_episodes"]},
            "rl": {"training_epochs": 0},
        }
        controls["sft x4"].append(control(args.env, "sft4", source, seed, more, ("evaluation",)))

    rows = []
    for label, group, stage in (
        ("base", runs, "base"),
        ("SFT", runs, "sft"),
        ("RL", runs, "rl"),
        ("frozen-policy control", controls["frozen"], "rl"),
        ("SFT on 4x demonstrations", controls["sft x4"], "sft"),
    ):
        if not group:
            continue
        won, n = pooled(group, stage)
        low, high = wilson(won, n)
        each = " ".join(
            f"{100 * run['eval'][stage]['valid_unseen']['success']:.0f}" for run in group
        )
        rows.append([label, n, f"{100 * won / n:.1f}", f"{100 * low:.1f}-{100 * high:.1f}", each])
    gain = difference(pooled(runs, "rl"), pooled(runs, "sft"))
    temperature = runs[0]["eval"]["base"]["valid_unseen"]["temperature"]
    how = f"at temperature {temperature:g}" if temperature else "greedy"
    text = table(rows, [f"success % on valid_unseen, {how}", "n", "pooled", "95 %", "per seed"])
    text += f"\n\nRL - SFT, 95 % interval: {100 * gain[0]:+.1f} to {100 * gain[1]:+.1f} points"
    text += "\nRL on valid_seen: " + ", ".join(
        f"{100 * run['eval']['rl']['valid_seen']['success']:.1f}" for run in runs
    )
    text += "\nseconds in all: " + ", ".join(
        f"{run['seconds']:.0f} ({run['cores']} cores)" for run in runs
    )
    for run in runs:
        text += "\n  " + ", ".join(f"{phase} {s:.0f}" for phase, s in run["wall_seconds"].items())
    text += "\npeak memory (GB): " + ", ".join(f"{run['peak_gb']:.2f}" for run in runs)
    text += "\nskills: " + ", ".join(
        f"{r['bank']['initial']} -> {r['bank']['final']} "
        f"({len(r['bank']['evolved_skills_used'])} evolved ones used)"
        for r in runs
    )
    curve = [
        [p["step"], *(run["curve"][i]["success"] for run in runs)]
        for i, p in enumerate(runs[0]["curve"])
    ]
    text += "\n\n" + table(curve, ["RL iteration: training success", *(f"seed {s}" for s in seeds)])
    print(text)
    if args.json:
        hardware = {
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        }
        result = {
            "command": " ".join(["python", *sys.argv]),
            "hardware": hardware,
            "seeds": seeds,
            "runs": runs,
            "controls": controls,
            "table": text,
        }
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
