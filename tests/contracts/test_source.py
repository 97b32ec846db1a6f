"""Which code a stage's digest covers, in both directions: what must be noticed, what must not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.contracts.registry import entries
from bench.contracts.source import CLOSED, SCHEME, Code, component_names
from tests.house import FLOORS, modules

PRETRAIN = "bench.stages.pretrain:run"
EVALUATE = "bench.stages.evaluate:run"
BYOL = {"method": {"name": "byol", "params": {}}, "crop": {"name": "image"}, "seed": 0}


@pytest.fixture(scope="module")
def code() -> Code:
    return Code()


def test_components_are_those_of_the_params_and_a_data_sets_own_name() -> None:
    assert component_names("pretrain", "byol", {**BYOL, "task": "text"}) == (
        ("method", "byol"),
        ("crop", "image"),
    )
    assert component_names("data", "coco", {"params": {}}) == (("data", "coco"),)
    named = {"proposals": {"name": "bing"}}
    assert component_names("proposals", "bing", named) == (("proposals", "bing"),)


def test_a_pretraining_is_its_loop_its_views_its_networks_and_its_components(code: Code) -> None:
    covered = set(code.closure(PRETRAIN, (("method", "ccop"), ("crop", "image"))))
    assert {
        "bench.stages.pretrain",
        "bench.stages.pretrain.loop",
        "bench.stages.pretrain.setup",
        "bench.stages.checkpoint",
        "bench.stages.training",
        "bench.views.augment",
        "bench.views.loader",
        "bench.views.sample",
        "bench.nn.optim",
        "bench.nn.schedules",
        "bench.nn.momentum",
        "bench.nn.backbones",
        "bench.nn.resnet",
        "bench.core.seeds",
        "bench.core.image",
        "bench.contracts.method",
        "bench.contracts.context",
        "methods.ssl.ccop",
        "methods.ssl.ccop.losses",
        "methods.ssl.ccop.network",
        "methods.ssl.ccop.views",
        "methods.crops.image",
    } <= covered
    assert not covered & {"methods.ssl.orl", "methods.crops.grid", "bench.data.sets.coco"}
    assert not any(name.startswith("tasks") for name in covered)


def test_an_evaluation_is_its_task_with_all_parts_and_no_pretraining(code: Code) -> None:
    covered = set(code.closure(EVALUATE, (("task", "coco_det"),)))
    assert {
        "bench.stages.evaluate",
        "tasks.coco_det",
        "tasks._detection.task",
        "tasks._detection.detector",
        "tasks._detection.heads",
        "tasks._detection.losses",
        "tasks._detection.rpn",
        "tasks._detection.evaluate",
        "tasks._detection.train",
        "tasks._detection.data",
        "tasks._shared.finetune",
        "bench.nn.backbones",
    } <= covered
    assert not covered & {"bench.stages.pretrain", "tasks.voc07_svm", "tasks._frozen.svm"}
    assert not any(name.startswith("methods") for name in covered)


def test_features_are_made_by_preprocessing_and_data_by_their_set(code: Code) -> None:
    assert "bench.data.preprocess" in code.closure("bench.stages.features:run")
    coco = code.closure("bench.data.runner:run", (("data", "coco"),))
    assert {"bench.data.sets.coco", "bench.data.runner", "bench.contracts.data"} <= set(coco)
    assert "bench.data.sets.voc" not in coco


def test_rooms_that_only_plan_start_and_show_are_in_no_closure(code: Code) -> None:
    runner = {"method": PRETRAIN, "crop": PRETRAIN, "task": EVALUATE}
    covered = set()
    for kind, name in entries():
        covered |= set(code.closure(runner.get(kind, "bench.data.runner:run"), ((kind, name),)))
    rooms = {"plan", "results", "launch", "sweep", "figures", "measure", "cli"}
    assert rooms < {room for floor in FLOORS for room in floor}
    assert not {name for name in covered if name.split(".")[1] in rooms and name[:5] == "bench"}
    silent = {
        "progress",
        "relay",
        "signals",
        "store",
        "errors",
        "stage",
        "processes",
        "supervisor",
    }
    assert not covered & {f"bench.core.{name}" for name in silent}
    assert not covered & {"bench", "bench.contracts.tracker", "bench.contracts.registry"}


def test_every_closed_module_exists() -> None:
    known = set(modules())
    assert [name for name in CLOSED if name.removesuffix(".*") not in known] == []


def test_digests_differ_by_runner_and_components_and_bear_their_scheme(code: Code) -> None:
    one = code.digest(PRETRAIN, "pretrain", "byol", BYOL)
    assert one == code.digest_of(PRETRAIN, (("crop", "image"), ("method", "byol")))
    assert one.startswith(SCHEME)
    assert len(one) <= 64  # of the column of the database
    others = {
        code.digest(EVALUATE, "pretrain", "byol", BYOL),
        code.digest(PRETRAIN, "pretrain", "byol", {**BYOL, "crop": {"name": "grid"}}),
        code.digest(PRETRAIN, "pretrain", "byol", {}),
    }
    assert len(others | {one}) == 4


def test_states(code: Code) -> None:
    now = code.digest(PRETRAIN, "pretrain", "byol", BYOL)

    def state(recorded: str | None, runner: str = PRETRAIN) -> str:
        return code.state(runner, "pretrain", "byol", BYOL, recorded)

    assert state(now) == "current"
    assert state(SCHEME + "0" * 40) == "changed"
    assert state(now, "no.such.module:run") == "changed"
    assert state("0" * 64) == "unknown"  # sha256 of whole files, as older versions recorded
    assert state(None) == state("") == state(now, runner="") == "unknown"


def test_asking_imports_no_component_and_no_torch() -> None:
    import subprocess

    asked = (
        "import sys; from bench.contracts.source import Code; code = Code();"
        f"code.digest_of({PRETRAIN!r}, (('method', 'orl'), ('crop', 'grid')));"
        "print([m for m in sys.modules if m in ('torch', 'methods', 'bench.stages')])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_package_of_other_people_is_followed_inside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from bench.contracts import registry

    crops = tmp_path / "digplug" / "crops"
    crops.mkdir(parents=True)
    (tmp_path / "digplug" / "__init__.py").write_text("")
    (crops / "__init__.py").write_text("")
    (crops / "corner.py").write_text(
        "from bench.contracts.crop import Crop\nfrom digplug.share import SHARE\n"
        "class Corner(Crop):\n    share = SHARE\n"
    )
    share = tmp_path / "digplug" / "share.py"
    share.write_text("SHARE = 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = list(registry.entry_points(group="bench.components"))
    theirs = SimpleNamespace(value="digplug", name="digplug")
    monkeypatch.setattr(registry, "entry_points", lambda group: [*ours, theirs])
    registry.entries.cache_clear()
    try:
        corner = PRETRAIN, (("method", "byol"), ("crop", "corner"))
        assert {"digplug.share", "bench.contracts.crop"} <= set(Code().closure(*corner))
        before = Code().digest_of(*corner)
        share.write_text("SHARE = 0.5  # of the image\n")
        assert Code().digest_of(*corner) == before
        share.write_text("SHARE = 0.25\n")
        assert Code().digest_of(*corner) != before
    finally:
        registry.entries.cache_clear()
