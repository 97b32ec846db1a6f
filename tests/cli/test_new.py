"""bench new and bench check: what is written works as it stands and passes the suite."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bench
from bench import conformance
from bench.cli import cli
from bench.contracts import registry

KINDS = ("method", "crop", "task", "data")


def new(*words: str) -> Any:
    return CliRunner().invoke(cli, ["new", *words])


def forget() -> None:
    registry.entries.cache_clear()
    registry.load.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "mylab"]:
        del sys.modules[name]


@pytest.fixture
def mylab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with one component of each kind, as `pip install` would leave it."""
    root = tmp_path / "mylab"
    for kind in KINDS:
        done = new(kind, f"my_{kind}", "--package", str(root))
        assert done.exit_code == 0, done.output
    about = root / "mylab-0.1.0.dist-info"
    about.mkdir()
    project = tomllib.loads((root / "pyproject.toml").read_text())
    [(name, value)] = project["project"]["entry-points"][registry.GROUP].items()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(str(root))
    forget()
    yield root
    forget()


def test_all_four_kinds_are_found_and_planned_together(mylab: Path) -> None:
    planned = bench.plan("my_method", "my_crop", "my_task,knn").cells
    assert [cell.unsupported for cell in planned] == [None, None]
    assert registry.entry("data", "my_data").summary.startswith("Images in class folders")


def test_the_crop_is_four_quarters_that_overlap_as_much_as_it_says(mylab: Path) -> None:
    from mylab.crops.my_crop import quarters  # type: ignore[import-not-found]

    corners = [(0, 0, 5, 3), (5, 0, 10, 3), (0, 3, 5, 6), (5, 3, 10, 6)]
    assert [tuple(box) for box in quarters(10, 6, 0.0).tolist()] == corners
    left, right = quarters(100, 100, 0.2)[:2]
    assert left[2] - right[0] == pytest.approx(20)


def test_the_task_counts_images_nearest_to_the_mean_of_their_class(
    mylab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three test rows against two class means, by hand; a row without a label does not count."""
    import mylab.tasks.my_task as module  # type: ignore[import-not-found]

    train = np.array([[1, 0], [3, 0], [0, 2], [9, 9]], np.float32)
    val = np.array([[5, 1], [1, 4], [2, 1]], np.float32)
    rows = {"train": (train, [0, 0, 1, -1]), "val": (val, [0, 1, 1])}

    class Part:
        def __init__(self, split: str) -> None:
            self.features, labels = rows[split]
            self.images = np.array(labels)

    monkeypatch.setattr(module, "load_split", lambda ctx, split, layer: Part(split))
    monkeypatch.setattr(module, "single_labels", lambda images: images)
    task = registry.load("task", "my_task").resolve("tiny")
    assert task.run(None) == {"top1": pytest.approx(200 / 3)}  # type: ignore[attr-defined]


@pytest.mark.long
def test_they_pass_the_whole_suite(mylab: Path) -> None:
    assert conformance.run([f"{kind}:my_{kind}" for kind in KINDS]) == 0


def test_the_suite_finds_what_is_wrong_and_nothing_else(
    mylab: Path,
    capfd: pytest.CaptureFixture,  # type: ignore[type-arg]
) -> None:
    """Of all four declarations, a setting without a meaning."""
    file = mylab / "mylab" / "crops" / "my_crop.py"
    file.write_text(file.read_text().replace("help=", "title="))
    names = [f"{kind}:my_{kind}" for kind in KINDS]
    assert conformance.run(names, (), "-k", "test_declaration") == 1
    output = capfd.readouterr().out
    assert "say what these settings mean: ['overlap']" in output
    assert "1 failed, " in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("crop", "My-Crop"), "try: my_crop"),
        (("crop", "grid", "--package", "lab"), "there is a crop 'grid'"),
        (("crop", "class", "--package", "lab"), "got 'class'"),
        (("crop", "mine"), "is no checkout of bench"),
    ],
)
def test_what_cannot_be_written_says_why_and_leaves_nothing(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = new(*words)
    assert message in str(done.exception)
    assert isinstance(done.exception, bench.BadInput)
    assert not list(tmp_path.glob("*lab*"))


def test_nothing_is_overwritten(mylab: Path) -> None:
    readme = (mylab / "README.md").read_text()
    forget()
    done = new("crop", "other", "--package", str(mylab))
    assert [Path(x).name for x in done.output.split()[:1]] == ["other.py"]
    assert (mylab / "README.md").read_text() == readme
    again = new("crop", "other", "--package", str(mylab))
    assert "exists; nothing was written" in str(again.exception) or "there is a crop" in str(
        again.exception
    )


def test_check_names_the_nearest_component() -> None:
    done = CliRunner().invoke(cli, ["check", "gridd"])
    assert "unknown component 'gridd' (did you mean 'grid'?)" in str(done.exception)
