"""Hooks of mkdocs: the README and the benchmarks as pages, links out of docs/ as plain names."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "benchmarks/README.md": "benchmarks.md"}
"""File of the repository -> page of the site."""

_LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Adds pages that lie outside of docs/."""
    for source, page in PAGES.items():
        content = _relinked((ROOT / source).read_text("utf-8"), (ROOT / source).parent)
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links from docs/ into the repository into pages, or into names without a link."""
    if page.file.src_uri in PAGES.values():
        return markdown  # done in on_files, which knows where the text was
    return _relinked(markdown, (ROOT / "docs" / page.file.src_uri).parent)


def _relinked(text, folder):
    def target(found):
        label, link, anchor = found[1], found[2], found[3] or ""
        if re.match(r"[a-z]+:", link):
            return found[0]
        path = (folder / link).resolve()
        if not path.is_relative_to(ROOT):
            return found[0]
        inside = path.relative_to(ROOT).as_posix()
        if inside in PAGES:
            return f"[{label}]({PAGES[inside]}{anchor})"
        if inside.startswith("docs/") and path.exists():
            return f"[{label}]({inside.removeprefix('docs/')}{anchor})"
        return label if path.exists() else found[0]

    return _LINK.sub(target, text)
