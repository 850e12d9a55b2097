"""Opens files as they are downloaded, ``.gz`` among them."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from skillrl.errors import SkillRLError
from skillrl.io.atomic import TEMPORARY

_LOG = logging.getLogger(__name__)
_MAGIC = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Yields the content of a file, unpacked if it is gzip's, whatever its name.

    Raises:
      SkillRLError: gzip's content is damaged or cut short. OSErrors stay what they are.
    """
    with open(path, "rb") as file:
        if file.read(2) != _MAGIC:
            file.seek(0)
            yield file
            return
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as unpacked:
            try:
                yield cast(IO[bytes], unpacked)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise SkillRLError(
                    f"{path}: the gzip file is damaged or cut short ({error}); fetch it again."
                ) from None


def is_packed(path: Path) -> bool:
    """Returns whether a file is gzip's; OSErrors stay what they are."""
    with open(path, "rb") as file:
        return file.read(2) == _MAGIC


def unpack(path: Path) -> Path:
    """Returns the unpacked content of a gzip file, kept beside it; made where it is not there yet.

    Lines of a packed file cannot be read one by one, which a large corpus needs. The kept file
    belongs to the packed one's size and time, and may be deleted at any time.

    Raises:
      SkillRLError: it is damaged, or there is no room beside it.
    """
    stat = path.stat()
    name = path.name.removesuffix(".gz")
    target = path.with_name(f"{name}.unpacked-{stat.st_size:x}-{stat.st_mtime_ns:x}")
    if target.is_file():
        return target
    _LOG.warning("unpacking %s, once, into %s", path, target)
    beside = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with opened(path) as source, open(beside, "xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        os.replace(beside, target)
    except OSError as error:
        raise SkillRLError(
            f"{target}: {path.name} cannot be unpacked there ({error.strerror}). Unpack it with "
            "gunzip where there is room, and name that file."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return target
