"""Shared by the tests of the shops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from skillrl.envs.webshop import shops, suite

KEPT = 384
"""Generated shops that a test leaves to the next; some hundred kilobytes each."""


@pytest.fixture(autouse=True, scope="module")
def _kept_shops() -> Iterator[None]:
    """Tests of one file play in the same shops: each is generated once for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shops, "_KEPT", KEPT)
        suite._generated.cache_clear()
        yield
    suite._generated.cache_clear()
