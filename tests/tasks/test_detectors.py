"""The detectors beside Mask R-CNN: C4, RetinaNet, keypoints; parts, losses, and learning a few images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet

from bench.data._scenes_draw import draw_scene
from bench.data.base import Objects
from bench.data.sets.coco import KEYPOINTS
from bench.data.sets.scenes_keypoints import KEYPOINTS as ENDS
from bench.data.sets.scenes_keypoints import extremes
from bench.engine.context import StageContext
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from bench.params import Runtime
from bench.registry import load
from bench.stage import Stage
from tasks._detection import train as training
from tasks._detection.backend import DETECTORS, TorchvisionBackend
from tasks._detection.c4 import C4Rcnn
from tasks._detection.data import (
    Key,
    OneClass,
    TrainImages,
    batch_images,
    chosen,
    flip_keypoints,
    usable,
)
from tasks._detection.evaluate import _results, predict
from tasks._detection.model import box_losses, mask_targets
from tasks._detection.pipeline import prepared, score
from tasks._detection.retinanet import Retina, match
from tests.small_set import SmallSet

MICRO: dict[str, Any] = {
    "iterations": 6, "steps": (4,), "warmup": 2, "batch_size": 2, "precise_bn": 2, "sizes": (64,),
    "test_size": 64,
}  # fmt: skip
FAMILIES = ["coco_det", "coco_det_c4", "voc0712_det", "voc0712_det_fpn", "coco_retinanet", "coco_keypoints"]


class PointSet(SmallSet):
    """The scenes with the keypoints of `scenes_keypoints`, one class."""

    def __init__(self, folder: Path, n: int, first: int = 0) -> None:
        super().__init__(folder, n, first)
        self.classes, self.keypoint_names = ["object"], ENDS

    def objects(self, index: int) -> Objects:
        found = super().objects(index)
        points = np.array([extremes(m) for m in self.masks[index]], np.float32).reshape(-1, 5, 3)
        labels = np.zeros_like(found.labels)
        rest = (found.crowd, found.difficult, found.area, found.ids, found.segmentations)
        return Objects(found.boxes, labels, *rest, points)


def images_for(name: str, folder: Path, n: int, first: int = 0) -> SmallSet:
    return PointSet(folder, n, first) if name == "coco_keypoints" else SmallSet(folder, n, first)


def params(name: str, **changes: Any) -> Any:
    return load("task", name).resolve("tiny", {**MICRO, **changes}).params


def detector(p: Any, classes: int = 20, backbone: str = "resnet18") -> Any:
    torch.manual_seed(0)
    model = DETECTORS[p.detector](backbone, classes, p, len(ENDS))
    return model.to(memory_format=torch.channels_last)  # as the pipeline does


def context(folder: Path) -> StageContext:
    folder.mkdir(exist_ok=True)
    runtime = Runtime(home=folder, database="sqlite://", workers=0, checkpoint_seconds=1e9)
    return StageContext(Stage("evaluate", "coco_det", 1, {"seed": 0}, ""), folder, {}, runtime)


def sample_targets(name: str, folder: Path, p: Any) -> tuple[ImageList, list[dict[str, Any]]]:
    images = prepared(images_for(name, folder, 2), p)
    data = TrainImages(images, p.sizes, p.max_size, 0, p.kinds)
    samples = [data[Key(0, i, i)] for i in range(2)]
    return batch_images(samples, torch.device("cpu")), samples


@pytest.mark.parametrize("name", FAMILIES)
def test_every_backbone_tensor_is_in_the_detector_and_learns(name: str, tmp_path: Path) -> None:
    p = params(name)
    source = build_backbone("resnet18")
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
        assert found["keypoints"].shape == (n, 5, 3) if "keypoints" in p.kinds else "keypoints" not in found


@pytest.mark.parametrize("name", FAMILIES)
def test_the_optimiser_has_every_parameter_once(name: str) -> None:
    p = params(name)
    model = detector(p)
    norm, other = (g["params"] for g in training.optimizer_for(model, p).param_groups)
    assert len({id(q) for q in [*norm, *other]}) == len(norm) + len(other) == len(list(model.parameters()))
    assert {id(q) for n, q in model.named_parameters() if "bn1." in n} <= {id(q) for q in norm}
    assert all(q.ndim == 1 for q in norm)


def test_c4_region_of_the_whole_image_is_the_backbones_last_map() -> None:
    """A 224-pixel image has 14 x 14 cells of stride 16, so the pooled whole image is C4 itself."""
    model = detector(params("voc0712_det"))
    assert isinstance(model, C4Rcnn)
    model.eval()
    images = torch.randn(2, 3, 224, 224)
    whole = [torch.tensor([[0.0, 0.0, 224.0, 224.0]])] * 2
    with torch.no_grad():
        regions = model.regions(model.features(images), whole)
        expected = F.batch_norm(
            model.body.maps(images), torch.zeros(512), torch.ones(512), torch.ones(512), torch.zeros(512)
        )
    assert regions.shape == (2, 512, 7, 7)
    assert torch.allclose(regions, expected, atol=1e-5)


def test_c4_anchors_are_size_by_size_and_images_are_not_padded() -> None:
    p = load("task", "coco_det_c4").resolve("paper").params
    model = C4Rcnn("resnet18", 3, p)
    grid = model.rpn.anchor_generator.grid(0, 2, 3, torch.device("cpu")).view(2, 3, 15, 4)
    sides = ((grid[..., 2] - grid[..., 0]) * (grid[..., 3] - grid[..., 1])).sqrt()
    assert sides[1, 2].round().tolist() == [32.0] * 3 + [64.0] * 3 + [128.0] * 3 + [256.0] * 3 + [512.0] * 3
    assert ((grid[1, 2, :, :2] + grid[1, 2, :, 2:]) / 2).tolist() == [[32.0, 16.0]] * 15
    images = [{"image": torch.zeros(3, 40, 50, dtype=torch.uint8)}]
    assert batch_images(images, torch.device("cpu"), model.divisor).tensors.shape == (1, 3, 40, 50)
    assert model.rpn._pre_nms_top_n == {"training": 12_000, "testing": 6000}
    assert model.rpn._post_nms_top_n == {"training": 2000, "testing": 1000}


def test_mask_targets_of_either_size() -> None:
    mask = torch.zeros(1, 56, 56)
    mask[0, :28] = 1
    box = torch.tensor([[0.0, 0.0, 56.0, 56.0]])
    for side in (14, 28):
        found = mask_targets(mask, box, torch.tensor([0]), side)[0]
        assert found[: side // 2].min() == 1
        assert found[side // 2 :].max() == 0


def test_box_loss_with_a_beta_and_with_shared_deltas() -> None:
    """Smooth L1: d^2 / (2 beta) below beta, d - beta / 2 above; shared deltas serve all classes."""
    logits, labels = torch.zeros(2, 3), torch.tensor([2, 0])
    deltas, wanted = torch.tensor([[0.1, -0.4, 2.0, 0.0], [9.0, 9.0, 9.0, 9.0]]), torch.zeros(2, 4)
    by_hand = (0.1**2 + 0.4**2) / (2 * 0.5) + (2.0 - 0.25)
    assert float(box_losses(logits, deltas, labels, wanted, 0.5)["loss_box"]) == pytest.approx(by_hand / 2)
    assert float(box_losses(logits, deltas, labels, wanted)["loss_box"]) == pytest.approx(2.5 / 2)


def test_retina_matching_by_hand() -> None:
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    anchors = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],  # IoU 1 with the first
            [0.0, 0.0, 10.0, 4.5],  # .45: not used
            [0.0, 0.0, 10.0, 3.9],  # .39: background
            [50.0, 50.0, 60.0, 52.0],  # .2, but the best of the second
        ]
    )
    label, matched = match(anchors, box, torch.tensor([3, 7]))
    assert label.tolist() == [3, -1, 0, 7]
    assert matched[0].tolist() == box[0].tolist()
    assert matched[3].tolist() == box[1].tolist()
    assert match(anchors, box[:0], torch.zeros(0, dtype=torch.long))[0].tolist() == [0] * 4


def test_retina_losses_are_the_papers_formula(tmp_path: Path) -> None:
    """Focal loss in float64, term by term, over the moving mean of positives."""
    p = params("coco_retinanet")
    model = detector(p)
    images, targets = sample_targets("coco_retinanet", tmp_path, p)
    model.train()
    losses = model.losses(images, targets)
    logits, deltas, levels = model._outputs(images)
    anchors, cls, box, positives = torch.cat(levels).double(), 0.0, 0.0, 0
    for b, target in enumerate(targets):
        label, matched = match(anchors.float(), target["boxes"], target["labels"])
        prob = logits[b].double().sigmoid()
        hot = torch.zeros_like(prob)
        at = (label > 0).nonzero().flatten()
        hot[at, label[at] - 1] = 1
        focal = torch.where(
            hot == 1, -0.25 * (1 - prob) ** 2 * prob.log(), -0.75 * prob**2 * (1 - prob).log()
        )
        cls += float(focal[label >= 0].sum())
        positives += len(at)
        a, m = anchors[at], matched[at].double()
        size, other = a[:, 2:] - a[:, :2], m[:, 2:] - m[:, :2]
        move = ((m[:, :2] + m[:, 2:]) - (a[:, :2] + a[:, 2:])) / 2 / size
        aim = torch.cat([move, (other / size).log()], 1)
        box += float((deltas[b][at].double() - aim).abs().sum())
    mean = 0.9 * 100 + 0.1 * positives
    assert float(model.normaliser) == pytest.approx(mean)
    assert float(losses["loss_cls"]) == pytest.approx(cls / mean, rel=1e-4)
    assert float(losses["loss_box"]) == pytest.approx(box / mean, rel=1e-4)
    assert "normaliser" in model.state_dict()
    first = model.head.classification_head.cls_logits.bias.sigmoid()
    assert first.tolist() == pytest.approx([0.01] * len(first), rel=1e-4)


def test_retina_detections_equal_torchvisions() -> None:
    """torchvision's own post-processing of the same outputs."""
    p = params("coco_retinanet", candidates=40)
    model = detector(p, classes=5).eval()
    images = ImageList(torch.randn(2, 3, 64, 96), [(64, 90), (60, 96)])
    torch.nn.init.normal_(model.head.classification_head.cls_logits.weight, std=0.2)
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, -3)
    with torch.no_grad():
        logits, deltas, levels = model._outputs(images)
    counts = [len(a) for a in levels]
    other = RetinaNet.__new__(RetinaNet)
    torch.nn.Module.__init__(other)
    other.score_thresh, other.nms_thresh, other.detections_per_img = 0.05, 0.5, p.detections
    other.topk_candidates, other.box_coder = 40, model.coder
    outputs = {"cls_logits": list(logits.split(counts, 1)), "bbox_regression": list(deltas.split(counts, 1))}
    expected = other.postprocess_detections(outputs, [levels] * 2, images.image_sizes)
    for mine, theirs in zip(model.detect(images), expected, strict=True):
        assert len(mine["boxes"]) == len(theirs["boxes"]) > 5
        assert torch.allclose(mine["boxes"], theirs["boxes"])
        assert torch.allclose(mine["scores"], theirs["scores"])
        assert torch.equal(mine["labels"], theirs["labels"] + 1)


