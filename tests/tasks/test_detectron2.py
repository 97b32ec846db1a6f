"""Our detectors against detectron2's with the same weights, samples and random draws. Skipped
without it.

Tolerances: measured differences (docs/design/detection.md) times about ten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from bench.core.errors import BadInput
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from tasks._detection.backend import DETECTORS, TorchvisionBackend
from tasks._detection.data import TestImages, batch_images, fit_size, resize_image
from tasks._detection.evaluate import predict
from tasks._detection.masks import mask_targets
from tasks._detection.rpn import propose
from tests.tasks.detectors import FAMILIES, context

pytest.importorskip("detectron2")

from detectron2.data.transforms import ResizeShortestEdge, ResizeTransform
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import BitMasks, Boxes, PolygonMasks

from tasks._detection.detectron2 import Detectron2Backend, build_network, load_body, read_body
from tests.tasks.detectron2_pair import CPU, POINTS, Pair, far, settings
from tests.tasks.detectron2_weights import copy_weights


@pytest.mark.parametrize("name", FAMILIES)
def test_losses_gradients_and_statistics(name: str, tmp_path: Path) -> None:
    """Each loss within 1e-5; every gradient within 2 %, where a ReLU near 0 or an L1 changes sides
    (most differ by 1e-6); batch-norm statistics and RetinaNet's moving mean after the step."""
    pair = Pair(name, tmp_path)
    ours, theirs = pair.losses()
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        assert float(value) > 0, key
        assert float(theirs[key]) == pytest.approx(float(value), rel=1e-5), key
    sum(ours.values()).backward()  # type: ignore[union-attr]
    sum(theirs.values()).backward()  # type: ignore[union-attr]
    other = pair.renamed()
    for (key, a), b in zip(
        other.state_dict().items(), pair.theirs.state_dict().values(), strict=True
    ):
        assert torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5), key
    with torch.no_grad():
        for tensor in pair.ours.parameters():
            tensor.copy_(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
    for (key, a), b in zip(
        pair.renamed().named_parameters(), pair.theirs.parameters(), strict=True
    ):
        grad = torch.zeros_like(b) if b.grad is None else b.grad
        assert float((a - grad).norm()) <= 0.02 * float(grad.norm()) + 1e-6, key


@pytest.mark.parametrize("name", ["coco_det", "voc0712_det"])
def test_losses_of_a_bottleneck_network(name: str, tmp_path: Path) -> None:
    pair = Pair(name, tmp_path, "resnet50", rois=8)
    ours, theirs = pair.losses()
    for key, value in ours.items():
        assert float(theirs[key]) == pytest.approx(float(value), rel=1e-4), key


@pytest.mark.parametrize("name", ["coco_det", "coco_det_c4", "coco_retinanet"])
def test_maps_anchors_and_proposals(name: str, tmp_path: Path) -> None:
    pair = Pair(name, tmp_path)
    ours, theirs = pair.ours.eval(), pair.theirs.eval()
    images = batch_images(pair.samples, CPU, ours.divisor)
    with torch.no_grad():
        batch = theirs.preprocess_image([{"image": s["image"]} for s in pair.samples])
        assert torch.allclose(batch.tensor, images.tensors, atol=1e-5)
        assert [tuple(s) for s in batch.image_sizes] == images.image_sizes
        there = list(theirs.backbone(batch.tensor).values())
        if name == "coco_retinanet":
            logits, deltas, levels = ours._run_head(images)
            wanted = theirs._transpose_dense_predictions(
                theirs.head(there), [theirs.num_classes, 4]
            )
            assert far(torch.cat(wanted[0], 1), logits) < 1e-5
            assert far(torch.cat(wanted[1], 1), deltas) < 1e-5
            for a, b in zip(theirs.anchor_generator(there), levels, strict=True):
                assert torch.allclose(a.tensor, b, atol=1e-4)
            return
        here = ours.features(images.tensors)
        here = [here] if isinstance(here, Tensor) else here
        rpn = theirs.proposal_generator
        for a, b in zip(there, here, strict=True):
            assert far(a, b) < 1e-5
        anchors = torch.cat([a.tensor for a in rpn.anchor_generator(there)])
        assert torch.allclose(anchors, ours.rpn.anchor_generator(images, here)[0], atol=1e-4)
        proposals, _ = propose(ours.rpn, images, here, None)
        expected, _ = rpn(batch, dict(zip(rpn.in_features, there, strict=True)))
        for mine, other in zip(proposals, expected, strict=True):
            assert len(mine) == len(other) > 20
            assert torch.allclose(mine, other.proposal_boxes.tensor, atol=1e-3)


def native(model: Any, data: TestImages, ids: np.ndarray) -> list[dict[str, Any]]:
    """detectron2's own way from an image to COCO's result format, categories from 0."""
    found = []
    for i in range(len(data)):
        sample = data[i]
        width, height = sample["original"]
        with torch.no_grad():
            (out,) = model([{"image": sample["image"], "width": width, "height": height}])
        found += instances_to_coco_json(out["instances"], int(ids[i]))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_detections_of_the_whole_way(name: str, tmp_path: Path) -> None:
    """Ours, and its networks behind our interface, against its own inference: boxes in original
    pixels, scores, classes, masks, keypoints."""
    pair = Pair(name, tmp_path, detections=40)
    data = TestImages(pair.images, pair.p.test_size, pair.p.max_size)
    expected = native(pair.theirs.eval(), data, pair.images.ids)
    assert len(expected) > 60
    for backend, model in ((TorchvisionBackend(), pair.ours), (Detectron2Backend(), pair.theirs)):
        found = predict(context(tmp_path / "c"), backend, model, pair.images, pair.p, CPU)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert (a["image_id"], a["category_id"]) == (b["image_id"], b["category_id"] + 1)
            assert a["score"] == pytest.approx(b["score"], abs=1e-4)
            assert np.allclose(a["bbox"], b["bbox"], atol=0.01)
            if "segmentation" in b:
                masks = [coco_mask.decode(d["segmentation"]) for d in (a, b)]
                assert np.mean(masks[0] != masks[1]) < 0.002
            if "keypoints" in b:
                places = [np.array(d["keypoints"]).reshape(-1, 3)[:, :2] for d in (a, b)]
                assert np.abs(places[0] - places[1]).max() < 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_initial_weights_have_the_same_spread(name: str) -> None:
    p = settings(name)
    torch.manual_seed(0)
    ours = DETECTORS[p.detector]("resnet18", 20, p, POINTS)
    first, renamed = (build_network("resnet18", 20, p, POINTS) for _ in range(2))
    copy_weights(ours, renamed)
    for (key, a), b in zip(renamed.state_dict().items(), first.state_dict().values(), strict=True):
        if a.ndim < 2 or "bottom_up" in key or ".res" in key or ".stem" in key:
            same = a.ndim >= 2 or "bottom_up" in key or torch.allclose(a, b)
            assert same or ".conv" in key, key
        else:
            n = a.numel()
            assert float(a.mean() - b.mean()) == pytest.approx(
                0, abs=6 * float(b.std()) * (2 / n) ** 0.5
            ), key
            assert float(a.std() / b.std()) == pytest.approx(1, abs=6 * n**-0.5), key


@pytest.mark.parametrize("name", ["coco_det", "voc0712_det", "coco_retinanet"])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_backbone_goes_in_and_comes_out_bit_equal(
    name: str, backbone: str, tmp_path: Path
) -> None:
    source = build_backbone(backbone)
    for tensor in source.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) * 100)
    save_backbone(tmp_path / "b.pth", source)
    p = settings(name)
    model, matched = Detectron2Backend().build(backbone, tmp_path / "b.pth", 20, p, POINTS)
    state = source.state_dict()
    assert matched == len(state) == {"resnet18": 120, "resnet50": 318}[backbone]
    back = read_body(model)
    assert set(back) == set(state)
    assert all(torch.equal(back[k], state[k]) for k in state)
    torch.save(back, tmp_path / "back.pth")
    assert load_backbone(tmp_path / "back.pth", build_backbone(backbone)) == matched
    for key in ("layer4.0.conv2.weight", "bn1.running_var"):
        broken = {k: v for k, v in state.items() if k != key}
        with pytest.raises(BadInput, match=rf"'{key}' is missing"):
            load_body(model, broken, "file")
        with pytest.raises(BadInput, match=r"'layer4\.9\.conv2\.weight' is unexpected"):
            load_body(model, {**state, "layer4.9.conv2.weight": state["conv1.weight"]}, "file")
        with pytest.raises(BadInput, match=rf"'{key}' is \(1,\), not"):
            load_body(model, {**state, key: torch.zeros(1)}, "file")


