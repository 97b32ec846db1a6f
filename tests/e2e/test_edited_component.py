"""The loop of somebody who edits a crop: what was made before the edit is reused, and said to be
of other code until --force makes it again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.contracts import registry

CELL = ["--method", "random_init", "--crop", "corner", "--task", "knn", "--devices", "cpu"]
CELL += ["--workers", "0", "--set", "scenes_objects.n_train=24", "--set", "scenes_objects.n_val=8"]
CELL += ["--set", "random_init.backbone=resnet18_quarter", "--set", "knn.image_size=32"]
CELL += ["--set", "knn.resize=36"]
CROP = '''"""Views from a corner."""

from corners.share import SHARE
from methods.crops.image import Image


class Corner(Image):
    """Views from a corner of the image."""

    share = SHARE
'''


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that the crop `corner`, of a package of other people, imports."""
    (tmp_path / "corners" / "crops").mkdir(parents=True)
    for package in ("corners", "corners/crops"):
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "corners" / "crops" / "corner.py").write_text(CROP)
    about = tmp_path / "corners-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: corners\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.components]\ncorners = corners\n")
    file = tmp_path / "corners" / "share.py"
    file.write_text("SHARE = 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.entries.cache_clear()
    yield file
    registry.entries.cache_clear()
    registry.load.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "corners"]:
        del sys.modules[name]


def answer(*arguments: str) -> str:
    from bench.cli import cli

    done = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def notes(text: str) -> list[str]:
    """The lines that speak of other code."""
    return [line for line in text.splitlines() if "other code" in line]


def test_reuse_after_an_edit_is_said_and_force_ends_it(home: Path, share: Path) -> None:
    first = answer("run", *CELL)
    assert "stage(s) made, 0 reused" in first
    assert notes(first) == []

    share.write_text("# What was found to work best.\nSHARE = 0.50\n")
    assert notes(answer("plan", *CELL)) == []

    share.write_text("SHARE = 0.25\n")
    rest = "made by other code (pretrain/random_init)"
    assert notes(answer("plan", *CELL)) == [
        f"1 of the stages that are done was {rest}; bench run --force makes it again"
    ]
    again = answer("run", *CELL)
    assert "0 stage(s) made" in again
    assert notes(again) == [f"1 of the reused stages was {rest}; --force makes it again"]
    assert notes(answer("leaderboard")) == [
        f"1 of the results above was {rest}; bench run --force makes it again"
    ]

    forced = answer("run", *CELL, "--force")
    assert "0 reused" in forced
    assert notes(forced) == notes(answer("plan", *CELL)) == notes(answer("leaderboard")) == []
