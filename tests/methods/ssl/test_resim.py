"""ReSim: windows found again by their pixels, pooling against dense sampling, losses against
loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import roi_align

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from bench.contracts.views import Source
from bench.core.errors import BadInput
from bench.nn.fpn import stage_maps
from bench.views.loader import crop_resize
from bench.views.sample import MOCO_V2
from methods.ssl.resim.windows import (
    average_windows,
    map_windows,
    pooled_cells,
    sliding_windows,
    window_loss,
)

B = 4
Boxes = list[tuple[float, float, float, float]]


def resim(**settings: Any) -> Any:
    small = {
        "hidden": 16,
        "dim": 8,
        "batch_size": B,
        "region_dim": 8,
        "shuffle": "sync",
        **settings,
    }
    return registry.load("method", "resim").resolve("tiny", small)


def views(boxes: Boxes, flipped: list[bool], size: int = 64, seed: int = 0) -> Views:
    n, draw = len(boxes), torch.Generator().manual_seed(seed)
    none = torch.zeros(n, dtype=torch.bool)
    images = torch.randn(n, 3, size, size, generator=draw)
    return Views(images, torch.tensor(boxes), torch.tensor(flipped), torch.arange(n), none)


def batch(small: int = 0) -> Batch:
    """Four images: equal crops, a shift, a flip of one view, crops that share nothing."""
    first = views([(0, 0, 100, 100)] * B, [False, True, False, False], seed=1)
    second = views(
        [(0, 0, 100, 100), (10, 20, 110, 110), (0, 0, 90, 90), (100, 0, 200, 100)],
        [False, True, True, False],
        seed=2,
    )
    extra = {
        f"small{i + 1}": views([(0, 0, 50, 50)] * B, [False] * B, 32, seed=9 + i)
        for i in range(small)
    }
    return Batch({"view1": first, "view2": second, **extra}, step=1, total_steps=10)


def test_windows_are_the_published_grids() -> None:
    c4, c3 = sliding_windows(48, 32, 224), sliding_windows(32, 24, 224)
    assert (len(c4), len(c3)) == (36, 64)
    assert c4[0].tolist() == [0, 0, 48, 48]
    assert c4[7].tolist() == [32, 32, 80, 80]
    assert c4[-1].tolist() == [160, 160, 208, 208]
    assert c3[1].tolist() == [24, 0, 56, 32]
    assert c3[-1].tolist() == [168, 168, 200, 200]
    torch.testing.assert_close(sliding_windows(48, 32, 56), c4 / 4)


@pytest.mark.parametrize("flips", [(False, False), (True, True), (True, False)])
def test_a_window_shows_the_same_pixels_in_both_views(flips: tuple[bool, bool]) -> None:
    """In an image whose red is x and green is y, a window shows the same place in both views."""
    y, x = np.mgrid[:200, :240]
    image = np.stack([x, y, 0 * x], 2).astype(np.uint8)
    crops = [(20, 10, 180, 150), (40, 30, 230, 190)]
    shown = []
    for crop, flip in zip(crops, flips, strict=True):
        view = crop_resize(image, crop, 112).float()
        shown.append(view.flip(2) if flip else view)
    both = [views([c], [f], 112) for c, f in zip(crops, flips, strict=True)]  # type: ignore[list-item]
    windows = sliding_windows(48, 32, 112)
    places, inside = map_windows(windows, *both)
    assert 4 < int(inside.sum()) < 36
    for window, place, here in zip(windows, places[0], inside[0], strict=True):
        if here:
            one = roi_align(shown[0][None], [window[None]], 1, aligned=True).flatten()[:2]
            two = roi_align(shown[1][None], [place[None]], 1, aligned=True).flatten()[:2]
            torch.testing.assert_close(one, two, atol=1.0, rtol=0)


def test_windows_out_of_the_other_view_do_not_count() -> None:
    """Crops of equal size, the second 32 pixels to the right: the first column of windows is
    lost."""
    first, second = (views([(x, 0.0, x + 224.0, 224.0)], [False], 224) for x in (0.0, 32.0))
    windows = sliding_windows(48, 32, 224)
    places, inside = map_windows(windows, first, second)
    assert inside.view(6, 6).int().tolist() == [[0, 1, 1, 1, 1, 1]] * 6
    torch.testing.assert_close(places[inside], windows[inside[0]] - torch.tensor([32.0, 0, 32, 0]))
    assert map_windows(windows, first, first)[1].all(), (
        "equal views show every window, edges included"
    )
    other = Views(second.images, second.boxes, second.flipped, second.index + 1, second.objects)
    assert not map_windows(windows, first, other)[1].any(), "another image shows none of them"


@pytest.mark.parametrize("half_pixel", [False, True])
def test_average_is_the_integral_of_the_interpolated_map(half_pixel: bool) -> None:
    """Against 400 x 400 samples a box of torch's own bilinear sampling with zeros outside."""
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    boxes = torch.tensor(
        [[[8.0, 4, 60, 70], [0, 0, 80, 96], [30.5, 7, 31.5, 90]]], dtype=torch.float64
    )
    boxes = torch.cat([boxes, boxes / 2])
    found = average_windows(maps, boxes, 16, half_pixel)
    steps = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    for n in range(2):
        for i, (x1, y1, x2, y2) in enumerate(boxes[n].tolist()):
            x, y = ((a + steps * (b - a)) / 16 - 0.5 * half_pixel for a, b in ((x1, x2), (y1, y2)))
            grid = torch.stack(
                torch.meshgrid((2 * x + 1) / 5 - 1, (2 * y + 1) / 6 - 1, indexing="xy"), 2
            )
            dense = F.grid_sample(maps[n : n + 1], grid[None], align_corners=False).mean((2, 3))[0]
            torch.testing.assert_close(found[n, i], dense, atol=2e-4, rtol=0)
    flat = average_windows(torch.ones(1, 2, 14, 14), torch.tensor([[[0.0, 0, 208, 208]]]), 16)
    torch.testing.assert_close(flat, torch.ones(1, 1, 2))


