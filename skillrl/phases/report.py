"""Writes what a run leaves behind at its end: its summary, and the report that people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.evaluation.evaluate import results_table
from skillrl.evaluation.intervals import difference
from skillrl.evaluation.shapes import check_event
from skillrl.io.files import read_jsonl, read_sealed, write_sealed
from skillrl.io.text import printable
from skillrl.parallel import processes
from skillrl.phases import health, prerequisites
from skillrl.phases.results import read_results
from skillrl.phases.session import Session
from skillrl.phases.simulated_parts import list_parts
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import bank_from_json, bank_to_json, load_bank


def newest_bank(session: Session) -> SkillBank:
    """Reads the bank of the highest version in the run directory, else the one RL begins with."""
    versions = [p for p in session.run.file("banks").glob("*.json") if p.stem.isdecimal()]
    found = sorted(versions, key=lambda p: int(p.stem))
    return load_bank(found[-1]) if found else first_bank(session)


def bank_on_first(read: Callable[[], SkillBank]) -> SkillBank:
    """Lets the first process read a bank; all processes return it."""
    return processes.on_first("bank", read, encode=bank_to_json, decode=bank_from_json)


def first_bank(session: Session) -> SkillBank:
    """Reads the bank that RL begins with, or returns an empty one if the run has none."""
    found = prerequisites.first_bank(session.run)
    return load_bank(found) if found is not None else SkillBank()


def finish(session: Session, bank: SkillBank) -> None:
    """Writes summary.json and prints what happened in the run."""

    def work() -> None:
        summary = summarise_run(session, bank)
        write_sealed(session.run.file("summary.json"), summary)
        print(printable(report(session, summary)))

    processes.on_first("summary", work)


def summarise_run(session: Session, bank: SkillBank) -> dict[str, Any]:
    """Collects what summary.json holds: results, skills, metrics, alarms and times of the run.

    Args:
      session: the run, whose files are read.
      bank: the skill bank that the run ended with.

    Returns:
      Plain JSON values by name.

    Raises:
      SkillRLError: a file of the run holds something else than what a run writes.
    """
    events_file = session.run.file("rl", "evolution.jsonl")
    rows = read_jsonl(events_file, required=True) if events_file.exists() else ()
    events = [check_event(row, events_file) for row in rows]
    evolved: set[str] = set()
    used: set[str] = set()
    for event in events:
        used |= evolved & set(event.get("used", ()))
        evolved |= set(_new_words(event))
    used |= evolved & {skill.id for skill in bank.skills if skill.use.episodes}
    return {
        "eval": read_results(session.run, session.suite.categories),
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
        "wall_seconds": session.clock.read(),
        "simulated": _simulated(session),
        "seed": session.seed,
        "environment": session.suite.name,
    }


def _initial_bank(session: Session) -> SkillBank:
    """Reads the bank that RL began with: the lowest version, else the one it would begin with."""
    versions = [p for p in session.run.file("banks").glob("*.json") if p.stem.isdecimal()]
    if versions:
        return load_bank(min(versions, key=lambda p: int(p.stem)))
    return first_bank(session)


def _simulated(session: Session) -> list[str]:
    """Names the parts of the run that stand in for the real thing."""
    found = list_parts(session.config, session.suite.simulated)
    return [f"{part.name}: {part.what}" for part in found if part.simulated]


_CURVE = {"step", "success", "invalid", "kl", "quick_valid_unseen", "bank_size", "grad_norm"}


def report_finished(session: Session) -> str:
    """Writes the report of a run from the summary.json that it has on disk.

    Raises:
      SkillRLError: this version of skillrl did not write the summary.json that is there.
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
    """Writes the report that ends a run, over several lines: results, skills, times and files.

    Args:
      session: the run; only its environment and its path are used.
      summary: what `summarise_run` returned.
    """
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
        low, high = difference((s2, n2), (s1, n1))
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
    """Says in one line whether evolution changed the bank, and whether that was ever seen."""
    fired = [event for event in bank["events"] if _new_words(event) or event.get("retired")]
    if not fired:
        return "evolution did not change the bank in this run"
    if not bank["evolved_skills_used"]:
        return f"evolution fired {len(fired)}x, but no evolved skill has appeared in a prompt"
    return (
        f"evolution fired {len(fired)}x: {len(bank['evolved_skills'])} skills added or refined, "
        f"{len(bank['evolved_skills_used'])} of them seen in later prompts"
    )


def _new_words(event: Mapping[str, Any]) -> list[str]:
    """Lists the skills that an event gave new words."""
    return [*event["added"], *event["refined"], *event.get("merged", ())]
