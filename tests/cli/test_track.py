"""bench track: offline runs are sent by W&B's own command, to the server that is logged in to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.core.params import Runtime
from bench.launch.tracked import TrackedRun
from bench.launch.wandb import WandbTracker
from tests.launch.wandb_server import serve_wandb

KEY = "0123456789" * 4


def keep_offline(home: Path, *ids: str) -> None:
    """A run of each id with a figure and a picture."""
    for id in ids:
        tracked = TrackedRun(id * 16, "evaluate/knn", "group", "evaluate", {"byol-lr": 0.25})
        mine = WandbTracker(tracked, Runtime(home=home, database="sqlite://"))
        mine.log({"loss": 1.0}, 0)
        mine.image("views", np.zeros((8, 8, 3), np.uint8))
        mine.finish({"top1": 50.0})


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody whom W&B does not know."""
    for name in ("WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_without_runs_there_is_nothing_to_send(home: Path) -> None:
    answer = CliRunner().invoke(cli, ["track", "sync"])
    assert (answer.exit_code, answer.output) == (0, "no offline run is left to send\n")


@pytest.mark.usefixtures("stranger")
def test_runs_are_sent_once_to_the_server_and_the_mode_of_new_runs_does_not_matter(
    home: Path, tmp_path: Path
) -> None:
    keep_offline(home, "a", "b")
    listed = json.loads(CliRunner().invoke(cli, ["track", "sync", "--json"]).output)
    assert [folder[-16:] for folder in listed] == ["a" * 16, "b" * 16]
    refused = CliRunner().invoke(cli, ["track", "sync"])
    assert "no API key for https://api.wandb.ai" in str(refused.exception)
    with serve_wandb() as sent:
        command = [sys.executable, "-c", "from bench.cli import main; main()", "track", "sync"]
        words = subprocess.run(
            ["env", f"WANDB_API_KEY={KEY}", f"WANDB_BASE_URL={sent.url}", *command],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert words.splitlines()[0] == f"sending 2 run(s) to {sent.url}"
    assert words.splitlines()[-1] == "2 run(s) sent, 0 left"
    assert set(sent.runs) == {"a" * 16, "b" * 16}
    mine = sent.runs["a" * 16]
    assert (mine["groupName"], mine["jobType"]) == ("group", "evaluate")
    assert json.loads(mine["config"])["byol-lr"] == {"value": 0.25}
    assert any(name.startswith("media/images/views") for name in sent.files["b" * 16])
    again = CliRunner().invoke(cli, ["track", "sync"])
    assert again.output == "no offline run is left to send\n"
    assert not (tmp_path / "wandb").exists(), "nothing is written where the command was typed"
