"""Blanks keys that a server echoes, in whatever form it writes them."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from urllib.parse import quote

_SHORTEST = 4
"""Characters of a secret that is looked for; shorter ones would blank ordinary words."""
_WINDOW = 8
"""So many characters in a row that also stand in a secret give it away."""


class Redactor:
    """Blanks secrets in text: whole, cut off at either end, URL-encoded, base64, escaped.

    Every run of `_WINDOW` characters that occurs in some form of a secret is replaced by
    ``***``, so a server that quotes part of a key gives nothing away either. Secrets shorter
    than that are replaced where they stand whole.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        self._short = sorted((f for f in forms if len(f) < _WINDOW), key=len, reverse=True)
        self._windows = {
            form[i : i + _WINDOW].lower() for form in forms for i in range(len(form) - _WINDOW + 1)
        }

    def __repr__(self) -> str:
        return "Redactor(...)"

    def __call__(self, text: str) -> str:
        """Blanks the secrets in `text`."""
        for form in self._short:
            text = text.replace(form, "***")
        if not self._windows:
            return text
        found, kept, at = [], 0, 0
        while at <= len(text) - _WINDOW:
            if text[at : at + _WINDOW].lower() not in self._windows:
                at += 1
                continue
            end = at + _WINDOW
            while text[end - _WINDOW + 1 : end + 1].lower() in self._windows and end < len(text):
                end += 1
            found += [text[kept:at], "***"]
            kept = at = end
        return "".join([*found, text[kept:]])


def _forms(secret: str) -> set[str]:
    """Lists the ways in which a secret may be written."""
    data = secret.encode()
    forms = {
        secret,
        quote(secret, safe=""),
        html.escape(secret),
        json.dumps(secret)[1:-1],
        secret.replace("/", "\\/"),
        *(_unicode(secret, escaped) for escaped in ("&<>", "&<>'+`", None)),
        data.hex(),
    }
    for before in range(3):  # in base64 a text looks otherwise at each of three places
        coded = base64.b64encode(b"\0" * before + data).decode()
        inner = coded[(0, 2, 3)[before] :].rstrip("=")
        forms |= {inner[:-1], inner[:-1].replace("+", "-").replace("/", "_")}
    return forms


def _unicode(secret: str, escaped: str | None) -> str:
    """Escapes characters as JSON does for HTML: all but letters and digits, or `escaped`."""
    return "".join(
        f"\\u{ord(c):04x}" if (not c.isalnum() if escaped is None else c in escaped) else c
        for c in secret
    )
