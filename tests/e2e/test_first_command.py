"""The user's first command, for real: a row, reuse, kills at any moment, two at once, real
photographs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.micro import backbones, bench, command, made, metrics, run, words
from tests.forked import Command
from tests.patience import HANG


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the micro command ran uninterrupted."""
    home = tmp_path_factory.mktemp("finished") / "home"
    environment = {**os.environ, "BENCH_HOME": str(home), "BENCH_TRACKER": "none"}
    done = subprocess.run(command(), capture_output=True, text=True, timeout=HANG, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return home


@pytest.fixture
def in_finished(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(finished))
    return finished


def test_it_ends_with_a_row(in_finished: Path) -> None:
    rows = json.loads(bench("leaderboard", "--json").stdout)
    assert len(rows) == 1
    row = rows[0]
    assert (row["method"], row["crop"], row["task"], row["scale"]) == (
        "orl",
        "image",
        "coco_det",
        "tiny",
    )
    assert (row["pretrain_data"], row["task_data"], row["engine"]) == (
        "scenes",
        "scenes",
        "torchvision",
    )
    assert row["seeds"] == [0]
    assert row["source"] == "measured"
    (measured,) = metrics(in_finished).values()
    assert {n: m["mean"] for n, m in row["metrics"].items()} == pytest.approx(measured)
    assert all(m["n"] == 1 and m["ci95"] is None for m in row["metrics"].values())
    assert {"AP_bbox", "AP50_bbox", "AP75_bbox", "AP_segm", "AP50_segm", "AP75_segm"} <= set(
        measured
    )


def test_again_reuses_everything(in_finished: Path) -> None:
    start = time.monotonic()
    again = run()
    seconds = time.monotonic() - start
    assert again.returncode == 0, again.stderr
    assert "0 stage(s) made" in again.stdout
    assert "evaluate/coco_det" in again.stdout
    assert seconds < 60  # a hang, not a speed: benchmarks measure speed


def test_plan_before_and_after(
    in_finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def states() -> dict[str, str]:
        text = subprocess.run(
            command("--json", verb="plan"), capture_output=True, text=True, check=True
        )
        plan = json.loads(text.stdout)
        assert {"method", "task", "state"} <= set(plan["cells"][0])
        return {f"{s['kind']}/{s['name']}": s["state"] for s in plan["stages"]}

    after = states()
    assert set(after.values()) == {"done"}
    expected = {
        "data/scenes",
        "proposals/selective_search",
        "pretrain/byol",
        "pretrain/orl",
        "evaluate/coco_det",
    }
    assert expected <= set(after)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "empty"))
    before = states()
    assert set(before) == set(after)
    assert set(before.values()) == {"missing"}


def test_byol_reuses_orls_first_stage(in_finished: Path) -> None:
    sets = (*_only("scenes", "byol", "coco_det"), "random_init.backbone=resnet18_quarter")
    done = run("--method", "byol,random_init", sets=sets)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 stage(s) made" not in done.stdout  # byol's evaluation, random_init, its evaluation
    assert "3 stage(s) made" in done.stdout
    assert "pretrain/byol" in done.stdout.split("reused")[1]
    rows = json.loads(bench("leaderboard", "--json").stdout)
    assert {r["method"] for r in rows} == {"orl", "byol", "random_init"}


def _only(*owners: str) -> tuple[str, ...]:
    from tests.e2e.micro import SETS

    return tuple(s for s in SETS if s.partition(".")[0] in owners)


