"""The registry: names from the file tree, entry points, errors with the nearest name."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.contracts import registry
from bench.core.errors import BadInput


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another distribution with one crop, found through the entry-point group."""
    crops = tmp_path / "plug" / "crops"
    crops.mkdir(parents=True)
    (tmp_path / "plug" / "__init__.py").write_text("")
    (crops / "__init__.py").write_text("")
    (crops / "corner.py").write_text(
        '"""Views from the top left corner."""\n'
        "from bench.contracts.crop import Crop\nclass Corner(Crop):\n    pass\n"
    )
    (crops / "_private.py").write_text("raise RuntimeError('never imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = list(registry.entry_points(group="bench.components"))
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*ours, SimpleNamespace(value="plug", name="plug")]
    )
    registry.entries.cache_clear()
    yield crops
    registry.entries.cache_clear()
    registry.load.cache_clear()
    for name in [n for n in sys.modules if n.startswith("plug")]:
        del sys.modules[name]


def test_file_names_are_component_names(plugin: Path) -> None:
    assert "corner" in registry.names("crop")
    assert "_private" not in registry.names("crop")
    assert registry.entry("crop", "corner").summary == "Views from the top left corner."
    assert "plug.crops.corner" not in sys.modules  # listed without being imported
    assert registry.load("crop", "corner").name == "corner"


def test_ours_are_there() -> None:
    assert {"orl", "byol", "random_init"} <= set(registry.names("method"))
    assert "image" in registry.names("crop")
    assert "coco_det" in registry.names("task")
    assert {"coco", "scenes"} <= set(registry.names("data"))
    assert "selective_search" in registry.names("proposals")


def test_unknown_name_says_nearest_list_and_command() -> None:
    with pytest.raises(
        BadInput, match=r"unknown method 'olr' \(did you mean 'orl'\?\).*bench list methods"
    ):
        registry.entry("method", "olr")


def test_two_packages_with_one_name_are_an_error(plugin: Path) -> None:
    (plugin / "image.py").write_text('"""Twin."""\n')
    registry.entries.cache_clear()
    with pytest.raises(BadInput, match="two components are named crop 'image'"):
        registry.entries()


def test_a_file_without_its_class_is_an_error(plugin: Path) -> None:
    (plugin / "empty.py").write_text('"""Nothing."""\n')
    registry.entries.cache_clear()
    with pytest.raises(BadInput, match="must define exactly one crop class"):
        registry.load("crop", "empty")
