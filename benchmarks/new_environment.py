"""The training run of docs/new_environment.md, with the files and settings that stand there.

    python benchmarks/new_environment.py --json benchmarks/results/new_environment.json

Per seed: success on the 12 held-out tasks of the base policy, after SFT and after RL, the
success of the sampled training episodes of every RL iteration, and the processor seconds of
the whole command, compilation included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from skillrl.evaluation.intervals import wilson  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from tests.docs import write_automat  # noqa: E402

STAGES = ("base", "sft", "rl")


def train(folder: Path, seed: int) -> dict:
    """Runs the command of the page in `folder`, which holds its files."""
    workdir = folder / f"seed{seed}"
    command = [sys.executable, str(ROOT / "launchers/train.py"), "--env=automat", "--mock"]
    command += ["--config=automat.json", "--set=env.module=automat.py"]
    command += [f"--seed={seed}", f"--workdir={workdir}", "--set=logging.progress=false"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(
            f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}"
        )
    summary = json.loads((workdir / "summary.json").read_text())
    held_out = {stage: summary["eval"][stage]["valid_unseen"] for stage in STAGES}
    return {
        "seed": seed,
        "won": {stage: round(found["success"] * found["n"]) for stage, found in held_out.items()},
        "n": held_out["base"]["n"],
        "training_success": [point["success"] for point in summary["curve"]],
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        write_automat(Path(folder))
        for seed in args.seeds.split(","):
            runs.append(train(Path(folder), int(seed)))
            print(json.dumps(runs[-1]), flush=True)
    rows = []
    for stage in STAGES:
        won, n = sum(run["won"][stage] for run in runs), sum(run["n"] for run in runs)
        low, high = wilson(won, n)
        each = " ".join(f"{100 * run['won'][stage] / run['n']:.0f}" for run in runs)
        rows.append([stage, n, f"{100 * won / n:.1f}", f"{100 * low:.1f}-{100 * high:.1f}", each])
    text = table(rows, ["success % on valid_unseen, greedy", "n", "pooled", "95 %", "per seed"])
    print(text)
    if args.json:
        result = {
            "command": " ".join(["python", *sys.argv]),
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "runs": runs,
            "table": text,
        }
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
