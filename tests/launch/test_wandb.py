"""The tracker: offline by default, one run per stage, and it never fails a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from bench.contracts.tracker import NullTracker
from bench.launch.wandb import WandbTracker, make_tracker, wandb_mode


def tracker(folder: Path, notes: list[str]) -> WandbTracker:
    return WandbTracker(
        "abcdef0123456789", "pretrain/byol", "cell", "pretrain", {"lr": 0.2}, folder, notes.append
    )


def test_offline_unless_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE")
    assert wandb_mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    notes: list[str] = []
    mine = tracker(tmp_path, notes)
    mine.log({"loss": 1.0}, 0)
    mine.image("views", np.zeros((8, 8, 3), np.uint8))
    mine.finish({"AP": 3.0})
    assert notes == []
    (run,) = (tmp_path / "wandb").glob("offline-run-*-abcdef0123456789")
    assert list(run.glob("*.wandb"))
    assert list(run.rglob("*.png"))
    assert mine.url is None


def test_a_picture_shares_the_step_of_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B drops figures whose step is below the run's; a picture without a step would raise that
    by one."""
    steps: list[int | None] = []

    class Run:
        def log(self, row: dict[str, Any], step: int | None = None) -> None:
            steps.append(step)

    monkeypatch.setattr(wandb, "init", lambda **k: Run())
    mine = tracker(tmp_path, [])
    mine.image("views", np.zeros((8, 8, 3), np.uint8))
    mine.log({"loss": 4.0}, 0)
    mine.log({"loss": 3.0}, 7)
    mine.image("late", np.zeros((8, 8, 3), np.uint8))
    assert steps == [0, 0, 7, 7]


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_a_broken_tracker_is_noted_once_and_fails_nothing(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Run:
        summary: dict[str, Any] = {}

        def log(self, *a: Any, **k: Any) -> None:
            if where == "log":
                raise RuntimeError("broken log")

        def finish(self, **k: Any) -> None:
            if where == "finish":
                raise RuntimeError("broken finish")

    def init(**k: Any) -> Run:
        if where == "init":
            raise RuntimeError("broken init")
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    notes: list[str] = []
    mine = tracker(tmp_path, notes)
    for step in range(3):
        mine.log({"loss": 1.0}, step)
    mine.finish()
    assert len(notes) == 1
    assert f"broken {where}" in notes[0]


def test_no_tracker() -> None:
    assert isinstance(make_tracker("none"), NullTracker)
