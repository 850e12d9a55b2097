"""Keeps answers on disk, so that a resumed run asks nothing twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import Corrupt, SkillRLError
from skillrl.io.checksums import unseal
from skillrl.io.files import write_sealed
from skillrl.io.json_text import decode_json


class AnswerCache:
    """Keeps one JSON file per request in a folder, named by the request's sha256."""

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = Path(folder) if folder else None

    def get(self, request: Mapping[str, Any]) -> Any | None:
        """Returns the stored answer, or None.

        Raises:
          SkillRLError: the file is there but cannot be read.
        """
        path = self._path(request)
        if path is None or not path.exists():
            return None
        try:
            return unseal(decode_json(path.read_bytes()), path)["answer"]
        except (ValueError, KeyError, TypeError, Corrupt) as error:
            raise SkillRLError(
                f"{path}: not a stored answer ({error}). Delete the file to ask again."
            ) from error

    def put(self, request: Mapping[str, Any], answer: Any) -> None:
        """Stores `answer`. `request` is written too: keep keys and headers out of it."""
        path = self._path(request)
        if path is not None:
            write_sealed(path, {"format": 1, "request": dict(request), "answer": answer})

    def forget(self, request: Mapping[str, Any]) -> None:
        """Drops the stored answer, if there is one: it turned out to be of no use."""
        path = self._path(request)
        if path is not None:
            path.unlink(missing_ok=True)

    def _path(self, request: Mapping[str, Any]) -> Path | None:
        if self._folder is None:
            return None
        canonical = json.dumps(request, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return self._folder / f"{hashlib.sha256(canonical.encode()).hexdigest()}.json"
