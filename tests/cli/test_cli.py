"""The command line as a user meets it: contracts of --json, one-line errors, exit codes,
completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from bench.cli import cli
from bench.core.store import SCRATCH, Store
from tests.core.runners import stage
from tests.e2e.micro import bench
from tests.patience import HANG


def test_list_json_contract() -> None:
    rows = json.loads(bench("list", "methods", "--json").stdout)
    assert {"orl", "byol", "random_init"} <= {r["name"] for r in rows}
    for row in rows:
        assert set(row) == {"name", "kind", "summary", "file"}
        assert row["kind"] == "method"
        assert Path(row["file"]).is_file()
        assert row["summary"]
    for kind in ("crops", "tasks", "data", "proposals"):
        assert json.loads(bench("list", kind, "--json").stdout)


def test_list_params_tells_defaults_and_scales() -> None:
    text = bench("list", "params", "orl").stdout
    assert "orl.neighbours = 10" in text
    assert "orl.epochs = 800  tiny: " in text
    rows = json.loads(bench("list", "params", "orl", "--json").stdout)
    assert next(r for r in rows if r["name"] == "neighbours")["search"] == [1, 5, 10, 20]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --method olr --task coco_det", "unknown method 'olr' (did you mean 'orl'?)"),
        (
            "run --method orl --task coco_dett",
            "unknown task 'coco_dett' (did you mean 'coco_det'?)",
        ),
        ("run --method orl --task coco_det --data koko", "unknown data 'koko'"),
        ("run --method orl --task coco_det --scale huge", "unknown scale 'huge'"),
        ("run --method orl --task coco_det --set orl.epoch=3", "(did you mean 'epochs'?)"),
        ("run --method orl --task coco_det --set orl.lr=fast", "orl.lr: "),
        ("run --method orl --task coco_det --set orl.lr=nan", "orl.lr: "),
        (
            "run --method orl --task coco_det --data coco=/no/such/folder",
            "no COCO folder at /no/such/folder",
        ),
        ("run --method orl --task coco_det --scale paper", "--data coco=PATH"),
        ("run --method orl --task coco_det --devices many", "--devices is auto, cpu or a number"),
        ("run --method orl --task coco_det --workers -1", "-1"),
        ("run --method orl --task coco_det --set coco_det.engine=detectron", "coco_det.engine: "),
        ("run --method orl", "--task"),
        ("plna", "unknown command 'plna' (did you mean 'plan'?)"),
        ("show 000000000000", "no stage has key"),
        ("show 12", "at least 4 digits"),
        ("list nouns", "unknown kind 'nouns'"),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(arguments: str, message: str) -> None:
    done = bench(*arguments.split())
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_a_bad_plan_runs_nothing(home: Path) -> None:
    done = bench("run", "--method", "orl,byol", "--task", "coco_det", "--set", "byol.epochs=zero")
    assert done.returncode == 2
    assert not list((home / "store").rglob("done"))


def test_a_home_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "file"))
    done = bench("run", "--method", "orl", "--task", "coco_det")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_completion_of_names() -> None:
    environment = {
        **os.environ,
        "_BENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "bench run --method by",
        "COMP_CWORD": "3",
    }
    code = [sys.executable, "-c", "from bench.cli import main; main()"]
    done = subprocess.run(code, capture_output=True, text=True, env=environment, timeout=HANG)
    assert "byol" in done.stdout
    assert "orl" not in done.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("bench show 0f", ["0f00000000aa"]),
        ("bench compare 0", []),
        ("bench export ", ["0f00000000aa"]),
        ("bench run --set byo", ["byol."]),
        ("bench run --set byol.ema", ["byol.ema0="]),
    ],
)
def test_completion_of_keys_and_settings(words: str, completed: list[str], home: Path) -> None:
    (home / "store" / "pretrain" / "byol-0f00000000aa").mkdir(parents=True)
    *given, last = words.split(" ")[1:]
    complete = ShellComplete(cli, {}, "bench", "_BENCH_COMPLETE")
    assert [item.value for item in complete.get_completions(given, last)][:2] == completed


def test_doctor_reports() -> None:
    report = json.loads(bench("doctor", "--json").stdout)
    assert report["packages"]["torch"]
    assert "cpu" in report["devices"]
    assert report["tracker"].startswith("none")
    assert "generated" in report["data"]["scenes"]
    assert "detectron2" in report


def test_gc_keeps_results_and_says_what_it_would_do(home: Path) -> None:
    (home / "work" / "0123").mkdir(parents=True)
    (home / "work" / "0123" / "part").write_text("x" * 1000)
    (home / "store").mkdir()
    (home / "locks").mkdir()
    assert "would be freed" in bench("gc").stdout
    assert (home / "work" / "0123" / "part").exists()
    assert "freed" in bench("gc", "--yes").stdout
    assert not (home / "work" / "0123").exists()


def test_gc_drops_checkpoints_that_a_killed_commit_left(home: Path) -> None:
    what, store = stage("data"), Store(home)
    (store.work(what) / "out.txt").write_text("result")
    folder = store.commit(what, {})
    left = folder / SCRATCH / "checkpoint"
    left.parent.mkdir()
    left.write_text("x" * 1000)
    assert f"{folder.relative_to(home)}/{SCRATCH}" in bench("gc").stdout
    assert left.exists()
    bench("gc", "--yes")
    assert not left.parent.exists()
    assert store.verify(what)