def test_pooling_levels(tmp_path: Path) -> None:
    """Regions of all sizes, on and beside the edges between levels, from the level that ROIPooler
    takes."""
    pair = Pair("coco_det", tmp_path)
    pooler = pair.theirs.roi_heads.box_pooler
    torch.manual_seed(1)
    maps = [torch.randn(1, 8, 64 // 2**i, 64 // 2**i) for i in range(4)]
    sides = torch.tensor([4.0, 27.9, 28, 56, 55.99, 112, 120, 200, 224, 250]).repeat_interleave(3)
    corner = torch.rand(len(sides), 2) * 40 - 10
    boxes = torch.cat([corner, corner + sides[:, None]], 1)
    assert torch.allclose(
        pair.ours.pool(maps, [boxes], 7), pooler(maps, [Boxes(boxes)]), atol=1e-5
    )


def test_mask_targets(tmp_path: Path) -> None:
    """Equal to BitMasks; within 3 % of the pixels of polygons along the pixels' edges, of whole
    objects."""
    pair = Pair("coco_det", tmp_path)
    torch.manual_seed(0)
    wrong = []
    for sample in pair.samples:
        masks, n = sample["masks"], len(sample["boxes"])
        scale = sample["scale"].repeat(2)
        rows = torch.arange(n).repeat_interleave(4)
        boxes = (sample["boxes"] * scale)[rows] + torch.randn(len(rows), 4)
        ours = mask_targets(masks, boxes, rows, 28)
        bits = BitMasks(masks)[rows].crop_and_resize(boxes, 28)
        assert torch.equal(ours.bool(), bits)
        for row, box, bit in zip(rows, boxes, bits, strict=True):
            polygon = outline(masks[row].numpy())
            if polygon is not None:
                other = PolygonMasks([[polygon]]).crop_and_resize(box[None], 28)
                wrong.append((other[0] != bit).float().mean())
    assert len(wrong) >= 8
    assert float(torch.stack(wrong).mean()) < 0.03


def outline(mask: np.ndarray) -> np.ndarray | None:
    """The polygon along the edges of a mask's pixels, flat; None where a row has two runs, or
    none."""
    rows = np.arange(np.flatnonzero(mask.any(1))[0], np.flatnonzero(mask.any(1))[-1] + 1)
    runs = [np.flatnonzero(mask[y]) for y in rows]
    if any(len(r) == 0 or r[-1] - r[0] + 1 != len(r) for r in runs):
        return None
    left = [(r[0], y + d) for r, y in zip(runs, rows, strict=True) for d in (0, 1)]
    right = [
        (r[-1] + 1, y + d) for r, y in zip(runs[::-1], rows[::-1], strict=True) for d in (1, 0)
    ]
    return np.array(left + right, np.float64).flatten()


def test_resizing(tmp_path: Path) -> None:
    """Sizes of 4,000 random images, and the pixels bit for bit."""
    rng = np.random.default_rng(0)
    for _ in range(4000):
        width, height = (int(v) for v in rng.integers(30, 2000, 2))
        short, longest = int(rng.choice((480, 640, 672, 704, 736, 768, 800))), 1333
        expected = ResizeShortestEdge.get_output_shape(height, width, short, longest)
        assert fit_size(width, height, short, longest) == expected[::-1]
    for _ in range(10):
        height, width = (int(v) for v in rng.integers(40, 300, 2))
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        size = fit_size(width, height, 128, 200)
        theirs = ResizeTransform(height, width, size[1], size[0]).apply_image(image)
        assert np.array_equal(resize_image(image, size).numpy(), theirs.transpose(2, 0, 1))
