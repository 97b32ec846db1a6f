"""The C4 detector: the region of a whole image, anchors, images without padding."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from bench.contracts.registry import load
from tasks._detection.c4 import C4Rcnn
from tasks._detection.data import batch_images
from tests.tasks.detectors import detector, params


def test_c4_region_of_the_whole_image_is_the_backbones_last_map() -> None:
    """A 224-pixel image has 14 x 14 cells of stride 16, so the pooled whole image is C4 itself."""
    model = detector(params("voc0712_det"))
    assert isinstance(model, C4Rcnn)
    model.eval()
    images = torch.randn(2, 3, 224, 224)
    whole = [torch.tensor([[0.0, 0.0, 224.0, 224.0]])] * 2
    with torch.no_grad():
        regions = model.pool_regions(model.features(images), whole)
        expected = F.batch_norm(
            model.body.maps(images),
            torch.zeros(128),
            torch.ones(128),
            torch.ones(128),
            torch.zeros(128),
        )
    assert regions.shape == (2, 128, 7, 7)
    assert torch.allclose(regions, expected, atol=1e-5)


def test_c4_anchors_are_size_by_size_and_images_are_not_padded() -> None:
    p = load("task", "coco_det_c4").resolve("paper").params
    model = C4Rcnn("resnet18", 3, p)
    grid = model.rpn.anchor_generator.grid(0, 2, 3, torch.device("cpu")).view(2, 3, 15, 4)
    sides = ((grid[..., 2] - grid[..., 0]) * (grid[..., 3] - grid[..., 1])).sqrt()
    assert (
        sides[1, 2].round().tolist()
        == [32.0] * 3 + [64.0] * 3 + [128.0] * 3 + [256.0] * 3 + [512.0] * 3
    )
    assert ((grid[1, 2, :, :2] + grid[1, 2, :, 2:]) / 2).tolist() == [[32.0, 16.0]] * 15
    images = [{"image": torch.zeros(3, 40, 50, dtype=torch.uint8)}]
    assert batch_images(images, torch.device("cpu"), model.divisor).tensors.shape == (1, 3, 40, 50)
    assert model.rpn._pre_nms_top_n == {"training": 12_000, "testing": 6000}
    assert model.rpn._post_nms_top_n == {"training": 2000, "testing": 1000}