def test_retina_has_detectron2s_parameters() -> None:
    """36,372,863 for 3 classes with heads without norm, counted there; P6 comes from C5 (2,048 channels)."""
    paper = load("task", "coco_retinanet").resolve("paper")
    model = Retina("resnet50", 3, type(paper).Params(head_norm="none"))
    assert sum(q.numel() for q in model.parameters()) == 36_372_863
    assert model.fpn.extra_blocks.p6.weight.shape[1] == 2048
    normed = Retina("resnet50", 3, paper.params)
    norms = [m for m in normed.head.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels) for m in norms] == [(32, 256)] * 8


def test_flipping_keypoints_changes_left_and_right() -> None:
    """COCO's published pairs: 1-2, 3-4, ..., 15-16; the nose stays."""
    points = np.arange(51, dtype=np.float64).reshape(1, 17, 3)
    points[0, 5] = 0
    found = flip_keypoints(points, 200, KEYPOINTS)
    pairs = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    for i, j in enumerate(pairs):
        x, y, seen = points[0, j]
        assert found[0, i].tolist() == [200 - x if seen else 0, y, seen]
    assert np.array_equal(flip_keypoints(found, 200, KEYPOINTS), points)


def test_scene_keypoints_lie_on_the_mask() -> None:
    masks = draw_scene(0, 3).masks
    for mask in masks:
        points = np.array(extremes(mask)).reshape(5, 3)
        ys, xs = np.nonzero(mask)
        assert points[1, 0] == xs.min()
        assert points[2, 0] == xs.max()
        assert points[3, 1] == ys.min()
        assert points[4, 1] == ys.max()
        assert points[0, :2].tolist() == pytest.approx([xs.mean(), ys.mean()])
        flipped = np.array(extremes(mask[:, ::-1])).reshape(5, 3)[[0, 2, 1, 3, 4]]
        assert flipped[:, 0].tolist() == pytest.approx((mask.shape[1] - 1 - points[:, 0]).tolist())


