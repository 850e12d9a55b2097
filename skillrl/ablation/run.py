"""Trains and evaluates all arms of all seeds, and says what came out; see `skillrl.ablation.arms`.

    DIR/seedS/ARM/               an ordinary run directory (inspect and evaluate read it)
    DIR/seedS/evaluations/       what evaluate wrote: results, and the episodes beside them
    DIR/seedS/logs/              what each command said
    DIR/ablation.json            everything in the tables

Whatever is finished is not done again, so the same command goes on after a kill, and with more
seeds or arms it adds these.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.ablation import report
from skillrl.ablation.arms import FINAL, Arm, Played, settings_of, trained_for
from skillrl.ablation.fork import fork
from skillrl.ablation.jobs import Failure, Job, run_jobs
from skillrl.ablation.numbers import answer, learning_speed
from skillrl.ablation.places import find_places
from skillrl.ablation.results import (
    Evaluated,
    newest_bank,
    read_cost,
    read_curve,
    read_evaluated,
    result_stem,
)
from skillrl.ablation.statistics import Outcomes, pooled_rate
from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import make_suite
from skillrl.errors import SkillRLError
from skillrl.io.files import read_sealed, write_json
from skillrl.phases.run_directory import check_workdir

_QUIET = "logging.progress=false"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What was asked for.

    Attributes:
      env: the value of ``--env``, or None.
      mock: whether parts are simulated.
      configs: what ``--config`` names.
      overrides: the texts of ``--set``.
      tuned: arm -> those of ``--set_arm``.
      seeds: of the runs.
      arms: what the tables show.
      workdir: where all of it lies.
      jobs: processes at once; None for as many as there is room for.
    """

    env: str | None
    mock: bool
    configs: tuple[str, ...]
    overrides: tuple[str, ...]
    tuned: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    workdir: Path
    jobs: int | None = None

    def settings(self, arm: Arm) -> tuple[str, ...]:
        """Lists all that ``--set`` says for a run of `arm`."""
        return (*self.overrides, *settings_of(arm, self.tuned), _QUIET)

    def config(self, arm: Arm, seed: int) -> Config:
        """Resolves the settings of the run of an arm and a seed."""
        return presets.resolve(
            self.env,
            mock=self.mock,
            config_path=self.configs,
            overrides=self.settings(arm),
            flags={"seed": seed},
        ).config

    def folder(self, seed: int) -> Path:
        """Returns where the runs of a seed lie."""
        return self.workdir / f"seed{seed}"

    def run(self, seed: int, name: str) -> Path:
        """Returns the run directory of an arm."""
        return self.folder(seed) / name


def ablate(plan: Plan, *, output: Path | None = None, plot: Path | None = None) -> list[Failure]:
    """Runs what is missing, prints the tables, and writes them.

    Args:
      plan: what was asked for.
      output: a further place for ``ablation.json``.
      plot: where to draw training curves, or None.

    Returns:
      The commands that failed; the tables have what is there without them.

    Raises:
      SkillRLError: a setting is refused, or a run directory holds another run.
    """
    configs = check(plan)
    places = find_places(plan.jobs, next(iter(configs.values())).mesh)
    failures = run_jobs(_jobs(plan, configs), places=places)
    found = gather(plan, configs)
    print(f"\n{found['table']}")
    for failure in failures:
        print(f"not done: {failure.name}: {failure.why}", file=sys.stderr, flush=True)
    for path in {plan.workdir / "ablation.json", output or plan.workdir / "ablation.json"}:
        write_json(path, found)
    if plot is not None:
        report.draw(plot, found["curves"], title=found["environment"])
    return failures


def check(plan: Plan) -> dict[tuple[int, str], Config]:
    """Resolves the settings of every run, before anything is created.

    Returns:
      Settings by seed and arm.

    Raises:
      SkillRLError: a setting is refused, or a run directory holds another run; names the arm.
    """
    if "," in str(plan.workdir):
        raise SkillRLError(f"--workdir={plan.workdir}: give a name without commas.")
    configs: dict[tuple[int, str], Config] = {}
    for seed in plan.seeds:
        for arm in trained_for(plan.arms):
            try:
                config = plan.config(arm, seed)
                check_workdir(plan.run(seed, arm.name), config)
            except SkillRLError as error:
                raise SkillRLError(f"arm {arm.name}: {error}") from None
            configs[seed, arm.name] = config
    return configs


