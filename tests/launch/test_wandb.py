"""The tracker: offline by default, one run per stage, and it never fails a run."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb

from bench.contracts.tracker import NullTracker
from bench.core.params import Runtime
from bench.launch import wandb as wandb_module
from bench.launch.tracked import TrackedRun
from bench.launch.tracking import make_tracker
from bench.launch.wandb import WandbTracker
from bench.launch.wandb_login import find_tracking
from tests.launch.wandb_files import read_runs


def tracker(
    folder: Path, notes: list[str], id: str = "abcdef0123456789", **options: Any
) -> WandbTracker:
    tracked = TrackedRun(id, "pretrain/byol", "cell", "pretrain", {"lr": 0.2}, ("shared",))
    runtime = Runtime(home=folder, database="sqlite://", **options)
    return WandbTracker(tracked, runtime, notes.append)


KEY = "0123456789" * 4
LAB = "http://wandb.lab:8080"
VARIABLES = (
    *("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"),
    *("WANDB_CONFIG_DIR", "WANDB_DIR", "WANDB_SILENT"),
)


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody whom W&B does not know; a process that has not met it yet."""
    home = tmp_path / "somebody"
    (home / ".config" / "wandb").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wandb_module, "SESSION", type(wandb_module.SESSION)())
    return home


