"""The commands about skill banks: `inspect` shows one, `convert` writes it in another format."""

from __future__ import annotations

from pathlib import Path

from skillrl.cli.flags import ParsedFlags
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.phases.run_directory import RunDirectory
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank


def inspect(parsed: ParsedFlags) -> str:
    """Returns what `skillrl inspect` shows: a bank, the difference of two versions, or one life."""
    from skillrl.skills.describe import describe_bank
    from skillrl.skills.utility import estimates

    path, values = Path(parsed.positional), parsed.values
    if values["why"] is not None:
        if parsed.present & {"from", "to"}:
            raise SkillRLError("--why tells a skill's whole life; leave --from and --to out.")
        return _life(path, values["why"])
    if parsed.present & {"from", "to"}:
        return _difference(path, values["from"], values["to"])
    found = _newest(path)
    bank = load_bank(found)
    said = describe_bank(bank, utility=estimates(bank), history=values["history"])
    return said if found == path else f"{found}\n{said}"


def convert(parsed: ParsedFlags) -> str:
    """Writes a bank in another format; returns what was written, and what that leaves out."""
    from skillrl.skills.agent_skills import files_left_out
    from skillrl.skills.store import export_bank

    values = parsed.values
    if not values["output"]:
        raise SkillRLError("convert needs --output=PATH, a file or directory that is not there.")
    source, output = _newest(Path(parsed.positional)), Path(values["output"])
    bank = load_bank(source)
    export_bank(bank, output, format=values["format"])
    lines = [f"{output}: {len(bank)} skills of {source}, as {values['format']}"]
    lines += [f"  not copied: {name}" for name in files_left_out(bank)]
    if values["format"] == "released":
        lines.append(f"  words only: for provenance, use, examinations and history keep {source}")
    elif values["format"] == "agent_skills" and bank.history:
        lines.append(f"  without the bank's version and history: for these keep {source}")
    longest = max(bank.skills, key=lambda skill: len(skill.principle), default=None)
    if longest is not None and len(longest.principle) > _LONG:
        lines.append(
            f"  the longest principle has {len(longest.principle):,} characters ({longest.id}); "
            "each prompt that retrieves it grows by as much"
        )
    return "\n".join(lines)


_LONG = 2000  # characters of a principle, several times what a teacher may write


def _newest(path: Path) -> Path:
    """Finds the bank that a path means: itself, or of a run directory its newest.

    Raises:
      SkillRLError: a directory that is neither a run with a bank nor one of Agent Skills.
    """
    if not path.is_dir():
        return path
    from skillrl.phases import prerequisites
    from skillrl.skills import agent_skills

    versions = _versions(path)
    first = prerequisites.first_bank(_run(path))
    if versions:
        return versions[max(versions)]
    if first is not None:
        return first
    if agent_skills.is_directory(path):
        return path
    raise SkillRLError(
        f"{path}: has no skill bank yet (neither banks/*.json nor distill/bank.json, nor "
        "folders with SKILL.md). Name a bank file, a run that has distilled one, or a "
        "directory of Agent Skills."
    )


def _run(path: Path) -> RunDirectory:
    return RunDirectory(path, Config(), lock=False)


def _versions(path: Path) -> dict[int, Path]:
    """Finds the versions of the bank that a run directory has, the oldest first."""
    found = {int(p.stem): p for p in path.glob("banks/*.json") if p.stem.isdecimal()}
    return dict(sorted(found.items()))


def _difference(path: Path, first: int | None, last: int | None) -> str:
    from skillrl.skills.compare import describe_difference

    versions = _versions(path)
    if not versions:
        raise SkillRLError(
            f"{path}: has no banks/*.json to compare. --from and --to need the directory of a run "
            "that has come to RL."
        )
    chosen = (min(versions) if first is None else first, max(versions) if last is None else last)
    for flag, version in zip(("from", "to"), chosen, strict=True):
        if version not in versions:
            known = ", ".join(map(str, versions))
            raise SkillRLError(f"--{flag}={version}: {path} has the versions {known}.")
    if chosen[0] > chosen[1]:
        raise SkillRLError(f"--from={chosen[0]} is newer than --to={chosen[1]}; swap them.")
    old, new = (load_bank(versions[version]) for version in chosen)
    return describe_difference(old, new)


def _life(path: Path, skill_id: str) -> str:
    from skillrl.phases import evidence
    from skillrl.skills.life import describe_life, sources_of
    from skillrl.skills.utility import estimates

    run = _run(path)
    banks: list[SkillBank] = [load_bank(version) for version in _versions(path).values()]
    banks = banks or [load_bank(_newest(path))]
    found = evidence.find(run, sources_of(banks, skill_id)) if path.is_dir() else {}
    return describe_life(banks, skill_id, utility=estimates(banks[-1]), evidence=found)
