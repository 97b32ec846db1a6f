"""Methods and crops train together on a dozen scenes, or say why they cannot; every generator
proposes.

`tests/plan/test_matrix.py` plans every pair. Trained are: the plainest two-view method with every
crop, and every method with one crop of each kind (style and number of heads): a method sees no
more of a crop.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import models

from bench.contracts import registry
from bench.core.errors import Unsupported
from bench.core.params import Runtime
from bench.core.store import Store
from bench.data.scenes.draw import draw_scene
from bench.launch.local import LocalEngine
from bench.nn.backbones import build_backbone, load_backbone
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from tests.core.test_store import Heard

SMALL = {
    "epochs": 1,
    "batch_size": 4,
    "warmup_epochs": 0,
    "image_size": 32,
    "patch": 32,
    "roi_size": 32,
}
PLAINEST = "byol"


def pairs() -> list[tuple[str, str]]:
    kinds: dict[tuple[str, int], str] = {}
    for name in registry.names("crop"):
        crop: Any = registry.load("crop", name).resolve("tiny")
        kinds.setdefault((crop.style, crop.heads()), name)
    found = [(m, c) for m in registry.names("method") for c in kinds.values()]
    return sorted({*found, *((PLAINEST, c) for c in registry.names("crop"))})


PAIRS = pairs()


def overrides() -> tuple[tuple[str, str], ...]:
    """Every method cut down to a few steps, by the fields it has."""
    found = [("scenes.n_train", "12"), ("scenes.n_val", "4")]
    for name in registry.names("method"):
        fields = registry.load("method", name).Params.model_fields
        found += [(f"{name}.{f}", str(v)) for f, v in SMALL.items() if f in fields]
    return tuple(found)


@pytest.fixture
def shared_home(common_folder: Path) -> Path:
    return common_folder / "conformance"


@pytest.mark.parametrize(("method", "crop"), PAIRS, ids=[f"{m}-{c}" for m, c in PAIRS])
def test_the_pair_trains_or_is_unsupported(method: str, crop: str, shared_home: Path) -> None:
    runtime = Runtime(
        home=shared_home, database="sqlite://", workers=0, tracker="none", devices="cpu"
    )
    cell = Cell(method, crop, "coco_det", "scenes", "scenes", "tiny", 0, overrides())
    planner = Planner(cell, runtime)
    data = planner.data("scenes")
    if registry.load("method", method).resolve("tiny").supports(registry.load("crop", crop)):  # type: ignore[attr-defined]
        with pytest.raises(Unsupported):
            planner.pretrain(method, crop, data, main=True)
        return
    stage = planner.pretrain(method, crop, data, main=True)
    engine = LocalEngine(runtime, Store(shared_home), Heard())
    folder = engine.ensure(stage)
    state = torch.load(folder / "backbone.pth", weights_only=True)
    name = stage.params["method"]["params"]["backbone"]
    if hasattr(models, name):
        found = getattr(models, name)().load_state_dict(state, strict=False)
        assert set(found.missing_keys) == {"fc.weight", "fc.bias"}
        assert not found.unexpected_keys
    # a name torchvision does not know; tests/nn compare these with timm's and torchvision's parts
    else:
        assert load_backbone(folder / "backbone.pth", build_backbone(name)) == len(state) > 50
    assert all(torch.isfinite(t.float()).all() for t in state.values())
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == (
        0 if not registry.load("method", method).trains else summary["samples"] // 4
    )  # type: ignore[attr-defined]
    again = LocalEngine(runtime, Store(shared_home), Heard())
    assert again.ensure(stage) == folder
    assert not again.outcome.made
    if crop != "image":  # those of whole images are inputs of other trainings
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", registry.names("proposals"))
def test_a_generator_proposes_inside_the_image(name: str) -> None:
    maker: Any = registry.load("proposals", name).resolve("tiny")
    if "propose" not in vars(type(maker)):
        pytest.skip("needs more than pixels; its own tests run it")
    image = draw_scene(0, 3).image
    boxes, scores = maker.propose(image, 11)
    again, _ = maker.propose(image, 11)
    assert boxes.shape == (len(scores), 4)
    assert len(boxes) >= 1
    assert np.array_equal(boxes, again)
    assert boxes.min() >= 0
    assert (boxes[:, [2, 3]] <= image.shape[1::-1]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (np.diff(scores) <= 0).all()
