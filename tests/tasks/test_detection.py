"""The detector: anchors, pooling, losses, targets, boxes and masks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch.nn import functional as F
from torchvision.models import resnet18

from bench.core.errors import BadInput
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from tasks._detection.anchors import Anchors, assign_levels, cell_anchors, pool_levels
from tasks._detection.data import batch_images, fit_size
from tasks._detection.evaluate import to_original
from tasks._detection.fpn import FpnRcnn
from tasks._detection.losses import box_losses
from tasks._detection.masks import mask_targets, paste
from tasks._detection.rpn import Rpn
from tasks._detection.targets import decode_mask
from tests.tasks.detectors import fpn_params


def test_cell_anchors_have_the_area_and_ratio_asked_for() -> None:
    boxes = cell_anchors(32.0)
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (w * h).tolist() == pytest.approx([1024.0] * 3)
    assert (h / w).tolist() == pytest.approx([0.5, 1.0, 2.0])
    # not rounded
    assert boxes[0].tolist() == pytest.approx([-22.627417, -11.3137085, 22.627417, 11.3137085])


def test_anchor_grid_stands_at_multiples_of_the_stride() -> None:
    """At 800 x 1333 padded to 1344, level P6 has stride 64 whatever the padding."""
    grid = Anchors((32, 64, 128, 256, 512), (4, 8, 16, 32, 64)).grid(
        4, 13, 21, torch.device("cpu")
    )
    centres = (grid[:, :2] + grid[:, 2:]) / 2
    assert centres.view(13, 21, 3, 2)[2, 5].tolist() == [[320.0, 128.0]] * 3
    assert len(grid) == 13 * 21 * 3


def test_levels_follow_the_fpn_paper() -> None:
    sides = torch.tensor([10.0, 111.9, 112.1, 223.9, 224.1, 447.0, 449.0, 5000.0])
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], 1)
    expected = [min(max(math.floor(4 + math.log2(float(s) / 224)), 2), 5) - 2 for s in sides]
    assert assign_levels(boxes, 224, 4).tolist() == expected == [0, 0, 1, 1, 2, 2, 3, 3]


def test_pool_reads_the_pixels_under_the_box() -> None:
    """A ramp map pooled over a box gives the ramp's value at each bin's centre, half-pixel
    aligned."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32).contiguous()
    box = torch.tensor([[16.0, 16.0, 72.0, 72.0]])  # stride 4: x from 4 to 18
    found = pool_levels([ramp, ramp, ramp, ramp], [box], 7, 56, (4, 8, 16, 32, 64))
    level = int(assign_levels(box, 56, 4))
    stride = (4, 8, 16, 32)[level]
    left, width = 16 / stride, 56 / stride / 7
    expected = [left + (i + 0.5) * width - 0.5 for i in range(7)]
    assert found[0, 0, 3].tolist() == pytest.approx(expected, abs=1e-4)


def test_box_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [0.3, 0.2, 0.1]])
    deltas = torch.arange(36.0).view(3, 12) / 10
    labels, targets = torch.tensor([0, 2, 1]), torch.zeros(3, 4)
    found = box_losses(logits, deltas, labels, targets)
    own = [2.0, 2.1, 2.2, 2.3], [2.8, 2.9, 3.0, 3.1]  # row 1 class 2, row 2 class 1
    assert float(found["loss_box"]) == pytest.approx(sum(map(sum, own)) / 3, rel=1e-5)
    expected = -np.mean(
        [
            math.log(math.exp(r[c]) / sum(map(math.exp, r)))
            for r, c in zip(logits.tolist(), [0, 2, 1], strict=True)
        ]
    )
    assert float(found["loss_cls"]) == pytest.approx(expected, rel=1e-5)


def test_rpn_losses_are_sums_over_the_fixed_budget() -> None:
    class One:
        batch_size_per_image = 8

        def __call__(self, labels: Any) -> Any:
            return [(labels[0] == 1).to(torch.uint8)], [(labels[0] == 0).to(torch.uint8)]

    rpn = Rpn.__new__(Rpn)
    torch.nn.Module.__init__(rpn)
    rpn.fg_bg_sampler = One()
    labels = [torch.tensor([1.0, 0.0, -1.0, 0.0])]
    scores = torch.tensor([[0.5], [-1.0], [9.0], [2.0]])
    deltas, targets = torch.full((4, 4), 0.25), [torch.zeros(4, 4)]
    cls, box = rpn.compute_loss(scores, deltas, labels, targets)
    s = [math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(-1.0)), math.log(1 + math.exp(2.0))]
    assert float(cls) == pytest.approx(sum(s) / 8, rel=1e-5)
    assert float(box) == pytest.approx(1.0 / 8)


