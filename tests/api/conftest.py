from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.contracts import registry


@pytest.fixture
def registered() -> Iterator[None]:
    """What the test registers is forgotten at its end."""
    yield
    registry.REGISTERED.clear()
    registry.entries.cache_clear()
    registry.load.cache_clear()