def _jobs(plan: Plan, configs: Mapping[tuple[int, str], Config]) -> list[Job]:
    """Lists the commands: all seeds' shared phases first, then what waits for them."""
    trains = [
        Job(
            name=f"seed{seed}/{arm.name}",
            command=functools.partial(_train, plan, configs, arm, seed),
            after=(f"seed{seed}/{arm.parent}",) if arm.parent else (),
            log=plan.folder(seed) / "logs" / f"{arm.name}.log",
        )
        for arm in trained_for(plan.arms)
        for seed in plan.seeds
    ]
    groups: dict[tuple[str, str, tuple[str, ...]], list[Played]] = {}
    for played in (played for arm in plan.arms for played in arm.played):
        group = groups.setdefault((played.run, played.checkpoint, played.needs), [])
        if played not in group:
            group.append(played)
    plays = [
        Job(
            name=f"seed{seed}/evaluate {run} {checkpoint} {'+'.join(p.bank for p in group)}",
            command=functools.partial(_evaluate, plan, configs, seed, group),
            after=tuple(f"seed{seed}/{name}" for name in needs),
            log=plan.folder(seed) / "logs" / f"evaluate-{run}-{checkpoint}.log",
        )
        for (run, checkpoint, needs), group in groups.items()
        for seed in plan.seeds
    ]
    return [*trains, *plays]


def _train(
    plan: Plan, configs: Mapping[tuple[int, str], Config], arm: Arm, seed: int
) -> list[str] | None:
    """Makes the run directory of an arm and returns the command that trains it; None when done."""
    run, config = plan.run(seed, arm.name), configs[seed, arm.name]
    if _trained(run, config):
        return None
    if arm.parent:
        fork(
            arm,
            config,
            parent=plan.run(seed, arm.parent),
            parent_config=configs[seed, arm.parent],
            target=run,
        )
    command = [*_command("train"), f"--workdir={run}", f"--seed={seed}"]
    command += [f"--env={plan.env}"] if plan.env is not None else []
    command += ["--mock" if plan.mock else "--nomock"]
    command += [f"--config={name}" for name in plan.configs]
    return [*command, *(f"--set={text}" for text in plan.settings(arm))]


def _trained(run: Path, config: Config) -> bool:
    """Tells whether `train` has nothing left to do in a run directory."""
    path = run / "phases.json"
    if not path.exists():
        return False
    return read_sealed(path).get("train") == {"training_epochs": config.rl.training_epochs}


def _evaluate(
    plan: Plan, configs: Mapping[tuple[int, str], Config], seed: int, group: Sequence[Played]
) -> list[str] | None:
    """Returns the command that plays what is missing of a policy; None when there is nothing."""
    there = _evaluated(plan, configs, seed, group[0])
    missing = [played.bank for played in group if played not in there]
    if not missing:
        return None
    run, checkpoint = group[0].run, group[0].checkpoint
    stem = result_stem(run, checkpoint, _epochs(configs, seed, group[0]))
    tag = "+".join(bank.replace(":", "-") for bank in missing)
    final = newest_bank(plan.run(seed, "full"))
    if final is None and any(FINAL in bank for bank in missing):
        raise SkillRLError(f"{plan.run(seed, 'full')}: has no bank, as it has not come to RL.")
    banks = ",".join(bank.replace(FINAL, str(final)) for bank in missing)
    splits = ",".join(configs[seed, run].evaluation.final_splits)
    keys = [f"--set={text}" for text in plan.overrides if "_key=" in text.replace(" ", "")]
    return [
        *_command("evaluate"),
        f"--workdir={plan.run(seed, run)}",
        f"--checkpoint={checkpoint}",
        f"--bank={banks}",
        f"--split={splits}",
        f"--output={plan.folder(seed) / 'evaluations' / f'{stem}.{tag}.json'}",
        f"--set={_QUIET}",
        *keys,
    ]


def _command(name: str) -> list[str]:
    # Each is a run by itself, also where a launcher has started several of this process.
    return [sys.executable, "-m", "skillrl", name, "--distributed=off"]


def _epochs(
    configs: Mapping[tuple[int, str], Config], seed: int, played: Played
) -> tuple[int, ...]:
    """Returns the iterations of RL of the arms that have to do with a policy and its bank."""
    return tuple(configs[seed, name].rl.training_epochs for name in played.needs)


