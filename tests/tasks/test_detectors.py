"""What every detector keeps to: weights, fields, losses that they share, learning a few images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric

from bench.contracts.registry import load
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from tasks._detection import train as training
from tasks._detection.backend import TorchvisionBackend
from tasks._detection.evaluate import predict
from tasks._detection.losses import box_losses
from tasks._detection.masks import mask_targets
from tasks._detection.pipeline import prepare_split, score
from tests.small_set import SmallSet
from tests.tasks.detectors import FAMILIES, context, detector, images_for, params, sample_targets


@pytest.mark.parametrize("name", FAMILIES)
def test_every_backbone_tensor_is_in_the_detector_and_learns(name: str, tmp_path: Path) -> None:
    p = params(name)
    source = build_backbone("resnet18_quarter")
    save_backbone(tmp_path / "b.pth", source)
    model = detector(p)
    assert load_backbone(tmp_path / "b.pth", model.body) == len(source.state_dict()) == 120
    model.train()
    losses = model.losses(*sample_targets(name, tmp_path, p))
    sum(losses.values()).backward()
    assert all(math.isfinite(v.item()) and v.item() > 0 for v in losses.values())
    dead = [n for n, q in model.named_parameters() if q.grad is None or not q.grad.abs().sum()]
    assert not [n for n in dead if n.startswith("body.")]
    assert len(dead) <= 4, dead  # levels of the pyramid that no box of this batch falls on


@pytest.mark.parametrize("name", FAMILIES)
def test_detections_have_their_fields(name: str, tmp_path: Path) -> None:
    p = params(name)
    model = detector(p).eval()
    for layer in model.modules():  # so that an untrained detector finds something
        if hasattr(layer, "cls_logits"):
            torch.nn.init.zeros_(layer.cls_logits.bias)
    images, _ = sample_targets(name, tmp_path, p)
    for found, (height, width) in zip(model.detect(images), images.image_sizes, strict=True):
        n = len(found["boxes"])
        assert found["boxes"].shape == (n, 4)
        assert n <= p.detections
        assert found["scores"].shape == found["labels"].shape == (n,)
        assert (found["boxes"] <= torch.tensor([width, height, width, height])).all()
        side = 14 if p.detector == "c4" else 28
        assert ("masks" in found) == ("segm" in p.kinds)
        assert found["masks"].shape == (n, side, side) if "masks" in found else True
        assert (
            found["keypoints"].shape == (n, 5, 3)
            if "keypoints" in p.kinds
            else "keypoints" not in found
        )


@pytest.mark.parametrize("name", ["coco_det", "voc0712_det"])
def test_shared_deltas_are_those_of_equal_classes(name: str, tmp_path: Path) -> None:
    """A predictor whose classes have the same deltas, and one set of them for all classes: the
    same boxes and the same loss."""
    one, many = (detector(params(name, box_shared=shared)) for shared in (True, False))
    shared, single = one.roi.box_predictor.bbox_pred, many.roi.box_predictor.bbox_pred
    assert (shared.out_features, single.out_features) == (4, 84)
    torch.nn.init.normal_(shared.weight, std=0.1)
    torch.nn.init.normal_(shared.bias, std=0.1)
    state = one.state_dict() | {
        "roi.box_predictor.bbox_pred.weight": shared.weight.repeat(21, 1),
        "roi.box_predictor.bbox_pred.bias": shared.bias.repeat(21),
    }
    many.load_state_dict(state)
    images, targets = sample_targets(name, tmp_path, params(name))
    losses = []
    for model in (one, many):
        torch.manual_seed(0)
        losses.append({k: v.item() for k, v in model.train().losses(images, targets).items()})
    assert losses[0] == pytest.approx(losses[1])
    many.load_state_dict(state | {k: v for k, v in one.state_dict().items() if "running" in k})
    first, second = (model.eval().detect(images) for model in (one, many))
    assert sum(len(a["boxes"]) for a in first) > 0
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a["boxes"], b["boxes"])
        torch.testing.assert_close(a["scores"], b["scores"])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_optimiser_has_every_parameter_once(name: str) -> None:
    p = params(name)
    model = detector(p)
    optimizer = training.build_optimizer(model, p, model.body.parameters())
    norm, other = (g["params"] for g in optimizer.param_groups)
    assert (
        len({id(q) for q in [*norm, *other]})
        == len(norm) + len(other)
        == len(list(model.parameters()))
    )
    assert {id(q) for n, q in model.named_parameters() if "bn1." in n} <= {id(q) for q in norm}
    assert all(q.ndim == 1 for q in norm)


def test_mask_targets_of_either_size() -> None:
    mask = torch.zeros(1, 56, 56)
    mask[0, :28] = 1
    box = torch.tensor([[0.0, 0.0, 56.0, 56.0]])
    for side in (14, 28):
        found = mask_targets(mask, box, torch.tensor([0]), side)[0]
        assert found[: side // 2].min() == 1
        assert found[side // 2 :].max() == 0


def test_box_loss_with_a_beta_and_with_shared_deltas() -> None:
    """Smooth L1: d^2 / (2 beta) below beta, d - beta / 2 above; shared deltas fit all classes."""
    logits, labels = torch.zeros(2, 3), torch.tensor([2, 0])
    deltas, wanted = torch.tensor([[0.1, -0.4, 2.0, 0.0], [9.0, 9.0, 9.0, 9.0]]), torch.zeros(2, 4)
    by_hand = (0.1**2 + 0.4**2) / (2 * 0.5) + (2.0 - 0.25)
    assert float(box_losses(logits, deltas, labels, wanted, 0.5)["loss_box"]) == pytest.approx(
        by_hand / 2
    )
    assert float(box_losses(logits, deltas, labels, wanted)["loss_box"]) == pytest.approx(2.5 / 2)


@pytest.mark.parametrize("name", ["coco_retinanet", "coco_det_c4"])
def test_a_trained_detector_is_a_function_of_its_seed(name: str, tmp_path: Path) -> None:
    p, images = params(name), SmallSet(tmp_path, 4)
    states = []
    for run in ("a", "b"):
        model = detector(p)
        fabric = Fabric(accelerator="cpu", devices=1)
        training.train(context(tmp_path / run), TorchvisionBackend(), model, images, p, fabric)
        training.precise_batch_norm(
            context(tmp_path / run), TorchvisionBackend(), model, images, p, fabric
        )
        states.append(model.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


QUICKEST = ("coco_det", "coco_det_c4", "coco_retinanet")  # of those that learn images by heart
HEART: dict[str, dict[str, Any]] = {
    "coco_det": {},
    "coco_det_c4": {"rois": 16},
    "voc0712_det": {"rois": 16},
    "voc0712_det_fpn": {},
    "coco_retinanet": {"lr": 0.02},
    "coco_keypoints": {"iterations": 480, "steps": (400,)},
}
LIKE = {"coco_det_2x": "coco_det", "coco_det_10pct": "coco_det", "voc07_det": "voc0712_det"}


@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
@pytest.mark.parametrize("name", sorted(LIKE))
def test_tasks_that_are_not_learnt_by_heart_differ_in_length_alone(name: str, scale: str) -> None:
    """So that the images learnt with the one detector speak for the other too."""
    one, other = (load("task", n).resolve(scale).params for n in (name, LIKE[name]))
    assert (one.detector, one.kinds) == (other.detector, other.kinds)
    fields = type(other).model_fields
    assert fields.keys() == type(one).model_fields.keys()
    differing = {f for f in fields if getattr(one, f) != getattr(other, f)}
    assert differing <= {"iterations", "steps", "fraction"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [n if n in QUICKEST else pytest.param(n, marks=pytest.mark.long) for n in sorted(HEART)],
)
def test_it_learns_four_images_by_heart(name: str, tmp_path: Path) -> None:
    """120 steps of two images from random weights, 8 to 20 seconds on a core."""
    settings = {
        "iterations": 120,
        "steps": (100,),
        "warmup": 5,
        "lr": 0.05,
        "sizes": (96,),
        "test_size": 96,
        "precise_bn": 4,
        "rois": 32,
    }
    if name == "coco_retinanet":
        del settings["rois"]
    p = params(name, **(settings | HEART[name]))
    images = prepare_split(images_for(name, tmp_path, 4), p)
    model = detector(p, len(images.classes))
    ctx, fabric = context(tmp_path / "c"), Fabric(accelerator="cpu", devices=1)
    training.train(ctx, TorchvisionBackend(), model, images, p, fabric)
    training.precise_batch_norm(ctx, TorchvisionBackend(), model, images, p, fabric)
    found = predict(ctx, TorchvisionBackend(), model, images, p, torch.device("cpu"))
    metrics, _ = score(images, found, p)
    assert metrics.get("AP50_bbox", metrics.get("AP50", 0)) > 70  # 80 to 92
    assert metrics.get("AP50_keypoints", 100) > 40
    assert metrics.get("AP50_segm", 100) > 30
