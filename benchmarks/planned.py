"""How near `skillrl plan` comes to what a real compiler plans, without that compiler.

    python benchmarks/planned.py [--json PATH]

`results/compiled_v5p_4.json` says what libtpu makes of Qwen2.5-7B on four TPU v5p (`compiled.py`).
This compiles the same programs as a plan does that has no libtpu: in float32, for four virtual
devices of the CPU. Printed is the working memory by both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from skillrl.planning.targets import environment  # noqa: E402

os.environ.update(environment(4, dict(os.environ)))

import compiled  # noqa: E402
import own  # noqa: E402
from accelerator import BUCKET, PROMPTS, SAMPLES  # noqa: E402
from flops import SHAPES  # noqa: E402
from hardware import describe  # noqa: E402

from skillrl.io.console import table  # noqa: E402
from skillrl.parallel.mesh import make_mesh  # noqa: E402
from skillrl.planning.measure import SCORES, working_bytes  # noqa: E402

REAL = HERE / "results" / "compiled_v5p_4.json"
GIB = 2**30


def scored(it: compiled.Subject) -> dict[str, float]:
    """Bytes of the scores that a layer of each program holds on one device, at once."""
    slots = PROMPTS["groups"] * PROMPTS["members"]
    row = SAMPLES["suffix"] + SAMPLES["new"]
    pairs = {
        "a prefix": (False, BUCKET * BUCKET),
        "all suffixes": (False, slots / 4 * PROMPTS["suffix"] * (BUCKET + PROMPTS["suffix"])),
        "prefixes": (False, BUCKET * BUCKET),
        "40 samples' gradient": (True, 40 / 4 * row * (BUCKET + row)),
        "prefixes' gradient": (True, BUCKET * BUCKET),
    }
    return {name: SCORES[grad] * it.sizes.heads * n * 4 for name, (grad, n) in pairs.items()}


def programs(it: compiled.Subject) -> Iterator[compiled.Program]:
    yield from compiled.training(it, 40, "dots")
    yield from compiled.sampling(it)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    real = {row["program"]: row["working_gib"] for row in json.loads(REAL.read_text())["rows"]}
    mesh, sizes = make_mesh(1, 4, 1), SHAPES["7B"]
    config = own.model_config(sizes, dtype="float32", attention="xla", mesh=mesh)
    it = compiled.Subject("7B", sizes, config, mesh, 0)
    rows, scores = [], scored(it)
    for name, function, arguments, named, *_ in programs(it):
        memory = function.lower(*arguments, **named).compile().memory_analysis()
        new = memory.output_size_in_bytes - memory.alias_size_in_bytes
        found = working_bytes(
            memory.temp_size_in_bytes,
            new,
            of_scores=scores.get(name, 0.0),
            halved=True,
            scores=True,
        )
        rows.append({"program": name, "planned_gib": found / GIB, "libtpu_gib": real[name]})
        print(rows[-1], flush=True)
        if args.json:
            said = {"command": "benchmarks/planned.py", **describe(), "rows": rows}
            args.json.write_text(json.dumps(said, indent=2) + "\n")
    print(table([list(row.values()) for row in rows], list(rows[0])))


if __name__ == "__main__":
    main()
