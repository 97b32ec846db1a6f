"""bench matrix: shared stages are made once, failures are kept apart, two drivers share work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.contracts import registry
from bench.contracts.component import Component
from bench.core.params import Runtime
from bench.plan.cell import Plan
from bench.plan.planner import Planner, make_plan
from bench.plan.product import make_cells
from bench.results.db.database import open_database
from tests.e2e.micro import SETS
from tests.patience import HANG

SMALL = ("scenes_objects.n_train=12", "scenes_objects.n_val=6", "knn.k=2")
TWICE = (*SMALL, "cifar10_knn.k=2")
TARGET = {
    "method": "byol,moco_v2",
    "crop": "image,grid,coarse",
    "task": "voc07_svm,voc07_lowshot,coco_det",
}


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """The command takes SIGTERM for itself; the test process gets its own handler back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def planned(home: Path, **options: Any) -> Plan:
    given = {"scale": "tiny", "seeds": "0", "data": None, "task_data": None, "sets": (), **options}
    cells, paths = make_cells(**given)
    return make_plan(cells, Runtime(home=home, database="sqlite://"), paths)


def matrix(*more: str, sets: tuple[str, ...] = SMALL) -> Result:
    names = {"--method": "random_init", "--crop": "image", "--task": "knn"}
    options = [x for name, value in names.items() if name not in more for x in (name, value)]
    arguments = ["matrix", *options, "--devices", "cpu", "--workers", "0", *more]
    return CliRunner().invoke(cli, [*arguments, *(x for s in sets for x in ("--set", s))])


def test_the_target_matrix_plans_six_pretrainings_for_eighteen_cells(home: Path) -> None:
    """The network that scores coarse crops is MoCo v2 on whole images, one of the six."""
    plan = planned(home, **TARGET)
    pretrained = {s.key: s for s in plan.stages if s.kind == "pretrain"}
    assert len(plan.cells) == 18
    assert len(pretrained) == 6
    assert len({c.final.inputs["backbone"].key for c in plan.cells if c.final}) == 6
    networks = {
        s.inputs["regions"].inputs["network"].key
        for s in pretrained.values()
        if "regions" in s.inputs
    }
    assert len(networks) == 1
    scorer = pretrained[networks.pop()]
    assert (scorer.name, scorer.params["crop"]["name"]) == ("moco_v2", "image")


@pytest.mark.long
def test_the_target_matrix_trains_six_networks(home: Path) -> None:
    """The whole command on fewer and smaller images: what it made is in the store, each stage
    once."""
    sets = [s for s in SETS if s.startswith("coco_det")]
    sets += ["scenes.n_train=72", "scenes.n_val=30", "voc07_lowshot.ks=1,2"]
    sets += [
        f"{method}.{s}" for method in ("byol", "moco_v2") for s in ("epochs=1", "batch_size=16")
    ]
    names = [x for kind, value in TARGET.items() for x in (f"--{kind}", value)]
    done = matrix(*names, "--json", sets=tuple(sets))
    assert done.exit_code == 0, done.output
    made = Counter(s["kind"] for s in json.loads(done.stdout)["made"])
    assert (made["pretrain"], made["evaluate"]) == (6, 18)
    assert len(list((home / "store" / "pretrain").glob("*/done"))) == 6
    again = matrix(*names, "--json", sets=tuple(sets))
    assert json.loads(again.stdout)["made"] == []


def test_a_failed_cell_stops_no_other_and_waits_for_retry(home: Path, tmp_path: Path) -> None:
    """Two images are too few for SVMs with cross-validation, not for nearest neighbours."""
    few = [
        f"{data}.{n}" for data in ("scenes", "scenes_objects") for n in ("n_train=2", "n_val=1")
    ]
    sets = (*few, "knn.k=1")
    tasks = ("--task", "voc07_svm,knn")
    first = matrix(*tasks, sets=sets)
    assert first.exit_code in (1, 2)
    assert "2 cell(s): 1 done, 1 failed" in first.output
    assert "failed: random_init x image x voc07_svm (1 cell): " in first.output

    second = matrix(*tasks, sets=sets)
    assert second.exit_code == 1
    assert "2 cell(s): 1 done, 1 left out" in second.output
    assert "to run them again, add: --retry failed" in second.output
    states = {
        c["task"]: c["state"]
        for c in json.loads(matrix(*tasks, "--json", sets=sets).stdout)["cells"]
    }
    assert states == {"voc07_svm": "left out", "knn": "done"}

    third = matrix(*tasks, "--retry", "failed", sets=sets)
    assert "2 cell(s): 1 done, 1 failed" in third.output


