"""Imports bm25s without letting it start JAX.

`bm25s` 0.3 runs a JAX operation when it is imported, if JAX is installed. In a training
process that takes the accelerators before the mesh is set up (`jax.distributed` then refuses to
start), in a server's it takes their memory. Nothing here uses what that buys.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import ModuleType

_LOCK = threading.Lock()
_HIDDEN = "jax.lax"  # what bm25s.selection tries to import; it does without if it cannot


def import_bm25s() -> ModuleType:
    """The module `bm25s`."""
    with _LOCK:
        if "bm25s" not in sys.modules:
            before = sys.modules.get(_HIDDEN)
            sys.modules[_HIDDEN] = None  # type: ignore[assignment]
            try:
                import bm25s
            finally:
                del sys.modules[_HIDDEN]
                if before is not None:
                    sys.modules[_HIDDEN] = before
            logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs all that it does
        import bm25s

        return bm25s
