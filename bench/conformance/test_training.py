"""Methods and crops train together on a dozen scenes, or say why they cannot; every generator
proposes.

Trained are: the plainest two-view method with every
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

from bench.conformance.support import (
    PLAINEST,
    chosen_names,
    make_engine,
    make_planner,
    make_runtime,
    overrides,
)
from bench.contracts import registry
from bench.core.errors import Unsupported
from bench.data.scenes.draw import draw_scene
from bench.nn.backbones import build_backbone, load_backbone


def pairs() -> list[tuple[str, str]]:
    """Every chosen method with a crop of each kind, every chosen crop with the plainest method."""
    kinds: dict[tuple[str, int], str] = {}
    crops, _ = registry.load_all("crop")
    for name, cls in crops.items():
        crop: Any = cls.resolve("tiny")
        kinds.setdefault((crop.style, crop.heads()), name)
    chosen = {(m, c) for m in chosen_names("method") for c in kinds.values()}
    return sorted({*chosen, *((PLAINEST, c) for c in chosen_names("crop"))})


PAIRS = pairs()


@pytest.fixture
def shared_home(common_folder: Path) -> Path:
    return common_folder / "home"


@pytest.mark.parametrize(("method", "crop"), PAIRS, ids=[f"{m}-{c}" for m, c in PAIRS])
def test_the_pair_trains_or_is_unsupported(method: str, crop: str, shared_home: Path) -> None:
    runtime = make_runtime(shared_home)
    planner = make_planner(runtime, method, crop, overrides())
    data = planner.data("scenes")
    if registry.load("method", method).resolve("tiny").supports(registry.load("crop", crop)):  # type: ignore[attr-defined]
        with pytest.raises(Unsupported):
            planner.pretrain(method, crop, data, main=True)
        return
    stage = planner.pretrain(method, crop, data, main=True)
    engine = make_engine(runtime)
    folder = engine.ensure(stage)
    state = torch.load(folder / "backbone.pth", weights_only=True)
    name = stage.params["method"]["params"]["backbone"]
    assert load_backbone(folder / "backbone.pth", build_backbone(name)) == len(state) > 50
    # tests/nn compare what torchvision does not know with timm's and torchvision's parts
    whole = getattr(models, name.removesuffix("_quarter"), None)
    if whole:
        assert {*state, "fc.weight", "fc.bias"} == whole().state_dict().keys()
    assert all(torch.isfinite(t.float()).all() for t in state.values())
    summary = json.loads((folder / "summary.json").read_text())
    learner: Any = registry.load("method", method)
    assert summary["steps"] == (summary["samples"] // 4 if learner.trains else 0)
    again = make_engine(runtime)
    assert again.ensure(stage) == folder
    assert not again.outcome.made
    if crop != "image":  # those of whole images are inputs of other trainings
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", chosen_names("proposals"))
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
