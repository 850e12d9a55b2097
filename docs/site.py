"""Hooks of mkdocs: pages from outside of docs/; links to other files become plain names."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "BUILD.md": "building.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""File of the repository -> page of the site."""

_LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Adds the pages that lie outside of docs/."""
    for source, page in PAGES.items():
        content = _relinked((ROOT / source).read_text("utf-8"), (ROOT / source).parent, page)
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrites the links of a page that lies in docs/; `on_files` did the others."""
    uri = page.file.src_uri
    if uri in PAGES.values():
        return markdown
    return _relinked(markdown, (ROOT / "docs" / uri).parent, uri)


def _relinked(text, folder, page):
    """Makes links from `folder` into links between pages; what is no page keeps its label alone.

    A link to nothing stays as it is, for ``mkdocs build --strict`` to refuse.
    """

    def target(found):
        label, link, anchor = found[1], found[2], found[3] or ""
        path = (folder / link).resolve()
        if ":" in link or not path.is_relative_to(ROOT) or not path.exists():
            return found[0]
        inside = path.relative_to(ROOT).as_posix()
        if inside in PAGES:
            uri = PAGES[inside]
        elif inside.startswith("docs/"):
            uri = inside.removeprefix("docs/")
        else:
            return label
        return f"[{label}]({posixpath.relpath(uri, posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(target, text)
