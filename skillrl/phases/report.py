"""The evaluations of a run by stage, and what a run leaves behind at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.evaluation.evaluate import evaluate, results_table
from skillrl.evaluation.intervals import difference
from skillrl.evaluation.shapes import check_event, check_result
from skillrl.io.files import read_jsonl, read_sealed, write_json, write_sealed
from skillrl.io.text import printable
from skillrl.models.transformer import Params
from skillrl.phases import health, prerequisites
from skillrl.phases.prerequisites import STAGES
from skillrl.phases.session import Session
from skillrl.rollout import store
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank


def evaluate_stage(session: Session, stage: str, bank: SkillBank, splits: Sequence[str]) -> None:
    """Evaluates the published policy once per split.

    A result on disk is kept if it is of the same policy and bank: a run that was given
    more training_epochs is evaluated again.
    """
    versions = {"policy_version": session.engine.version, "bank_version": bank.version}
    for split in splits:
        path = session.run.file("evaluation", f"{stage}-{split}.json")
        if path.exists() and versions.items() <= read_sealed(path).items():
            continue
        with session.timed(f"evaluate {stage}"):
            result, _ = evaluate(session, bank, split, label=f"evaluate {stage} {split}")
        write_sealed(path, result | versions)


def load_stage(session: Session, checkpoint: str) -> tuple[Params | None, SkillBank]:
    """Policy and bank of a stage of this run, or of a Hugging Face directory.

    A directory (by now the session's base policy, see `prerequisites.evaluated`) is evaluated
    with this run's newest bank, or without skills if it has none. The base policy has an
    empty bank, as in training. A remote policy has no parameters here: None.

    Raises:
      SkillRLError: the run has not come that far.
    """
    from skillrl.phases.rl import load_rl
    from skillrl.phases.sft import load_sft

    if session.config.model.policy != "local":
        return None, newest_bank(session)
    if checkpoint == "base":
        return session.load_policy(), SkillBank()
    if checkpoint == "sft":
        policy = load_sft(session)
        if policy is not None:
            taught = session.run.file(*prerequisites.SFT_BANK)
            return policy, load_bank(taught) if taught.exists() else _first_bank(session)
    elif checkpoint == "rl":
        found = load_rl(session)
        if found is not None:
            return found
    else:
        return session.load_policy(), newest_bank(session)
    raise SkillRLError(
        f"--checkpoint={checkpoint}: {session.run.path} has no such checkpoint yet. Train there "
        "first, name the run with --workdir, or use --checkpoint=base."
    )


def newest_bank(session: Session) -> SkillBank:
    """The bank of the highest version in the run directory; empty if there is none."""
    versions = [p for p in session.run.file("banks").glob("*.json") if p.stem.isdecimal()]
    found = sorted(versions, key=lambda p: int(p.stem))
    return load_bank(found[-1]) if found else _first_bank(session)


def _first_bank(session: Session) -> SkillBank:
    found = prerequisites.first_bank(session.run)
    return load_bank(found) if found is not None else SkillBank()


def evaluate_command(
    session: Session,
    checkpoint: str,
    bank: SkillBank,
    splits: Sequence[str],
    *,
    temperature: float | None,
    repeats: int | None,
    concurrency: int,
    output: Path | None,
) -> None:
    """Evaluates, prints the table, and writes result and trajectories if asked to."""
    results: dict[str, Any] = {}
    for split in splits:
        results[split], played = evaluate(
            session,
            bank,
            split,
            label=f"evaluate {checkpoint} {split}",
            temperature=temperature,
            repeats=repeats,
            concurrency=concurrency,
        )
        if output is not None:
            store.write(output.with_suffix(f".{split}.jsonl"), played)
    print(results_table({checkpoint: results}, session.suite.categories))
    if output is not None:
        write_json(output, {"checkpoint": checkpoint, "eval": results})
        print(f"written: {output}, trajectories beside it")


def finish(session: Session, policy: Params, bank: SkillBank) -> None:
    """Exports the policy, writes summary.json and prints what happened."""
    session.export(policy, session.run.file("policy"))
    summary = summarise_run(session, bank)
    write_sealed(session.run.file("summary.json"), summary)
    print(printable(report(session, summary)))


def summarise_run(session: Session, bank: SkillBank) -> dict[str, Any]:
    """What summary.json holds."""
    results: dict[str, dict[str, Any]] = {}
    settings = session.config.evaluation
    for stage in STAGES:
        for split in sorted({*settings.splits, *settings.final_splits}):
            path = session.run.file("evaluation", f"{stage}-{split}.json")
            if path.exists():  # others there may be of evaluate --output
                result = check_result(read_sealed(path), path, session.suite.categories)
                results.setdefault(stage, {})[split] = result
    events_file = session.run.file("rl", "evolution.jsonl")
    rows = read_jsonl(events_file, required=True) if events_file.exists() else ()
    events = [check_event(row, events_file) for row in rows]
    evolved = {skill for event in events for skill in (*event["added"], *event["refined"])}
    used = {skill.id for skill in bank.skills if skill.use.episodes} & evolved
    return {
        "eval": results,
        "bank": {
            "initial": len(_initial_bank(session)),
            "final": len(bank),
            "version": bank.version,
            "events": events,
            "evolved_skills": sorted(evolved),
            "evolved_skills_used": sorted(used),
        },
        "curve": [
            {key: row[key] for key in row if key in _CURVE} for row in session.metrics.rows("rl")
        ],
        "alarms": [
            alarm
            for phase in ("sft", "rl")
            for alarm in health.alarms(phase, session.metrics.rows(phase))
        ],
        "wall_seconds": session.wall.read(),
        "simulated": session.simulated,
        "seed": session.seed,
        "environment": session.suite.name,
    }


def _initial_bank(session: Session) -> SkillBank:
    """The one that RL began with."""
    versions = [p for p in session.run.file("banks").glob("*.json") if p.stem.isdecimal()]
    if versions:
        return load_bank(min(versions, key=lambda p: int(p.stem)))
    return _first_bank(session)


_CURVE = {"step", "success", "invalid", "kl", "quick_valid_unseen", "bank_size", "grad_norm"}


def report_finished(session: Session) -> str:
    """The report of a run that has its summary.

    Raises:
      SkillRLError: summary.json is not one that this version wrote.
    """
    path = session.run.file("summary.json")
    summary = read_sealed(path)
    try:
        return report(session, summary)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SkillRLError(
            f"{path}: not a summary of this version of skillrl ({type(error).__name__}: {error}). "
            "Delete it and start the same command again; nothing is trained anew."
        ) from error


def report(session: Session, summary: dict[str, Any]) -> str:
    """The last words of a run: results, skills, files."""
    results, bank = summary["eval"], summary["bank"]
    lines = [""]
    if results:  # the phases one by one evaluate nothing
        lines += [results_table(results, session.suite.categories), ""]
        lines.append(
            "base is evaluated with an empty skill bank, sft and rl with the skills at hand."
        )
    pair = [results.get(stage, {}).get("valid_unseen") for stage in ("sft", "rl")]
    if all(result and result["n"] for result in pair):
        (s1, n1), (s2, n2) = [(round(r["success"] * r["n"]), r["n"]) for r in pair]
        low, high = difference(s2, n2, s1, n1)
        gain = pair[1]["success"] - pair[0]["success"]
        lines.append(
            f"RL - SFT on valid_unseen: {100 * gain:+.1f} points "
            f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
        )
    lines.append(f"skills: {bank['initial']} -> {bank['final']}, {_evolution_line(bank)}")
    lines += [f"alarm: {health.line(alarm)}" for alarm in summary["alarms"]]
    spent = ", ".join(f"{name} {value:.0f}s" for name, value in summary["wall_seconds"].items())
    lines.append(f"time: {spent}")
    if summary["simulated"]:
        lines.append(f"simulated: {'; '.join(summary['simulated'])}")
    root = session.run.path
    lines += [
        f"policy:   {root / 'policy'}  (Hugging Face format)",
        f"skills:   {root / 'banks'}  (skillrl inspect {root})",
        f"numbers:  {root / 'summary.json'}, {root / 'metrics.jsonl'}, tensorboard --logdir {root}",
    ]
    return "\n".join(lines)


def _evolution_line(bank: dict[str, Any]) -> str:
    fired = [event for event in bank["events"] if event["added"] or event["refined"]]
    if not fired:
        return "evolution did not change the bank in this run"
    if not bank["evolved_skills_used"]:
        return f"evolution fired {len(fired)}x, but no evolved skill has appeared in a prompt"
    return (
        f"evolution fired {len(fired)}x: {len(bank['evolved_skills'])} skills added or refined, "
        f"{len(bank['evolved_skills_used'])} of them seen in later prompts"
    )
