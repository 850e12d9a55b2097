"""What the skills of a run are worth: each of its policies with several banks, against none.

    python benchmarks/bank_arms.py --seeds=0,1,2 --json=benchmarks/results/bank_arms.json

Takes the runs of benchmarks/mock_run.py and plays `skillrl evaluate --bank=...` with the base
policy, the cold-started and the trained one on valid_unseen: the run's own bank (for the base
policy that is the last one), the first one, text of the same length about nothing, and another
category's skills. All arms play the same tasks at the same sampling addresses. A seed is the
unit: the interval is Student's over the seeds' differences, and needs two of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from skillrl.io.console import table  # noqa: E402

SPLIT = "valid_unseen"


def last_bank(run: Path) -> Path:
    """The bank that RL ended with."""
    return max((run / "banks").glob("*.json"), key=lambda path: int(path.stem))


def banks_of(run: Path, checkpoint: str) -> dict[str, str]:
    """Name -> what ``--bank`` takes, of the arms of a policy."""
    if checkpoint == "base":
        last = last_bank(run)
        return {"own": str(last), "initial": "initial", "neutral": f"neutral:{last}"}
    arms = {"own": "own", "neutral": "neutral", "shuffled": "shuffled"}
    return arms | ({"initial": "initial"} if checkpoint == "rl" else {})


def play(run: Path, checkpoint: str) -> dict[str, dict]:
    """Results by name of the arm, ``none`` among them; what is there is not played again."""
    banks = banks_of(run, checkpoint)
    output = run.parent / f"{run.name}-{checkpoint}-arms.json"
    if not output.exists():
        command = [sys.executable, str(ROOT / "launchers/evaluate.py"), f"--workdir={run}"]
        command += [f"--checkpoint={checkpoint}", f"--split={SPLIT}"]
        command += [f"--bank={','.join(banks.values())}", f"--output={output}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found = json.loads(output.read_text())["arms"]
    return {name: found[bank][SPLIT] for name, bank in {**banks, "none": "none"}.items()}


def compared(arms: list[dict[str, dict]], name: str) -> dict:
    """Success of an arm per seed, and its differences from ``none``, in points."""
    success = [100 * one[name]["success"] for one in arms]
    found: dict[str, Any] = {"success": success, "n": [one[name]["n"] for one in arms]}
    if name == "none":
        return found
    differences = [s - 100 * one["none"]["success"] for s, one in zip(success, arms, strict=True)]
    mean = statistics.fmean(differences)
    found |= {"difference": differences, "mean": mean}
    if len(arms) > 1:
        error = statistics.stdev(differences) / len(arms) ** 0.5
        reach = float(stats.t.ppf(0.975, len(arms) - 1)) * error
        found |= {"low": mean - reach, "high": mean + reach}
    pairs = [one[name]["against_none"] for one in arms]
    return found | {key: [100 * pair[key] for pair in pairs] for key in ("recovery", "regression")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--env", default="alfworld", help="alfworld, webshop or search")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workdir", default="", help="of mock_run.py; runs/mock_run_<env>")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    base = Path(args.workdir or f"runs/mock_run_{args.env}").absolute()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    results, rows = {}, []
    for checkpoint in ("base", "sft", "rl"):
        arms = [play(base / f"seed{seed}", checkpoint) for seed in seeds]
        results[checkpoint] = {name: compared(arms, name) for name in arms[0]}
        for name, found in results[checkpoint].items():
            each = " ".join(f"{value:.0f}" for value in found["success"])
            row = [checkpoint, name, f"{statistics.fmean(found['success']):.1f}", each]
            if "mean" in found:
                row += [f"{found['mean']:+.1f}"]
                row += [f"{found['low']:+.1f} to {found['high']:+.1f}" if "low" in found else "-"]
                row += [f"{statistics.fmean(found[key]):.1f}" for key in ("recovery", "regression")]
            rows.append(row + [""] * (8 - len(row)))
    head = [
        "policy",
        "bank",
        "success %",
        "per seed",
        "- none",
        "95 %",
        "recovery %",
        "regression %",
    ]
    text = table(rows, head)
    print(text)
    if args.json:
        command = " ".join(["python", *sys.argv])
        found = {"command": command, "seeds": seeds, "split": SPLIT, "arms": results, "table": text}
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