def test_keypoints_go_into_a_sample_and_come_back(tmp_path: Path) -> None:
    """COCO's pixel indices -> the resized frame -> a detection in COCO's pixel indices, flipped or not."""
    images = PointSet(tmp_path, 3)
    data = TrainImages(images, (64, 100), 224, 0, ("bbox", "keypoints"))
    flips = 0
    for step in range(10):
        sample, gold = data[Key(step, 0, step % 3)], images.objects(step % 3)
        width, height = (int(v) for v in images.sizes[step % 3])
        n = len(gold.boxes)
        made = {
            "boxes": sample["boxes"], "scores": torch.ones(n), "labels": sample["labels"],
            "keypoints": sample["keypoints"],
        }  # fmt: skip
        back = _results(made, {"original": (width, height), "image": sample["image"]}, 1)
        found = np.array([r["keypoints"] for r in back]).reshape(n, 5, 3)[:, :, :2]
        plain = gold.keypoints[:, :, :2]  # type: ignore[index]
        mirrored = np.stack([width - 1 - plain[..., 0], plain[..., 1]], -1)[:, [0, 2, 1, 3, 4]]
        flip = not np.allclose(found, plain, atol=0.01)
        assert np.allclose(found, mirrored if flip else plain, atol=0.01)
        flips += flip
    assert 1 <= flips <= 9


