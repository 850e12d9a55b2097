"""Reading the code blocks of the documentation, for its tests."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of this language, in order."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def write_automat(folder: Path) -> None:
    """The environment and the settings of new_environment.md, as a reader would save them."""
    page = DOCS / "new_environment.md"
    (source,) = blocks(page, "python")
    (settings,) = blocks(page, "json")
    (folder / "automat.py").write_text(source, encoding="utf-8")
    (folder / "automat.json").write_text(settings, encoding="utf-8")