def _evaluated(
    plan: Plan, configs: Mapping[tuple[int, str], Config], seed: int, played: Played
) -> dict[Played, Evaluated]:
    """Reads all results of the policy of `played` that need the same arms."""
    return read_evaluated(
        plan.folder(seed) / "evaluations",
        run=played.run,
        checkpoint=played.checkpoint,
        epochs=_epochs(configs, seed, played),
    )


def gather(plan: Plan, configs: Mapping[tuple[int, str], Config]) -> dict[str, Any]:
    """Collects all that is there as plain JSON values, with the tables under ``table``.

    Args:
      plan: what was asked for.
      configs: settings by seed and arm, as from `check`.
    """
    some = next(iter(configs.values()))
    env, splits = some.env.name, some.evaluation.final_splits
    headline = "valid_unseen" if "valid_unseen" in splits else splits[-1]
    categories = make_suite(env, some.env).categories
    shown = [(arm, played) for arm in plan.arms for played in arm.played]
    there: dict[int, dict[Played, Evaluated]] = {seed: {} for seed in plan.seeds}
    for seed in plan.seeds:
        for _, played in shown:
            there[seed] = _evaluated(plan, configs, seed, played) | there[seed]

    rows: list[report.Row] = []
    tokens: dict[str, tuple[float | None, float | None]] = {}
    for arm, played in shown:
        each = [there[seed][played].results for seed in plan.seeds if played in there[seed]]
        if not each:
            continue
        rates = {split: pooled_rate([result[split] for result in each]) for split in splits}
        parts = {
            split: {
                key: pooled_rate([result[split]["by_category"][key] for result in each])
                for key in categories
            }
            for split in splits
        }
        rows.append((arm.name, played.checkpoint, played.bank, rates, parts))
        tokens.setdefault(
            arm.name,
            (
                _mean([result[headline]["prompt_tokens"] for result in each]),
                _mean([result[headline]["skill_tokens"] for result in each]),
            ),
        )

    @functools.cache
    def outcomes(seed: int, played: Played) -> Outcomes | None:
        found = there[seed].get(played)
        return found.outcomes(headline) if found is not None else None

    trained = trained_for(plan.arms)
    curves = {
        arm.name: [read_curve(plan.run(seed, arm.name)) for seed in plan.seeds]
        for arm in trained
        if arm.reinforced
    }
    costs = {
        arm.name: [
            read_cost(
                plan.run(seed, arm.name),
                parent=plan.run(seed, arm.parent) if arm.parent else None,
                shares=arm.shares,
            )
            for seed in plan.seeds
        ]
        for arm in trained
    }
    answers = answer(env, plan.seeds, outcomes)
    speed = learning_speed(curves)
    tables = [
        report.success_table(rows, splits, env),
        report.category_table(rows, headline, categories),
        report.cost_table(costs, tokens),
        report.answers_table(answers, speed, env),
        _EXPLAINED,
    ]
    return {
        "environment": env,
        "seeds": list(plan.seeds),
        "settings": {arm.name: list(plan.settings(arm)) for arm in trained},
        "arms": {arm.name: arm.what for arm in plan.arms},
        "success": [
            {
                "arm": arm,
                "checkpoint": checkpoint,
                "bank": bank,
                "splits": {s: _plain(rate) for s, rate in rates.items()},
                "by_category": {
                    s: {key: _plain(rate) for key, rate in found.items()}
                    for s, found in parts.items()
                },
            }
            for arm, checkpoint, bank, rates, parts in rows
        ],
        "costs": {name: [_plain(cost) for cost in each] for name, each in costs.items()},
        "answers": [_plain(one) for one in answers],
        "speed": _plain(speed),
        "curves": curves,
        "paper": report.PAPER.get(env.removeprefix("agentgym_"), {}),
        "table": "\n\n".join(tables),
    }


_EXPLAINED = (
    "over seeds: Student's interval, the seeds being the units; over episodes: Wilson's, over "
    "pairs: Tango's (Student's with repeats), pooled over seeds, of these trained policies. paper: "
    "arXiv 2602.08234, tables 1 and 3 (search: 2), another model and the real environment."
)


def _plain(record: Any) -> Any:
    return None if record is None else dataclasses.asdict(record)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
