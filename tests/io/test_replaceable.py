"""What may be replaced: nothing, an empty directory, and what was written whole and left alone."""

import pytest

from skillrl.errors import SkillRLError
from skillrl.io import checksums
from skillrl.io.files import write_sealed
from skillrl.io.replaceable import check_replaceable

MARKER = "mine.json"


@pytest.fixture
def ours(tmp_path):
    place = tmp_path / "ours"
    (place / "inner").mkdir(parents=True)
    (place / "inner" / "file").write_text("content")
    write_sealed(place / MARKER, {"format": 1})
    checksums.seal_directory(place)
    return place


def test_what_is_ours_may_go(ours, tmp_path):
    check_replaceable(ours, marker=MARKER)
    check_replaceable(tmp_path / "nothing", marker=MARKER)
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty", marker=MARKER)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda place: (place / "inner" / "file").write_text("other"),
            "changed since .*inner/file",
        ),
        (lambda place: (place / "inner" / "file").unlink(), "changed since .*inner/file"),
        (lambda place: (place / "inner" / "more").write_text(""), "and inner/more, which is not"),
        (lambda place: (place / ".git").write_text(""), r"and \.git, which is not of it"),
        (lambda place: (place / "link").symlink_to("nowhere"), "and link, which is not of it"),
        (lambda place: (place / "link").symlink_to(place.parent), "and link, which is not of it"),
        (lambda place: (place / checksums.SUMS).unlink(), "which is not of it"),
        (lambda place: (place / MARKER).unlink(), r"no earlier export \(it has no mine.json\)"),
        (lambda place: (place / MARKER).write_text('{"format": 2}'), "changed since"),
    ],
)
def test_what_somebody_has_touched_stays(ours, change, words):
    change(ours)
    with pytest.raises(SkillRLError, match=words):
        check_replaceable(ours, marker=MARKER)