class Persons(SmallSet):
    """Two classes, keypoints of persons only: one without labelled ones, one crowd."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 3)
        self.classes, self.keypoint_names = ["cat", "person"], KEYPOINTS

    def objects(self, index: int) -> Objects:
        points = np.zeros((3, 17, 3), np.float32)
        points[1, :4] = (20, 20, 2) if index == 0 else 0
        points[2, :4] = (30, 30, 2) if index == 1 else 0
        boxes = np.array([[0, 0, 9, 9], [10, 10, 40, 40], [20, 20, 50, 50]], np.float32)
        crowd = np.array([False, False, index == 1])
        flat = np.zeros(3)
        return Objects(
            boxes, np.array([0, 1, 1]), crowd, crowd & False, flat, np.arange(3), [[], [], []], points
        )


def test_keypoint_protocol_sees_persons_and_trains_on_images_with_keypoints(tmp_path: Path) -> None:
    p = params("coco_keypoints")
    images = prepared(Persons(tmp_path), p)
    assert isinstance(images, OneClass)
    assert images.classes == ["person"]
    found = images.objects(0)
    assert found.labels.tolist() == [0, 0]
    assert found.boxes[0].tolist() == [10, 10, 40, 40]
    assert found.ids.tolist() == [1, 2]
    assert len(found.segmentations or []) == 2
    assert usable(images, p.kinds).tolist() == [0]  # image 1: only its crowd has labelled ones
    assert usable(images).tolist() == [0, 1, 2]


def test_a_subset_is_known_from_seed_and_ids() -> None:
    ids = np.array([900, 4, 17, 58, 132, 7, 21, 33, 40, 61])
    first = chosen(ids, 0.3, 0)
    assert len(first) == 3
    assert set(ids[first]) == {int(i) for i in np.sort(ids)[chosen(np.sort(ids), 0.3, 0)]}  # not the order
    assert set(ids[first]) <= set(ids[chosen(ids, 0.6, 0)])  # larger subsets hold smaller ones
    assert {tuple(chosen(ids, 0.3, s)) for s in range(6)} != {tuple(first)}
    assert chosen(ids, 1.0, 0).tolist() == list(range(10))
    hashed = __import__("hashlib").sha256
    assert set(ids[first]) == set(sorted(ids, key=lambda i: hashed(f"0/{i}".encode()).hexdigest())[:3])


@pytest.mark.parametrize("name", ["coco_retinanet", "coco_det_c4"])
def test_a_trained_detector_is_a_function_of_its_seed(name: str, tmp_path: Path) -> None:
    p, images = params(name), SmallSet(tmp_path, 4)
    states = []
    for run in ("a", "b"):
        model = detector(p)
        fabric = Fabric(accelerator="cpu", devices=1)
        training.train(context(tmp_path / run), TorchvisionBackend(), model, images, p, fabric)
        training.precise_batch_norm(context(tmp_path / run), TorchvisionBackend(), model, images, p, fabric)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


QUICKEST = ("coco_det", "coco_retinanet")  # of those that learn eight images
HEART_C4: dict[str, Any] = {
    "rois": 16, "iterations": 300, "steps": (240,), "warmup": 20, "sizes": (128,), "test_size": 128,
}  # fmt: skip
HEART: dict[str, dict[str, Any]] = {
    "coco_det": {"iterations": 260, "steps": (220,)},
    "coco_det_c4": HEART_C4,
    "voc0712_det": HEART_C4,
    "voc0712_det_fpn": {"iterations": 260, "steps": (220,)},
    "coco_retinanet": {"lr": 0.02},
    "coco_keypoints": {},
}
LIKE = {"coco_det_2x": "coco_det", "coco_det_10pct": "coco_det", "voc07_det": "voc0712_det"}


@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
@pytest.mark.parametrize("name", sorted(LIKE))
def test_tasks_that_are_not_learnt_by_heart_differ_in_length_alone(name: str, scale: str) -> None:
    """So that eight images learnt with the one detector speak for the other too."""
    one, other = (load("task", n).resolve(scale).params for n in (name, LIKE[name]))
    assert (one.detector, one.kinds) == (other.detector, other.kinds)
    fields = type(other).model_fields
    assert fields.keys() == type(one).model_fields.keys()
    differing = {f for f in fields if getattr(one, f) != getattr(other, f)}
    assert differing <= {"iterations", "steps", "fraction"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n in QUICKEST else pytest.param(n, marks=pytest.mark.long) for n in sorted(HEART)]
)
def test_it_learns_eight_images_by_heart(name: str, tmp_path: Path) -> None:
    """120 to 300 steps from random weights, one to four minutes on a core. C4's head sees every region at
    14 x 14, so its network is half as wide; with 120 steps of 2 images it gets to 42, detectron2's to 46."""
    torch.set_num_threads(2)
    settings = {
        "iterations": 120, "steps": (100,), "warmup": 5, "batch_size": 4, "lr": 0.05, "sizes": (96,),
        "test_size": 96, "precise_bn": 4,
    }  # fmt: skip
    p = params(name, **(settings | HEART[name]))
    images = prepared(images_for(name, tmp_path, 8), p)
    model = detector(p, len(images.classes), "resnet18_half" if p.detector == "c4" else "resnet18")
    ctx, fabric = context(tmp_path / "c"), Fabric(accelerator="cpu", devices=1)
    training.train(ctx, TorchvisionBackend(), model, images, p, fabric)
    training.precise_batch_norm(ctx, TorchvisionBackend(), model, images, p, fabric)
    found = predict(ctx, TorchvisionBackend(), model, images, p, torch.device("cpu"))
    metrics, _ = score(images, found, p)
    assert metrics.get("AP50_bbox", metrics.get("AP50", 0)) > 70  # 80 to 92
    assert metrics.get("AP50_keypoints", 100) > 40
    assert metrics.get("AP50_segm", 100) > 30
