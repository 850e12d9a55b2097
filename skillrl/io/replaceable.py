"""Tells whether a directory may be replaced because it is what we wrote there, and nothing else."""

from __future__ import annotations

from pathlib import Path

from skillrl.errors import Corrupt, SkillRLError
from skillrl.io import checksums
from skillrl.io.files import read_sealed


def check_replaceable(place: Path, *, marker: str) -> None:
    """Checks that nothing is lost when `place` is replaced: it is new, empty, or whole and ours.

    Args:
      place: a directory, or where one will be.
      marker: the sealed JSON file by which a directory of ours is known; beside it lie the sums of
        all its files.

    Raises:
      SkillRLError: it is something else, or a file in it was changed, added or lost since.
    """
    remedy = "nothing was touched. Name another --output, or move it away."
    if not place.exists():
        return
    if not place.is_dir():
        raise SkillRLError(f"--output={place}: is a file; {remedy}")
    if not any(place.iterdir()):
        return
    if not (place / marker).is_file():
        raise SkillRLError(
            f"--output={place}: exists and is no earlier export (it has no {marker}); {remedy}"
        )
    try:
        read_sealed(place / marker)
        whole = checksums.check_directory(place)
    except Corrupt as error:
        raise SkillRLError(
            f"--output={place}: holds an export that was changed since ({error}) {remedy}"
        ) from None
    known = _listed(place) if whole else set()
    added = sorted(
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if (path.is_symlink() or not path.is_dir())
        and path.relative_to(place).as_posix() not in known
    )
    if added:
        raise SkillRLError(
            f"--output={place}: holds an earlier export and {added[0]}, which is not of it; "
            f"{remedy}"
        )


def _listed(directory: Path) -> set[str]:
    """Names the files of which a directory has sums, and the sums themselves."""
    text = (directory / checksums.SUMS).read_text("utf-8")
    return {checksums.SUMS, *(line[66:] for line in text.splitlines())}
