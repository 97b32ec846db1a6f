"""bench gc beside running commands: it deletes nothing that they make or read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bench.cli import cli, gc
from bench.core.store import Store
from tests.core.runners import stage
from tests.core.test_store import engine
from tests.patience import HANG

IMPORTS = (
    "import sys; from pathlib import Path; from bench.core.store import Store;"
    "from tests.core.runners import stage; from tests.core.test_store import engine;"
    "home = Path(sys.argv[1]);"
)


def start(home: Path, code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + code, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def collect(*options: str) -> str:
    done = CliRunner().invoke(cli, ["gc", *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


TRAINING = (
    "s = Store(home); a = stage('a');\n"
    "with s.lock(a):\n"
    "    (s.work(a) / 'checkpoint').write_text('x'); print('runs', flush=True); sys.stdin.read()"
)


def test_a_training_that_starts_while_the_output_blocks_keeps_its_work(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Store(home).work(stage("a")) / "left").write_text("by an earlier try")
    running: list[subprocess.Popen[str]] = []
    echo = click.echo

    def block(*arguments: Any, **options: Any) -> None:
        if not running:  # a pager, say: by the time it takes the line, a training has begun
            running.append(start(home, TRAINING))
            assert running[0].stdout is not None
            assert running[0].stdout.readline() == "runs\n"
        echo(*arguments, **options)

    monkeypatch.setattr(click, "echo", block)
    collect("--yes")
    assert (Store(home).work(stage("a")) / "checkpoint").exists()
    assert "work/" not in collect("--yes")
    running[0].communicate("")
    assert "work/" in collect("--yes")
    assert not any((home / "work").iterdir())
    assert not any((home / "trash").iterdir())


def wait_for(path: Path) -> None:
    until = time.monotonic() + HANG
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_inputs_of_a_stage_that_is_made_are_left(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "DROPPABLE", ("toy",))
    first = stage("first")
    second = stage("second", {"x": first})
    other = stage("other")
    for each in (second, other):
        engine(home).ensure(each)
    log = str(tmp_path / "log")
    top = stage("top", {"x": second}, log=log, sleep=3)
    code = (
        "top = stage('top', {'x': stage('second', {'x': stage('first')})}, "
        f"log={log!r}, sleep=3); engine(home).ensure(top)"
    )
    running = start(home, code)
    wait_for(home / "work" / top.key[:32] / "out.txt")
    output = collect("--stages", "--yes")
    assert running.poll() is None
    store = Store(home)
    assert [store.has(s) for s in (first, second, other)] == [True, True, False]
    assert "second" not in output
    assert "other" in output
    running.communicate("")
    assert running.returncode == 0
    assert "second" in collect("--stages", "--yes")
    assert not store.has(second)


def test_an_input_deleted_before_it_is_used_is_made_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = stage("a")
    top = stage("top", {"x": a})
    lock = Store.lock

    @contextmanager
    def late(self: Store, what: Any, *rest: Any) -> Iterator[None]:
        with lock(self, what, *rest):
            if what.key == top.key:  # a gc between the look at the input and this
                os.rename(self.folder(a), home / "gone")
            yield

    monkeypatch.setattr(Store, "lock", late)
    folder = engine(home).ensure(top)
    assert (folder / "out.txt").read_text() == "top(a())"
    assert Store(home).has(a)


def test_a_killed_gc_leaves_no_half_of_a_stage(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "DROPPABLE", ("toy",))
    folder = engine(home).ensure(stage("a"))

    def die(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", die)
        CliRunner().invoke(cli, ["gc", "--stages", "--yes"])
    assert not folder.exists()
    (left,) = (home / "trash").iterdir()
    assert (left / "done").exists()
    assert "trash/" in collect("--yes")
    assert not left.exists()