def test_what_cannot_work_is_named_with_its_reason_once(home: Path) -> None:
    done = matrix(
        "--method",
        "random_init,supervised",
        "--crop",
        "image,obj_scene",
        "--task",
        "coco_vitdet",
        sets=(),
    )
    lines = [line for line in done.output.splitlines() if line.startswith("unsupported")]
    assert any(
        "supervised x obj_scene x coco_vitdet (1 cell): classification looks at one view" in x
        for x in lines
    )
    assert any("random_init x coco_vitdet (2 cells): ViTDet's pyramid" in x for x in lines)
    assert "4 cell(s): 4 unsupported; 0 stage(s) made" in done.output
    assert done.exit_code == 2


def test_bad_names_run_nothing(home: Path) -> None:
    done = matrix("--task", "knnn")
    assert done.exit_code == 1
    assert "unknown task 'knnn' (did you mean 'knn'?)" in str(done.exception)
    assert not list((home / "store").glob("*/*"))


def test_two_drivers_on_one_matrix_make_each_stage_once(home: Path) -> None:
    names = ["--method", "random_init", "--crop", "image", "--task", "knn,cifar10_knn"]
    code = "from bench.cli import main; main()"
    more = [
        "--json",
        "--devices",
        "cpu",
        "--workers",
        "0",
        *(x for s in TWICE for x in ("--set", s)),
    ]
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", code, "matrix", *names, *more],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    reports = [json.loads(process.communicate(timeout=HANG)[0]) for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    made = [s["key"] for report in reports for s in report["made"]]
    assert len(made) == len(set(made))
    assert len(made) == len(list((home / "store").glob("*/*/done")))
    assert all(report["counts"] == {"done": 2} for report in reports)
    cells = open_database(f"sqlite:///{home / 'results.db'}").read_cells()
    assert [c["state"] for c in cells] == ["done"] * 2


# ---- planning thousands of cells


def test_planning_makes_components_and_pretrainings_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work of planning, counted: it grows with what differs, not with the number of cells."""
    resolved: Counter[str] = Counter()
    pretrained: Counter[tuple[Any, ...]] = Counter()
    resolve, pretrain = Component.resolve.__func__, Planner._pretrain  # type: ignore[attr-defined]

    def counted(
        cls: type[Component], scale: str, overrides: dict[str, Any] | None = None
    ) -> Component:
        resolved[f"{cls.kind}/{cls.name}"] += 1
        return resolve(cls, scale, overrides)  # type: ignore[no-any-return]

    def once(self: Planner, method: str, crop: str, data: Any, main: bool) -> Any:
        pretrained[method, crop, data.key, main, self.cell.seed] += 1
        return pretrain(self, method, crop, data, main)

    monkeypatch.setattr(Component, "resolve", classmethod(counted))
    monkeypatch.setattr(Planner, "_pretrain", once)
    plan = planned(home, method="*", crop="*", task="*_det,knn,voc07_*", seeds="0-1")
    assert len(plan.cells) > 4000
    assert set(resolved.values()) == {1}
    assert set(pretrained.values()) == {1}
    assert len(pretrained) < 2 * (len(registry.names("method")) * len(registry.names("crop")) + 10)


def test_every_cell_of_a_product_plans_as_it_does_alone(home: Path) -> None:
    """Sharing changes no key, also with settings that reach the same component in two ways."""
    options: dict[str, Any] = {
        "method": "byol,orl,moco_v2",
        "crop": "image,coarse",
        "task": "knn,coco_det",
        "seeds": "0,3",
        "sets": ("method.epochs=3", "moco_v2.epochs=2", "scenes.n_train=50"),
    }
    together = planned(home, **options)
    for made in together.cells:
        cell = made.cell
        sets = [
            s
            for s in options["sets"]
            if "moco" not in s or {"coarse", "moco_v2"} & {cell.crop, cell.method}
        ]
        one = {
            "method": cell.method,
            "crop": cell.crop,
            "task": cell.task,
            "seeds": str(cell.seed),
        }
        alone = planned(home, **one, sets=tuple(sets))
        assert made.final is not None
        assert alone.cells[0].final is not None
        assert made.final.key == alone.cells[0].final.key
