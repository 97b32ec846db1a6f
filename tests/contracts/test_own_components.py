"""What our own components keep to besides the conformance suite."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import registry

EVERY = sorted(registry.entries())


@pytest.mark.parametrize("name", registry.names("data"))
def test_every_set_can_be_tried(name: str) -> None:
    """A set that is not generated has generated scenes in its layout."""
    data: Any = registry.load("data", name)
    assert (data.sample() is not None) == data.needs_path


@pytest.mark.parametrize("name", registry.names("task"))
def test_one_label_an_image_is_asked_of_pictures_of_one_object(name: str) -> None:
    """A label that is one object's of many says little of a picture."""
    task: Any = registry.load("task", name)
    assert (task.data["tiny"] == "scenes_objects") == ("top1" in task.metrics)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_one_file_no_edit_elsewhere(kind: str, name: str) -> None:
    """No other component kind's code names it, so that removing the file removes the component."""
    root = Path(inspect.getfile(registry)).parent
    if kind == "data":
        return
    text = "\n".join(
        f.read_text()
        for f in root.rglob("*.py")
        if "results" not in f.parts and "sets" not in f.parts
    )
    code = re.sub(r'""".*?"""|#.*', "", text, flags=re.S)
    assert not re.search(rf"""['"]{name}['"]""", code) or name in (
        "image",
        "random",
        "grid",
    )
