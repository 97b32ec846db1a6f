"""The examples in the docstrings of what `import bench` offers run as they stand."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import bench

PLACES = {"bench": "bench", **{name: bench._PLACES[name] for name in bench.__all__}}
MODULES = sorted({place for place in PLACES.values() if "bench.core" not in place})


@pytest.mark.filterwarnings("ignore:crop 'half' is known to this process alone")
@pytest.mark.parametrize("name", MODULES)
def test_examples(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch, registered: None
) -> None:
    monkeypatch.chdir(home.parent)
    module = import_module(name)
    # doctest asks this of each name while it goes through the module, which may import more of it
    for value in list(vars(module).values()):
        hasattr(value, "__wrapped__")
    result = doctest.testmod(module, extraglobs={"bench": bench, "__name__": "notebook"})
    assert result.failed == 0
    assert result.attempted > 0
