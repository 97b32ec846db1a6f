"""Options with junk in them: one line, exit code 2, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.cli import main

PLAN = ("plan", "--method", "byol", "--task", "knn")
LONG = "a" * 300


def end(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and stderr of a command in this process, as a shell would see them."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(str(ended.value.code)), capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*PLAN, "--set", f"byol.epochs={'9' * 5000}"),
            "byol.epochs: the value is a number beyond",
        ),
        ((*PLAN, "--set", f"byol.epochs={'9' * 20}"), "byol.epochs: the value is a number beyond"),
        ((*PLAN, "--set", f"byol.epochs=1,{'9' * 5000}"), "beyond 64 bits"),
        ((*PLAN, "--set", f"byol.epochs={'[' * 100_000}"), "or is nested too deep"),
        ((*PLAN, "--set", f"byol.epochs={'x' * 5000}"), "(5,002 characters)"),
        ((*PLAN, "--set", f"{'x' * 5000}=1"), "(5,002 characters)"),
        ((*PLAN, "--set", "x" * 5000), "--set takes KEY=VALUE"),
        ((*PLAN, "--seeds", "0-99999999999"), "a seed is at most 2147483647"),
        ((*PLAN, "--seeds", f"0-{'9' * 30}"), "a seed is at most 2147483647"),
        ((*PLAN, "--seeds", f"0-{'9' * 5000}"), "seeds are numbers, lists or ranges"),
        ((*PLAN, "--seeds", "0-2147483647"), "at most 10,000 seeds"),
        ((*PLAN, "--seeds", "3-1"), "no seed in '3-1'"),
        ((*PLAN, "--data", f"coco=/{LONG}"), "File name too long"),
        (
            (*PLAN, "--data", "coco=~nobody-at-all/coco"),
            "no user 'nobody-at-all' has a home folder",
        ),
        (("data", "make", "coco", "--out", "~nobody-at-all/x"), "no user 'nobody-at-all'"),
        (("plan", "--backbone", f"weights=/{LONG}", "--task", "knn"), "File name too long"),
        (("plan", "--method", "\udcff", "--task", "knn"), "unknown method '\\udcff'"),
        (("plan", "--method", "m" * 100_000, "--task", "knn"), "(100,002 characters)"),
        (("data", "make", "coco", "--out", "/dev/null/x"), "/dev/null"),
        (("data", "make", "coco", "--out", f"/tmp/{LONG}"), "File name too long"),
    ],
)
def test_it_is_one_line_with_exit_code_2(
    home: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, said = end(capsys, *words)
    assert code == 2, said
    assert said.startswith("bench: ")
    assert message in said
    assert said.count("\n") == 1
    assert len(said) < 1000
    assert not (home / "store").exists() or not any((home / "store").iterdir())


def test_many_seeds_and_large_numbers_that_are_meant_still_work(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = end(capsys, *PLAN, "--seeds", "7,2147483647", "--set", f"byol.epochs={2**63 - 1}")
    assert code == 0, said


@pytest.mark.parametrize("name", ["BENCH_HOME", "BENCH_DATA"])
@pytest.mark.parametrize("value", [f"/{LONG}", "~nobody-at-all/x", "/dev/null/x"])
def test_folders_of_the_environment(
    name: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    code, said = end(capsys, "run", *PLAN[1:], "--data", "coco", "--task-data", "scenes")
    assert code == 2, said
    assert said.startswith("bench: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("port", ["abc", "0", "99999999", ""])
def test_machines_that_train_together_need_a_port(
    port: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port), ("NODE_RANK", "0")):
        monkeypatch.setenv(name, value)
    code, said = end(capsys, "run", *PLAN[1:], "--nodes", "2")
    assert code == 2, said
    assert "needs MASTER_ADDR, MASTER_PORT and NODE_RANK" in said


def test_debug_shows_where_the_system_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(OSError, match="File name too long"):
        main(["--debug", *PLAN, "--data", f"coco=/{LONG}"])