def test_backbone_has_plain_torchvision_keys(in_finished: Path) -> None:
    """And a quarter of the channels everywhere, but for the colours."""
    import torch
    from torchvision.models import resnet18

    whole = resnet18().state_dict()
    for folder in (in_finished / "store" / "pretrain").iterdir():
        state = torch.load(folder / "backbone.pth", weights_only=True)
        assert {*state, "fc.weight", "fc.bias"} == whole.keys()
        for name, tensor in state.items():
            sides = [n if n in (1, 3, 7) else n // 4 for n in whole[name].shape]
            assert list(tensor.shape) == sides, name


def test_show_says_everything_about_a_result(in_finished: Path) -> None:
    orl = next(r for r in (in_finished / "store" / "evaluate").iterdir())
    key = json.loads((orl / "stage.json").read_text())["key"]
    shown = json.loads(bench("show", key[:10], "--json").stdout)
    assert shown["stage"]["key"] == key
    assert {"packages", "commit", "seconds", "source_digest"} <= set(shown["provenance"])
    assert shown["command"].startswith("bench run --method ")
    assert bench("show", key[:10]).stdout.strip()


def test_results_rebuild_restores_the_database(in_finished: Path) -> None:
    before = json.loads(bench("leaderboard", "--json").stdout)
    exported = bench("results", "export").stdout
    assert len(json.loads(exported)) == len(list(in_finished.glob("store/*/*/result.json")))
    for file in in_finished.glob("results.db*"):
        file.unlink()
    assert json.loads(bench("leaderboard", "--json").stdout) == []
    rebuilt = bench("results", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert json.loads(bench("leaderboard", "--json").stdout) == before
    assert bench("results", "export").stdout == exported


def test_results_check_finds_what_was_changed(home: Path, finished: Path) -> None:
    import shutil

    shutil.copytree(finished, home)
    bench("results", "rebuild")
    fine = bench("results", "check")
    assert (fine.returncode, fine.stdout.strip()) == (
        0,
        "every file and every result is as it was written",
    )
    file = sorted(home.glob("store/evaluate/coco_det-*/per_class.json"))[0]
    file.write_text(file.read_text() + " ")
    for part in home.glob("results.db*"):
        part.unlink()
    wrong = bench("results", "check")
    assert wrong.returncode == 1
    text = " ".join(wrong.stdout.split())  # wrapped to the terminal
    assert "per_class.json: missing or changed since it was written" in text
    assert "is not in the database; try: bench results rebuild" in text


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_at_any_moment_ends_the_same(
    home: Path, finished: Path, how: signal.Signals
) -> None:
    """Kills at random moments, then a run to the end: bit-equal backbones, equal metrics."""
    moments = random.Random(int(how))
    total = sum(p["seconds"] for p in made(finished).values())
    for _ in range(4):
        process = Command(*words())
        if not process.ends_within(moments.uniform(0.2, total / 2)):
            process.send(how)
            done = process.finish()
            if how != signal.SIGKILL and done.returncode not in (0, -how):
                assert done.returncode == 130, done.stderr[-2000:]
    last = run()
    assert last.returncode == 0, last.stderr[-3000:]
    assert backbones(home).keys() <= backbones(finished).keys()
    assert all(backbones(finished)[name] == data for name, data in backbones(home).items())
    mine = metrics(home)
    assert mine == {name: metrics(finished)[name] for name in mine}


@pytest.mark.slow
def test_two_at_once_train_each_stage_once(home: Path, finished: Path) -> None:
    pair = [done.finish() for done in [Command(*words()) for _ in "ab"]]
    assert [p.returncode for p in pair] == [0, 0], pair
    counts = [int(p.stdout.split(" stage(s) made")[0].split()[-1]) for p in pair]
    assert sum(counts) == len(made(home))
    mine = metrics(home)
    assert mine == {name: metrics(finished)[name] for name in mine}


@pytest.mark.slow
@pytest.mark.real_data
def test_real_photographs(home: Path, real_data: Path) -> None:
    coco = f"coco={real_data / 'tiny_coco'}"
    sets = _only("selective_search", "byol", "orl", "coco_det")
    done = run("--data", coco, "--task-data", coco, sets=sets)
    assert done.returncode == 0, done.stderr[-3000:]
    row = json.loads(bench("leaderboard", "--json").stdout)[0]
    assert (row["pretrain_data"], row["task_data"]) == ("coco", "coco")
    assert "AP_bbox" in row["metrics"]


def test_a_damaged_checkpoint_in_the_store_is_made_again(home: Path, finished: Path) -> None:
    import shutil

    shutil.copytree(finished, home)
    for folder in (home / "store" / "evaluate").iterdir():
        shutil.rmtree(folder)
    victim = next((home / "store" / "pretrain").glob("orl-*")) / "backbone.pth"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0xFF
    victim.write_bytes(bytes(data))
    done = run()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "damaged" in done.stderr
    mine = metrics(home)
    assert mine == {name: metrics(finished)[name] for name in mine}
