"""Plans without the data on this machine: the graph, and what to download."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bench as api
from bench.core.errors import BadData
from bench.core.params import Runtime
from bench.plan.planner import make_plan
from bench.plan.product import make_cells
from tests.cli.conftest import Bench, bench  # noqa: F401

ORL = ("--method", "orl", "--task", "voc07_svm", "--scale", "paper")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))


def test_the_graph_of_the_paper_is_planned_with_what_to_download(home: Path) -> None:
    ahead = api.plan(method="orl", task="voc07_svm", scale="paper")
    kinds = [s.stage.kind for s in ahead.stages]
    assert kinds.count("pretrain") == 2  # of stage 1 and of ORL itself
    assert set(kinds) >= {"data", "proposals", "neighbours", "pairs", "evaluate"}
    assert {s.state for s in ahead.stages} == {"no data"}
    assert {s.key for s in ahead.stages} == {None}
    assert set(ahead.absent) == {"coco", "voc2007"}
    assert "train2017.zip" in ahead.absent["coco"]
    assert "--data coco=PATH" in ahead.absent["coco"]


def test_stages_without_such_data_keep_their_state_and_key(home: Path) -> None:
    ahead = api.plan(method="byol", task="knn", data="scenes", task_data="cifar10", scale="tiny")
    states = {s.stage.kind: (s.state, s.key is None) for s in ahead.stages}
    assert states["pretrain"] == ("missing", False)
    assert states["evaluate"] == ("no data", True)
    assert set(ahead.absent) == {"cifar10"}
    whole = api.plan(method="byol", task="knn", data="scenes", scale="tiny")
    key = {s.stage.kind: s.key for s in whole.stages}["pretrain"]
    assert {s.stage.kind: s.key for s in ahead.stages}["pretrain"] == key


def test_the_command_prints_it_and_json_has_no_keys(bench: Bench, home: Path) -> None:  # noqa: F811
    code, out, _ = bench("plan", *ORL)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["no", "data", "-", "data/coco", "no", "estimate", "yet"]
    assert "data coco are not on this machine: get train2017.zip" in out
    answer = json.loads(bench("plan", *ORL, "--json")[1])
    assert {stage["key"] for stage in answer["stages"]} == {None}
    assert answer["cells"][0]["final"] is None
    assert set(answer["absent"]) == {"coco", "voc2007"}


def test_a_dry_run_prints_the_commands_and_a_run_still_refuses(
    bench: Bench,  # noqa: F811
    home: Path,
) -> None:
    code, out, err = bench("run", *ORL, "--dry-run")
    assert (code, out.count("bench run --method orl")) == (0, 1)
    assert "data voc2007 are not on this machine" in err
    code, _, err = bench("run", *ORL)
    assert code == 2
    assert "coco" in err
    code, out, _ = bench("table", "run", "000/T3", "--scale", "paper", "--dry-run")
    assert code == 0
    assert "bench run --method" in out


def test_a_path_that_was_given_and_is_wrong_is_an_error(home: Path) -> None:
    with pytest.raises(BadData, match="/nowhere"):
        api.plan(method="byol", task="knn", data="coco=/nowhere")
    with pytest.raises(BadData, match="needs a path"):
        api.plan(method="byol", task="knn", data="coco_json")


def test_data_that_are_there_are_planned_as_ever(home: Path) -> None:
    cells, paths = make_cells("byol", None, "knn", "tiny", "0", None, None, ())
    runtime = Runtime(home=home, database="sqlite://")
    absent: dict[str, str] = {}
    keys = [s.key for s in make_plan(cells, runtime, paths, absent).stages]
    assert keys == [s.key for s in make_plan(cells, runtime, paths).stages]
    assert absent == {}
