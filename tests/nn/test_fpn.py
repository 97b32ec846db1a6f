"""The feature pyramid: its maps, which level a box belongs to, and what RoIAlign reads there."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops import roi_align

from bench.nn.backbones import build_backbone
from bench.nn.fpn import LEVELS, build_fpn, level_of, pool_rois, stage_maps, stride_of

STRIDES = (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("name", "widths"), [("resnet18", (64, 128, 256, 512)), ("resnet50", (256, 512, 1024, 2048))]
)
def test_the_pyramid_of_a_resnet(name: str, widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name).eval()
    fpn = build_fpn(backbone.feature_dim, 16).eval()
    images = torch.randn(2, 3, 96, 70)
    maps = stage_maps(backbone, images)
    assert [m.shape[1] for m in maps.values()] == list(widths)
    assert torch.equal(maps["c5"], backbone.maps(images))
    levels = fpn(maps)
    for stride, p in zip(STRIDES, levels.values(), strict=True):
        assert p.shape == (2, 16, -(-96 // stride), -(-70 // stride))


@pytest.mark.parametrize("size", [224, 448, 112])
def test_a_box_goes_to_the_level_of_its_area(size: int) -> None:
    """SoCo's rule: 48, 96 and 192 in a view of 224, upper ends included; only the area counts."""
    sides = [
        (10, 10, 0),
        (48, 48, 0),
        (49, 48, 1),
        (24, 96, 0),
        (96, 96, 1),
        (96, 97, 2),
        (192, 192, 2),
    ]
    sides += [(193, 192, 3), (224, 224, 3), (0, 50, 0), (20, 200, 1)]
    boxes = torch.tensor([[3.0, 5.0, 3 + w, 5 + h] for w, h, _ in sides], dtype=torch.float64)
    assert level_of(boxes * size / 224, size).tolist() == [level for *_, level in sides]


def test_features_of_a_box_are_those_at_its_place_on_its_level() -> None:
    """On maps whose value is 1000 x level + 100 x image + x coordinate,
    RoIAlign gives each bin's centre."""
    maps = []
    for level, stride in enumerate(STRIDES):
        x = (torch.arange(224 // stride) + 0.5) * stride
        base = torch.tensor([0.0, 100.0]).view(2, 1, 1, 1) + 1000 * level
        maps.append((base + x).expand(2, 1, len(x), len(x)).contiguous())
    boxes = torch.tensor(
        [[30.0, 40, 50, 70], [20, 20, 190, 200], [16, 16, 208, 208], [40, 40, 110, 120]]
    )
    boxes = torch.cat([boxes, torch.tensor([[25.0, 60, 27, 64]])])
    image = torch.tensor([1, 0, 1, 0, 0])
    found = pool_rois(maps, boxes, image, level_of(boxes, 224), 224)
    assert found.shape == (5, 1, 7, 7)
    for row, (box, at, level) in enumerate(zip(boxes, image, (0, 2, 2, 1, 0), strict=True)):
        centres = box[0] + (torch.arange(7) + 0.5) * (box[2] - box[0]) / 7
        expected = (1000 * level + 100 * at + centres).expand(7, 7)
        assert torch.allclose(found[row, 0], expected, atol=1e-2)


def test_no_box_gives_no_features_and_no_gradient() -> None:
    maps = [torch.randn(2, 3, 64 // s, 64 // s, requires_grad=True) for s in STRIDES]
    none = torch.zeros(0, dtype=torch.int64)
    found = pool_rois(maps, torch.zeros(0, 4), none, none, 64)
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()
    assert all(m.grad is not None and not m.grad.any() for m in maps)


def test_each_box_is_read_from_the_level_it_is_given_as_torchvision_does() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, s, s) for s in (56, 28, 14, 7)]
    low = torch.rand(12, 2) * 90
    boxes = torch.cat([low, low + 6 + torch.rand(12, 2) * 120], -1)
    image, levels = torch.arange(12) % 2, torch.randint(0, 4, (12,))
    found = pool_rois(maps, boxes, image, levels, 224)
    for at in range(12):
        level, n = int(levels[at]), int(image[at])
        alone = roi_align(
            maps[level][n : n + 1], [boxes[at : at + 1]], 7, 1 / (4 * 2**level), aligned=True
        )
        assert torch.equal(found[at : at + 1], alone)


def test_levels_take_any_shape_and_thresholds() -> None:
    sides = torch.tensor([[1.0, 48, 48.5, 96], [97, 192, 193, 224]])
    boxes = torch.stack([sides * 0, sides * 0, sides * 2, sides / 2], -1)
    assert level_of(boxes, 224).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert level_of(boxes / 2, 112).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    assert level_of(boxes, 224, (50, 100, 200)).tolist() == [[0, 0, 0, 1], [1, 2, 2, 3]]


@pytest.mark.parametrize(
    ("name", "size", "want"),
    [
        ("resnet18", 224, [4, 8, 16, 32]),
        ("resnet18", 96, [4, 8, 16, 32]),
        ("resnet18", 40, [4, 8, 16, None]),
        ("resnet18_cifar", 32, [1, 2, 4, 8]),
    ],
)
def test_the_stride_of_a_map(name: str, size: int, want: list[int | None]) -> None:
    """A stage's stride is what one step of its convolutions skips; a map of 2 x 2 rounds its side
    up too far to tell, which is why `pool_rois` reads the first map's."""
    maps = stage_maps(build_backbone(name).eval(), torch.zeros(1, 3, size, size))
    for features, stride in zip(maps.values(), want, strict=True):
        assert stride is None or stride_of(features, size) == stride


def test_a_pyramid_without_norm_on_some_stages() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet18").eval()
    maps = stage_maps(backbone, torch.randn(2, 3, 64, 64))
    fpn = build_fpn(512, 8, LEVELS[1:], norm=False)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fpn.modules())
    found = fpn({k: maps[k] for k in ("c3", "c4", "c5")})
    assert [tuple(m.shape) for m in found.values()] == [(2, 8, 8, 8), (2, 8, 4, 4), (2, 8, 2, 2)]