def test_mask_targets_and_paste_are_inverse_on_a_rectangle() -> None:
    mask = torch.zeros(1, 60, 80, dtype=torch.uint8)
    mask[0, 20:40, 10:50] = 1
    box = torch.tensor([[0.0, 10.0, 60.0, 50.0]])
    target = mask_targets(mask, box, torch.tensor([0]))
    assert target.shape == (1, 28, 28)
    rows, cols = target[0].nonzero(as_tuple=True)
    assert int(rows.min()) == 7  # 20 is a quarter of the way from 10 to 50
    assert int(rows.max()) == 20
    assert cols.min() / 28 == pytest.approx(10 / 60, abs=1 / 28)
    back = paste(target, box, 60, 80)[0]
    difference = (back != mask[0].bool()).sum()
    assert int(difference) <= 130  # at most about a pixel along the rectangle's 120-pixel edge


def test_resize_rule() -> None:
    assert fit_size(640, 480, 800, 1333) == (1067, 800)
    assert fit_size(1000, 300, 800, 1333) == (1333, 400)
    assert fit_size(192, 144, 128, 224) == (171, 128)


def test_boxes_map_back_to_the_original_and_are_clipped() -> None:
    boxes = torch.tensor([[10.0, 20.0, 100.0, 128.0], [-5.0, 0.0, 200.0, 130.0]])
    found = to_original(boxes, (128, 171), (192, 144))
    expected = [10 * 192 / 171, 22.5, 100 * 192 / 171, 144.0]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-4)
    assert found[1].tolist() == [0.0, 0.0, 192.0, 144.0]


def test_decode_mask_reads_every_coco_form() -> None:
    polygon = [[2.0, 1.0, 8.0, 1.0, 8.0, 5.0, 2.0, 5.0]]
    from_polygon = decode_mask(polygon, 8, 12)
    compressed = coco_mask.encode(np.asfortranarray(from_polygon))
    text = {"size": compressed["size"], "counts": compressed["counts"].decode()}
    runs, last, count = [], 0, 0
    for value in from_polygon.ravel(order="F"):
        if value == last:
            count += 1
        else:
            runs.append(count)
            last, count = value, 1
    runs.append(count)
    assert from_polygon.sum() == 24
    assert np.array_equal(decode_mask(text, 8, 12), from_polygon)
    assert np.array_equal(decode_mask({"size": [8, 12], "counts": runs}, 8, 12), from_polygon)


def test_the_backbone_is_in_the_detector_or_it_fails_loudly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_backbone("resnet18")
    save_backbone(tmp_path / "b.pth", source)
    model = FpnRcnn("resnet18", 3, fpn_params())
    assert load_backbone(tmp_path / "b.pth", model.body) == len(source.state_dict()) == 120
    images = torch.randn(1, 3, 64, 64)
    source.eval()
    model.eval()
    assert torch.allclose(model.body(images)["3"], source.maps(images), atol=1e-6)
    state = resnet18().state_dict()
    for damage in ("missing", "renamed"):
        broken = {k: v for k, v in state.items() if k != "layer3.0.conv1.weight"}
        if damage == "renamed":
            broken["encoder.layer3.0.conv1.weight"] = state["layer3.0.conv1.weight"]
        torch.save(broken, tmp_path / "x.pth")
        with pytest.raises(BadInput, match=r"layer3\.0\.conv1\.weight"):
            load_backbone(tmp_path / "x.pth", model.body)


def test_padding_and_normalisation() -> None:
    samples = [
        {"image": torch.full((3, 40, 50), 255, dtype=torch.uint8)},
        {"image": torch.zeros(3, 33, 70, dtype=torch.uint8)},
    ]
    found = batch_images(samples, torch.device("cpu"))
    assert found.tensors.shape == (2, 3, 64, 96)
    assert found.image_sizes == [(40, 50), (33, 70)]
    assert float(found.tensors[0, 0, 0, 0]) == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)
    assert float(found.tensors[0, :, 40:].abs().sum()) == 0
    assert F.relu(found.tensors[1]).sum() == 0
