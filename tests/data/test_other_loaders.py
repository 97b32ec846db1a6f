"""Generated sets in official layouts are what torchvision's own readers of those layouts read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torchvision import datasets

from bench.contracts import registry
from bench.data.runner import write_sample
from bench.data.semantic import single_labels
from tests.data.folders import component, make, runtime

# name -> the folder that torchvision looks for, and its reader of a split of ours
READERS: dict[str, tuple[str, Callable[[Path, str], Any]]] = {
    "pets": (
        "oxford-iiit-pet",
        lambda root, part: datasets.OxfordIIITPet(
            root, split={"train": "trainval", "val": "test"}[part]
        ),
    ),
    "aircraft": (
        "fgvc-aircraft-2013b",
        lambda root, part: datasets.FGVCAircraft(
            root, split={"train": "trainval", "val": "test"}[part]
        ),
    ),
    "cars": (
        "stanford_cars",
        lambda root, part: datasets.StanfordCars(
            root, split={"train": "train", "val": "test"}[part]
        ),
    ),
}


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("name", sorted(READERS))
def test_torchvision_reads_the_same_labels(
    name: str, part: str, tmp_path: Path, home: Path
) -> None:
    folder, read = READERS[name]
    root = tmp_path / "data" / folder
    write_sample(registry.load("data", name), root, 12, 6)  # type: ignore[arg-type]
    theirs = read(tmp_path / "data", part)
    given = runtime(home)
    stage, made = make(component(name), root, given)
    ours = component(name).load(made, given.roots[stage.key], part)
    labels = {ours.file(i).name: int(k) for i, k in enumerate(single_labels(ours))}
    files = getattr(theirs, "_image_files", None) or getattr(theirs, "_images", None)
    files = files or [path for path, _ in theirs._samples]
    assert len(theirs) == len(ours) == {"train": 12, "val": 6}[part]
    assert {Path(f).name: theirs[i][1] for i, f in enumerate(files)} == labels
