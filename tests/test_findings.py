"""docs/findings.md and README.md: what they say of skills is what the committed results hold."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLACES = [
    ("alfworld", "docs/findings.md", "What came out"),
    ("search", "docs/findings.md", "What came out in Search"),
    ("webshop", "docs/findings.md", "What came out in the shops"),
    ("alfworld", "benchmarks/README.md", "What the skills are worth"),
    ("search", "benchmarks/README.md", "The mock run in Search"),
    ("webshop", "benchmarks/README.md", "The mock run in WebShop"),
]
ROWS = {  # policy and bank, as the page names them -> arm, checkpoint, bank
    ("base", "none"): ("base", "base", "none"),
    ("base", "the first one"): ("base", "base", "initial"),
    ("base", "that RL ended with"): ("base_final_bank", "base", "final"),
    ("base", "text about nothing"): ("base_final_bank", "base", "neutral:final"),
    ("after SFT", "none"): ("skills_removed", "sft", "none"),
    ("after SFT", "its own"): ("sft", "sft", "own"),
    ("after SFT", "another category's"): ("shuffled", "sft", "shuffled"),
    ("after RL", "none"): ("skills_removed", "rl", "none"),
    ("after RL", "the first one"): ("full", "rl", "initial"),
    ("after RL", "its own"): ("full", "rl", "own"),
    ("after RL", "another category's"): ("shuffled", "rl", "shuffled"),
    ("after SFT, frozen", "that evolved meanwhile"): ("frozen", "rl", "own"),
    ("SFT and RL without evolution", "the first one"): ("no_evolution", "rl", "own"),
    ("SFT and RL with raw trajectories", "trajectories"): ("raw_trajectories", "rl", "own"),
    ("SFT without skills", "none"): ("sft_bare", "sft", "none"),
    ("SFT and RL without skills", "none"): ("grpo_sft", "rl", "none"),
}


def result(env):
    return json.loads((RESULTS / f"ablation_{env}.json").read_text())


def success(env):
    """Maps an arm, a checkpoint and a bank to the success of valid_unseen."""
    rows = result(env)["success"]
    return {
        (row["arm"], row["checkpoint"], row["bank"]): row["splits"]["valid_unseen"] for row in rows
    }


def section(page, heading):
    text = (ROOT / page).read_text("utf-8")
    return re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def rows_of(text):
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.endswith("|") for line in lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(("env", "page", "heading"), PLACES)
def test_tables_of_policies_and_banks_are_the_results(env, page, heading):
    measured = success(env)
    found = set()
    for row in rows_of(section(page, heading)):
        if (key := ROWS.get((row[0], row[1]))) and len(row) == 5:
            of = measured[key]
            found.add(key)
            assert row[2:] == [
                f"{100 * of['mean']:.1f}",
                " ".join(f"{100 * one:.0f}" for one in of["per_seed"]),
                f"{100 * of['low']:.1f} to {100 * of['high']:.1f}",
            ], row
    assert found == set(ROWS.values())


@pytest.mark.parametrize(("env", "page", "heading"), PLACES)
def test_differences_are_the_results_and_say_whether_an_aim_is_met(env, page, heading):
    answers = {one["what"]: one for one in result(env)["answers"] if one["found"]}
    seen = set()
    for row in rows_of(section(page, heading)):
        if not (one := answers.get(row[0])):
            continue
        found = one["found"]
        seen.add(row[0])
        assert row[1:5] == [
            f"{100 * found['value']:+.1f}",
            f"{100 * found['low']:+.1f} to {100 * found['high']:+.1f}",
            f"{100 * found['seeds_low']:+.1f} to {100 * found['seeds_high']:+.1f}",
            " ".join(f"{100 * seed:+.0f}" for seed in found["per_seed"]),
        ], row
        assert row[6] == {None: "", True: "yes", False: "no"}[one["met"]], row
    assert seen == set(answers)


@pytest.mark.parametrize("env", ["alfworld", "search", "webshop"])
def test_the_first_page_shows_the_same(env):
    text = (ROOT / "README.md").read_text("utf-8")
    (row,) = [row for row in rows_of(text) if f"ablation_{env}.json" in row[0]]
    measured = success(env)
    keys = [("base", "none"), ("after SFT", "its own"), ("after RL", "its own")]
    keys += [
        ("SFT and RL without evolution", "the first one"),
        ("SFT and RL without skills", "none"),
    ]
    assert row[1:] == [f"{100 * measured[ROWS[key]]['mean']:.0f}" for key in keys]
