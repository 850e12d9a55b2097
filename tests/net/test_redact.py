"""A server that echoes a key, in whatever form, tells nobody."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.net.redact import Redactor

KEY = "sk-proj/Ab3+x=Zq9&w~Lm7<Kt5>Vn2"
ECHOES = {
    "plain": KEY,
    "with Bearer": f"Bearer {KEY}",
    "url": quote(KEY, safe=""),
    "url, lower case": quote(KEY, safe="").replace("%2F", "%2f"),
    "form": quote_plus(KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of Bearer": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 of user:key": base64.b64encode(f"x:{KEY}".encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(KEY.encode()).decode(),
    "json": json.dumps(KEY),
    "json, slashes escaped": KEY.replace("/", "\\/"),
    "json for html": KEY.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    "html": html.escape(KEY),
    "hex": KEY.encode().hex(),
    "cut off": KEY[:12],
    "its end": KEY[-10:],
    "shouted": KEY.upper(),
}


@pytest.mark.parametrize("form", ECHOES)
def test_no_eight_characters_of_any_form_are_left(form):
    echo = ECHOES[form]
    text = Redactor([KEY])(f"wrong key: {echo}; try again")
    assert text.startswith("wrong key: ")
    assert text.endswith("; try again")
    assert "***" in text
    inner = echo.removeprefix("QmVhcmVyI")  # "Bearer " is no secret
    assert not any(inner[i : i + 8] in text for i in range(len(inner) - 7))


@given(st.text(), st.text(), st.integers(8, 31))
def test_what_surrounds_a_part_of_a_key_stays(before, after, size):
    blank = Redactor([KEY])
    text = blank(f"{before} {KEY[:size]} {after}")
    assert "***" in text
    assert KEY[:8] not in text
    assert text.startswith(blank(before))


def test_short_keys_and_none():
    assert Redactor(["abcd"])("key abcd, abc") == "key ***, abc"
    assert Redactor(["ab", ""])("ab c") == "ab c"  # no key, and blanking it would hide words
    assert Redactor([])("text") == "text"
    assert KEY not in repr(Redactor([KEY]))