def test_negatives_are_averaged_cells_of_unit_length() -> None:
    maps = torch.randn(2, 4, 5, 6)
    cells = pooled_cells(maps).view(2, 3, 4, 4)
    for n, y, x in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        mean = maps[n, :, y : y + 3, x : x + 3].mean((1, 2))
        torch.testing.assert_close(cells[n, y, x], mean / mean.norm())
    assert pooled_cells(torch.randn(3, 4, 1, 2)).shape == (3, 1, 4), (
        "a map smaller than the kernel"
    )


def plain_loss(q: Any, k: Any, inside: Any, negatives: list[Any], tau: float) -> float:
    """InfoNCE over windows, in Python's float64; image n's negatives are `negatives[n]`."""
    terms = []
    for n in range(len(q)):
        for i in range(q.shape[1]):
            if inside[n, i]:
                a, b = (F.normalize(x[n, i].double(), dim=0) for x in (q, k))
                top = math.exp(float(a @ b) / tau)
                rest = sum(math.exp(float(a @ m) / tau) for m in negatives[n].double())
                terms.append(-math.log(top / (top + rest)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("runs", [1, 2])
def test_window_loss_equals_the_plain_loop(runs: int) -> None:
    torch.manual_seed(0)
    q, k, inside = torch.randn(4, 3, 8), torch.randn(4, 3, 8), torch.rand(4, 3) < 0.6
    negatives = [F.normalize(torch.randn(11, 8), dim=1) for _ in range(runs)]
    each = [negatives[n * runs // 4] for n in range(4)]
    assert float(window_loss(q, k, inside, negatives, 0.2)) == pytest.approx(
        plain_loss(q, k, inside, each, 0.2), rel=1e-5
    )
    q.requires_grad_()
    window_loss(q, k.requires_grad_(), inside, negatives, 0.2).backward()
    assert k.grad is None
    assert q.grad is not None
    assert torch.equal(q.grad.abs().sum(2) > 0, inside), "only windows that both views show"
    nothing = window_loss(q, k, torch.zeros_like(inside), negatives, 0.2)
    nothing.backward()
    assert float(nothing.detach()) == 0, "never NaN"


@pytest.mark.parametrize("variant", ["fpn", "c4"])
def test_losses_of_the_network_equal_loops(variant: str) -> None:
    torch.manual_seed(0)
    network, b = resim(variant=variant, bn_groups=2).network(40).train(), batch()
    found: dict[str, Any] = {}
    with torch.no_grad():
        for prefix, role in (("", "view1"), ("key_", "view2")):
            maps = stage_maps(getattr(network, prefix + "backbone"), b.views[role].images)
            regions = getattr(network, prefix + "regions")
            if variant == "fpn":
                top = regions({n: maps[n] for n in ("c3", "c4", "c5")})
                lateral, output = regions.inner_blocks, regions.layer_blocks
                p4 = lateral[1](maps["c4"]) + F.interpolate(lateral[2](maps["c5"]), scale_factor=2)
                p3 = lateral[0](maps["c3"]) + F.interpolate(p4, scale_factor=2)
                torch.testing.assert_close(top["c4"], output[1](p4))
                torch.testing.assert_close(top["c3"], output[0](p3))
            else:
                top = {"c4": regions(maps["c4"])}
            found[role] = top
        expected = {}
        for level, side, step, stride in (("c4", 48, 32, 16), ("c3", 32, 24, 8)):
            if level not in found["view1"]:
                continue
            windows = sliding_windows(side, step, 64)
            places, inside = map_windows(windows, b.views["view1"], b.views["view2"])
            q = average_windows(found["view1"][level], windows.expand(B, -1, -1), stride)
            k = average_windows(found["view2"][level], places, stride)
            cells = pooled_cells(found["view2"][level])
            # groups of two
            near = [cells[n // 2 * 2 : n // 2 * 2 + 2].flatten(0, 1) for n in range(B)]
            every = [cells.flatten(0, 1)] * B
            expected[level] = plain_loss(q, k, inside, every if level == "c4" else near, 0.2)
    parts = {n: v.detach() for n, v in network.loss(b).items()}
    for level, value in expected.items():
        assert float(parts[level]) == pytest.approx(value, rel=1e-4)
    regions_loss = sum(float(parts[level]) for level in expected)
    assert float(parts["loss"]) == pytest.approx(float(parts["image"]) + regions_loss, rel=1e-5)
    assert 0.2 < float(parts["windows"]) < 0.8
    assert int(network.queue.position) == B


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_reach_every_query_parameter_and_no_key(heads: int) -> None:
    torch.manual_seed(0)
    network = resim(symmetric=True).network(40, heads).train()
    b = batch(small=1)
    b.views["view1"].objects = torch.tensor([True, True, False, False])
    network.loss(b)["loss"].backward()
    for name, p in network.named_parameters():
        assert (p.grad is None) == name.startswith("key_") != p.requires_grad, name
        assert p.grad is None or bool(p.grad.any()), name


def test_views_that_share_nothing_have_the_image_loss_alone() -> None:
    torch.manual_seed(0)
    network, b = resim(shuffle="shuffle_bn").network(40).train(), batch()
    b.views["view2"].boxes = b.views["view2"].boxes + 500
    parts = network.loss(b)
    parts["loss"].backward()
    assert float(parts["loss"].detach()) == float(parts["image"].detach())
    assert float(parts["windows"]) == 0
    for p in network.regions.parameters():
        assert p.grad is not None, "in the graph all the same, for training on several devices"
        assert not p.grad.any()


def test_the_order_of_a_batch_does_not_matter() -> None:
    order, b = torch.tensor([2, 0, 3, 1]), batch()
    turned = Batch(
        {
            r: Views(*(getattr(v, f)[order] for f in Views.__dataclass_fields__))
            for r, v in b.views.items()
        }
    )
    losses = []
    for data in (b, turned):
        torch.manual_seed(0)
        losses.append(float(resim(bn_groups=1).network(40).train().loss(data)["loss"].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_views_share_one_flip() -> None:
    viewer, flips = resim(image_size=96, min_scale=0.2).viewer(None, {}), []
    for seed in range(40):
        sources = [
            Source(3, (1, 2, 30, 40), "object"),
            Source(3),
            Source(4, role="small", size=32),
        ]
        one, two, small = viewer(sources, np.random.default_rng(seed)).views
        assert one.flip == two.flip
        flips.append(one.flip)
        assert (one.augment, one.scale, one.size, one.box) == (
            replace(MOCO_V2, blur_first=True),
            (0.2, 1.0),
            96,
            (1, 2, 30, 40),
        )
        assert (small.flip, small.size, small.augment) == (None, 32, one.augment)
    assert 10 < sum(flips) < 30


def test_views_are_blurred_before_their_colours_change() -> None:
    """METHODS 1.11: the published order is blur, jitter, grey; MoCo v2's is jitter, grey, blur."""
    drawn = []
    for name in ("resim", "moco_v2"):
        viewer = registry.load("method", name).resolve("tiny").viewer(None, {})
        views = viewer([Source(0), Source(0)], np.random.default_rng(0)).views
        drawn.append({v.augment.blur_first for v in views})
    assert drawn == [{True}, {False}]


def test_paper_settings_and_backbones() -> None:
    """METHODS 1.11: rate .03 at 256 images, 200 epochs, 256 channels; tau .2 as MoCo v2."""
    p = registry.load("method", "resim").resolve("paper").params
    assert (p.lr, p.batch_size, p.epochs, p.tau, p.region_dim) == (0.03, 256, 200, 0.2, 256)
    assert (p.queue, p.dim, p.hidden, p.ema, p.variant) == (65536, 128, 2048, 0.999, "fpn")
    with pytest.raises(BadInput, match="ResNet"):
        resim(backbone="vit_tiny").network(40)
