"""Choosing the detector engine without having it: early errors, identity, `auto`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contracts.registry import load, names
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.plan.cell import PlannedCell
from bench.plan.planner import make_plan
from bench.plan.product import make_cells
from tasks._detection import engines
from tasks._detection.backend import TorchvisionBackend, select
from tests.e2e.micro import bench

OPTIONS: dict[str, Any] = {
    "method": "random_init",
    "crop": "image",
    "task": "coco_det",
    "scale": "tiny",
    "seeds": "0",
    "data": None,
    "task_data": None,
    "sets": (),
}
BROKEN = "ImportError: undefined symbol: somewhere"


def planned(home: Path, **changes: Any) -> PlannedCell:
    # a network that detectron2 has, unlike that of tiny
    sets = ("random_init.backbone=resnet18", *changes.pop("sets", ()))
    cells, paths = make_cells(**{**OPTIONS, **changes, "sets": sets})
    (cell,) = make_plan(cells, Runtime(home=home, database="sqlite://"), paths).cells
    return cell


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "why_missing", lambda: None)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m.partition(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize(
    "how",
    [
        {"engine": "detectron2"},
        {"sets": ("coco_det.engine=detectron2",)},
        {"sets": ("engine=detectron2",)},
    ],
)
def test_an_engine_that_is_not_there_says_how_to_get_it(home: Path, how: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as error:
        planned(home, **how)
    text = str(error.value)
    assert "detectron2" in text
    assert "pip install --no-build-isolation 'ssl-crop-bench[detectron2]'" in text
    assert "--engine torchvision" in text
    assert "\n" not in text
    assert not list(home.rglob("done"))


@pytest.mark.usefixtures("absent")
def test_a_run_without_the_engine_stops_too() -> None:
    p = load("task", "coco_det").resolve("tiny", {"engine": "detectron2"}).params
    with pytest.raises(BadInput, match="not installed"):
        select(p)
    assert isinstance(select(load("task", "coco_det").resolve("tiny").params), TorchvisionBackend)


def test_a_broken_installation_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "why_missing", lambda: BROKEN)
    with pytest.raises(BadInput, match="undefined symbol"):
        engines.pick("detectron2")
    assert engines.pick("auto") == engines.pick("torchvision") == "torchvision"


@pytest.mark.usefixtures("absent")
def test_auto_falls_back_and_leaves_the_key_alone(home: Path) -> None:
    assert engines.why_missing()
    auto, plain = planned(home, engine="auto"), planned(home)
    assert auto.engine == plain.engine == "torchvision"
    assert auto.final
    assert plain.final
    assert auto.final.key == plain.final.key


@pytest.mark.usefixtures("installed")
def test_the_engine_is_in_the_key_and_the_row(home: Path) -> None:
    """`auto` is decided while planning; the same as naming it, and another cell than
    torchvision's."""
    auto, named = planned(home, engine="auto"), planned(home, sets=("coco_det.engine=detectron2",))
    other = planned(home, engine="torchvision")
    assert auto.final
    assert named.final
    assert other.final
    assert auto.engine == named.engine == "detectron2"
    assert auto.final.key == named.final.key != other.final.key
    assert "--set coco_det.engine=detectron2" in auto.cell.command()
    assert auto.final.params["task"]["params"]["engine"] == "detectron2"


@pytest.mark.usefixtures("installed")
def test_tasks_without_an_engine(home: Path) -> None:
    with pytest.raises(BadInput, match="task 'knn' has no detector engine"):
        planned(home, task="knn", engine="detectron2")
    with pytest.raises(BadInput, match="task 'knn' has no detector engine"):
        planned(home, task="knn", engine="torchvision")
    assert planned(home, task="knn", engine="auto").final
    cells, _ = make_cells(**{**OPTIONS, "task": "knn,coco_det,coco_retinanet", "engine": "auto"})
    assert [c.overrides for c in cells] == [
        (),
        (("coco_det.engine", "detectron2"),),
        (("coco_retinanet.engine", "detectron2"),),
    ]


def test_one_way_to_say_it() -> None:
    with pytest.raises(BadInput, match="--engine and --set"):
        make_cells(**{**OPTIONS, "engine": "auto", "sets": ("coco_det.engine=torchvision",)})


@pytest.mark.usefixtures("installed")
def test_every_detection_task_has_engines_and_the_choice_reaches_it() -> None:
    found = [n for n in names("task") if "engine" in load("task", n).Params.model_fields]
    assert {"coco_det", "coco_det_c4", "voc07_det", "coco_vitdet"} <= set(found)
    for name in found:
        assert load("task", name).pick_engine("auto") == "detectron2"
        assert load("task", name).Params().engine == "torchvision"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("task", "backbone", "lacks"),
    [
        ("coco_vitdet", "vit_tiny", "ViTDet"),
        ("coco_vitdet_cascade", "vit_tiny", "ViTDet"),
        ("coco_det", "resnet50_half", "ResNet of half width"),
        ("coco_det", "resnet18_quarter", "ResNet of quarter width"),
        ("coco_det", "resnet50_cifar", "strides 4 to 32"),
    ],
)
def test_a_network_that_it_lacks_is_unsupported_in_one_line(
    task: str, backbone: str, lacks: str
) -> None:
    reason = load("task", task).resolve("tiny", {"engine": "detectron2"}).supports(backbone)
    assert lacks in reason
    assert "\n" not in reason
    assert "cifar" in backbone or "--engine torchvision" in reason
    assert "detectron2" not in str(load("task", task).resolve("tiny").supports(backbone))


@pytest.mark.usefixtures("installed")
def test_small_group_norms_are_unsupported() -> None:
    task = load("task", "coco_retinanet")
    assert "group norm" in task.resolve("tiny", {"engine": "detectron2", "fpn": "32"}).supports(
        "resnet18"
    )
    assert task.resolve("tiny", {"engine": "detectron2"}).supports("resnet18") is None
    plain = {"engine": "detectron2", "fpn": "32", "head_norm": "none"}
    assert task.resolve("tiny", plain).supports("resnet18") is None


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("raise ImportError('no such thing')")
    here = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{here}")
    for verb in ("plan", "run"):
        done = bench(
            verb, "--method", "random_init", "--task", "coco_det", "--engine", "detectron2"
        )
        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert "no such thing" in line
        assert "ssl-crop-bench[detectron2]" in line
    done = bench(
        "plan", "--method", "random_init", "--task", "coco_det", "--engine", "auto", "--json"
    )
    assert done.returncode == 0
    assert '"engine": "torchvision"' in done.stdout