@pytest.mark.parametrize(
    ("variables", "netrc", "settings", "said"),
    [
        ({}, "", "", "offline (no API key for https://api.wandb.ai; to log in: wandb login)"),
        ({"WANDB_API_KEY": KEY}, "", "", "online at https://api.wandb.ai (key of WANDB_API_KEY)"),
        ({}, "api.wandb.ai", "", "online at https://api.wandb.ai (key of {home}/.netrc)"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": KEY}, "", "", "disabled (WANDB_MODE)"),
        ({"WANDB_MODE": "dryrun"}, "", "", "offline (WANDB_MODE)"),
        (
            {"WANDB_MODE": "onlne", "WANDB_API_KEY": KEY},
            *("", ""),
            "!offline (WANDB_MODE is none of online, offline and disabled: 'onlne')",
        ),
        (
            {"WANDB_MODE": "online"},
            *("", ""),
            "!offline (no API key for https://api.wandb.ai; to log in: wandb login)",
        ),
        # a server of one's own: by the environment, or by what `wandb login --host` leaves
        (
            {"WANDB_BASE_URL": LAB},
            *("api.wandb.ai", ""),
            f"offline (no API key for {LAB}; to log in: wandb login --host {LAB})",
        ),
        (
            {"WANDB_BASE_URL": LAB},
            "wandb.lab:8080",
            "",
            f"online at {LAB} (key of {{home}}/.netrc)",
        ),
        ({"WANDB_BASE_URL": LAB}, "wandb.lab", "", f"online at {LAB} (key of {{home}}/.netrc)"),
        ({}, "wandb.lab:8080", f"base_url = {LAB}", f"online at {LAB} (key of {{home}}/.netrc)"),
        ({"WANDB_API_KEY": KEY}, "", "mode = offline", "offline (the mode of W&B's settings)"),
        (
            {"WANDB_BASE_URL": "http://me:word@wandb.lab:abc", "WANDB_API_KEY": KEY},
            *("", ""),
            "!offline (WANDB_BASE_URL is no web address: 'http://me:***@wandb.lab:abc')",
        ),
        (
            {"NETRC": "/no/such"},
            "api.wandb.ai",
            "",
            "offline (no API key for https://api.wandb.ai",
        ),
    ],
)
def test_what_will_happen(
    variables: dict[str, str],
    netrc: str,
    settings: str,
    said: str,
    nobody: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ "!": it is not what was asked for, and a run says so."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if netrc:
        (nobody / ".netrc").write_text(f"machine {netrc}\n login user\n password {KEY}\n")
    if settings:
        (nobody / ".config" / "wandb" / "settings").write_text(f"[default]\n{settings}\n")
    tracking = find_tracking()
    assert str(tracking).startswith(said.lstrip("!").format(home=nobody))
    assert tracking.problem is said.startswith("!")


@pytest.mark.parametrize("damage", ["machine", "[default", "\xff"])
def test_damaged_files_of_a_login_are_no_login(damage: str, nobody: Path) -> None:
    for file in (nobody / ".netrc", nobody / ".config" / "wandb" / "settings"):
        file.write_bytes(damage.encode("latin-1"))
    assert find_tracking().mode == "offline"


def test_it_agrees_with_the_library_on_servers_and_keys(
    nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `wandb login --host` would write, read by W&B itself."""
    wbauth = pytest.importorskip("wandb.sdk.lib.wbauth")
    wbauth.write_netrc_auth(host=LAB, api_key=KEY)
    assert wbauth.read_netrc_auth(host=LAB) == KEY
    monkeypatch.setenv("WANDB_BASE_URL", LAB)
    assert find_tracking().mode == "online"


ASKED = """
import sys
from pathlib import Path
from bench.core.params import Runtime
from bench.launch.tracked import TrackedRun
from bench.launch.wandb import WandbTracker
runtime = Runtime(home=Path(sys.argv[1]), database="sqlite://")
mine = WandbTracker(TrackedRun("a" * 16, "n", "g", "t"), runtime, print)
mine.log({"loss": 1.0}, 0)
mine.finish({})
print("ENDED")
"""


@pytest.mark.parametrize("mode", ["online", "bogus"])
def test_in_a_terminal_it_asks_for_nothing_and_the_run_goes_on_offline(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal with nobody at it: what is asked is never answered."""
    monkeypatch.setenv("WANDB_MODE", mode)
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", ASKED, str(tmp_path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                said += os.read(ours, 4096)
            except OSError:  # it ended
                break
        assert child.wait(timeout=10) == 0, said
    finally:
        child.kill()
        os.close(ours)
    text = said.decode()
    assert "ENDED" in text
    assert text.count("W&B runs are kept offline: ") == 1
    assert "choice" not in text
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_a_server_that_does_not_answer_is_asked_once_and_all_is_kept_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setattr(wandb_module, "INIT_SECONDS", 2)
        notes: list[str] = []
        began = time.monotonic()
        for number in range(3):
            mine = tracker(tmp_path, notes, f"{number}" * 16)
            mine.log({"loss": 1.0}, 0)
            mine.finish({"AP": 1.0})
            assert mine.url is None
    assert time.monotonic() - began < 40
    (line,) = notes
    assert "does not take runs" in line
    assert line.endswith("to send them later: bench track sync")
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 3


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


def test_no_tracker(tmp_path: Path) -> None:
    runtime = Runtime(home=tmp_path, database="sqlite://", tracker="none")
    assert isinstance(make_tracker(runtime, TrackedRun("a", "n", "g", "t")), NullTracker)


def test_what_has_nothing_to_show_leaves_no_run_but_a_failure_does(tmp_path: Path) -> None:
    tracker(tmp_path, [], "1" * 16).finish()
    assert not (tmp_path / "wandb").exists()
    tracker(tmp_path, [], "2" * 16).finish(failed=True)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_project_account_tags_and_notes_are_those_of_the_command_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_TAGS", "lab,paper")
    options: Any = {"wandb_project": "crops", "wandb_entity": "us", "wandb_notes": "First try."}
    mine = tracker(tmp_path, [], wandb_tags=("paper", "x" * 70), **options)
    mine.log({"loss": 1.0}, 0)
    mine.finish()
    (run,) = read_runs(tmp_path)
    assert (run.project, run.entity) == ("crops", "us")
    assert run.notes == "First try."
    assert run.tags == ["paper", "x" * 64, "lab", "shared"]  # W&B takes 64 characters


@pytest.mark.parametrize("system", [True, False])
def test_machine_and_git_are_recorded_unless_switched_off(system: bool, tmp_path: Path) -> None:
    repository = tmp_path / "code"
    for words in (
        ["init", "-q", str(repository)],
        ["-C", str(repository), "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *words], check=True)
    code = ASKED.replace('"sqlite://"', f'"sqlite://", wandb_system={system}')
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=repository)
    (run,) = read_runs(tmp_path)
    assert bool(run.commit) is bool(run.cpus) is bool(run.measured) is system
