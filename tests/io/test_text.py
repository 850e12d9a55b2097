"""Half an emoji and control characters: repaired where they enter, shown as what they are."""

import json
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from skillrl.io.console import table
from skillrl.io.text import printable, repair

ROOT = Path(__file__).resolve().parents[2]

ANY = st.text(st.characters(categories=None))  # surrogates too


def test_lone_surrogates_become_the_replacement_character():
    assert repair("a\ud83db") == "a\ufffdb"
    assert repair({"\udc00": ["\ud800", 1, None, ("x", "\udfff")]}) == {
        "\ufffd": ["\ufffd", 1, None, ("x", "\ufffd")]
    }


def test_what_is_valid_is_not_copied():
    value = {"a": ["b", {"c": "😀"}], "d": ()}
    assert repair(value) is value


@given(ANY)
def test_whatever_comes_out_can_be_encoded(text):
    repair(text).encode("utf-8")
    assert repair(repair(text)) == repair(text)


def test_control_characters_are_shown():
    assert printable("\x1b[2Jgone\x07 \x9bA\u202e\n\tkept é") == (
        "\\x1b[2Jgone\\x07 \\x9bA\\u202e\n\tkept é"
    )


@given(ANY)
def test_printable_text_has_none_left(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert all(
        char in "\n\t" or not ("\0" <= char < " " or "\x7f" <= char < "\xa0") for char in shown
    )


WILD = "a\x1b[2Jb\rc\u202ed"
TAME = "a\\x1b[2Jb\\x0dc\\u202ed"


def test_tables_show_no_control_characters():
    assert table([[WILD, 0.5]], ["name", WILD]).splitlines() == [
        f"{'name':<{len(TAME)}}  {TAME}",
        f"{'-' * len(TAME)}  {'-' * len(TAME)}",
        f"{TAME}  {'0.500':>{len(TAME)}}",
    ]


def test_logs_and_errors_of_a_command_show_none(tmp_path):
    """As a user has them: in a process whose logging nobody has configured."""
    bank = tmp_path / "bank.json"
    skill = {"skill_id": "gen_001", "title": WILD, "principle": WILD, "when_to_apply": ""}
    empty = {"task_specific_skills": {}, "common_mistakes": []}
    bank.write_text(json.dumps({"general_skills": [skill], **empty}))
    code = f"""
import logging, sys
from skillrl.cli import main
assert main.main(["inspect", {str(bank)!r}]) == 0
assert main.main(["inspect", {("no" + WILD)!r}]) == 2
logging.getLogger("skillrl.net.http").warning("it said %s", {WILD!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert TAME in out
    assert f"it said {TAME}\n" in err
    for text in (out, err):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
