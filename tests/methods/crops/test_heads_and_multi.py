"""What crops ask of methods: a head per kind of view (paper 001), small views of multi-crop."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.contracts import registry
from bench.contracts.network import Views
from bench.contracts.views import Source
from bench.nn.heads import KindHeads, make_head, mlp, project
from bench.views.loader import BatchOrder, make_loader, to_device
from bench.views.random_crops import RandomCrops
from tests.methods.crops.sets import Boxed, crop, epoch, table
from tests.methods.ssl.views import batch, two_views

KINDS = torch.tensor([True, False, False, True, False, True])


def byol(heads: int = 1) -> Any:
    """BYOL's network with a backbone of one layer, in milliseconds."""
    torch.manual_seed(0)
    made: Any = registry.load("method", "byol").resolve("tiny", {"hidden": 32, "out": 16})
    network = made.network(10, heads)
    for name in ("backbone", "target_backbone"):
        small = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 128))
        setattr(network, name, small.requires_grad_(name == "backbone"))
    return network


def test_each_row_goes_through_its_kinds_head() -> None:
    torch.manual_seed(0)
    heads = KindHeads(lambda: nn.Linear(5, 3))
    x = torch.randn(6, 5)
    found = heads(x, KINDS)
    for row, kind, out in zip(x, KINDS, found, strict=True):
        head = heads.object if kind else heads.other
        assert torch.allclose(out, head(row))
    assert not torch.allclose(heads.object(x), heads.other(x))  # they start different
    assert torch.equal(heads(x, None), heads.other(x))
    maps = torch.randn(6, 5, 4, 4)
    conv = KindHeads(lambda: nn.Conv2d(5, 3, 1))
    assert torch.allclose(conv(maps, KINDS)[1], conv.other(maps)[1], atol=1e-6)
    assert torch.allclose(conv(maps, KINDS)[0], conv.object(maps)[0], atol=1e-6)


@pytest.mark.parametrize(
    "kinds", [KINDS, torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)]
)
def test_a_head_learns_from_its_own_rows(kinds: Tensor) -> None:
    heads = KindHeads(lambda: nn.Linear(5, 3))
    heads(torch.randn(6, 5), kinds).square().sum().backward()
    for head, rows in ((heads.object, kinds), (heads.other, ~kinds)):
        assert bool(head.weight.grad.abs().sum() > 0) == bool(rows.any())  # type: ignore[union-attr]


def test_one_head_ignores_kinds() -> None:
    head = make_head(lambda: nn.Linear(5, 3))
    x = torch.randn(6, 5)
    assert isinstance(head, nn.Linear)
    assert torch.equal(project(head, x, KINDS), head(x))
    assert isinstance(make_head(lambda: mlp(5, 4, 3), 2), KindHeads)


@pytest.mark.parametrize("name", registry.names("crop"))
def test_byol_has_the_heads_that_a_crop_asks_for(name: str) -> None:
    network = byol(crop(name).heads())
    for head in (network.projector, network.target_projector):
        assert isinstance(head, KindHeads) == (crop(name).heads() == 2)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    norms = [math.sqrt(math.fsum(float(x) ** 2 for x in v)) for v in (a, b)]
    return dot / (norms[0] * norms[1])


def plain_loss(predictions: list[np.ndarray], targets: list[np.ndarray]) -> float:
    """Every view predicts the targets of the two large ones but its own; 2 x the mean of pairs."""
    terms = []
    for i, p in enumerate(predictions):
        for j, z in enumerate(targets):
            if i != j:
                terms.append(
                    2 - 2 * math.fsum(cosine(a, b) for a, b in zip(p, z, strict=True)) / len(p)
                )
    assert len(terms) == 2 + 2 * (len(predictions) - 2)
    return 2 * math.fsum(terms) / len(terms)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("small", [0, 1, 4])
def test_small_views_predict_both_targets(small: int, heads: int) -> None:
    network = byol(heads).train()
    images = two_views(small=small)
    one = batch(images, objects=KINDS)
    with torch.no_grad():
        # batch-norm buffers move; the loss does not use them
        copy = pickle.loads(pickle.dumps(network))
        kinds = [v.objects if heads == 2 else None for v in one.views.values()]
        out = [
            copy.predictor(project(copy.projector, copy.backbone(x), k)).double().numpy()
            for x, k in zip(images.values(), kinds, strict=True)
        ]
        targets = [
            project(copy.target_projector, copy.target_backbone(images[r]), k).double().numpy()
            for r, k in zip(("view1", "view2"), kinds[:2], strict=True)
        ]
    parts = network.loss(one)
    assert float(parts["loss"].detach()) == pytest.approx(plain_loss(out, targets), abs=1e-4)
    parts["loss"].backward()
    assert all((p.grad is None) == n.startswith("target_") for n, p in network.named_parameters())


def test_kinds_change_the_loss_only_with_two_heads() -> None:
    images = two_views()
    for heads, differs in ((1, False), (2, True)):
        network = byol(heads)
        losses = [
            float(network.loss(batch(images, objects=k))["loss"].detach()) for k in (KINDS, ~KINDS)
        ]
        assert (abs(losses[0] - losses[1]) > 1e-4) == differs


def test_both_heads_are_averaged_into_the_target() -> None:
    network = byol(2)
    with torch.no_grad():
        for p in network.projector.parameters():
            p.add_(1.0)
    before = [p.clone() for p in network.target_projector.parameters()]
    network.after_step(0, 100)
    m = network.momentum
    for old, new, online in zip(
        before, network.target_projector.parameters(), network.projector.parameters(), strict=True
    ):
        assert torch.allclose(new, m * old + (1 - m) * online, atol=1e-5)
        assert not torch.equal(new, old)


def views_of(name: str, folder: Path, **settings: Any) -> dict[str, Views]:
    """A batch of BYOL's views of a crop, from the loader."""
    images = Boxed([(60, 40)] * 4, [[(5, 5, 50, 35)]] * 4)
    sampler = crop(name, **settings).sampler(
        images, table(folder, images, [[(5.0, 5.0, 25.0, 30.0)]] * 4)
    )
    learner: Any = registry.load("method", "byol").resolve("tiny", {"image_size": 32})
    loader = make_loader(images, sampler, learner.viewer(images, {}), 0, BatchOrder(4, 4, 1, 0), 0)
    return to_device(next(iter(loader)), "cpu", 0, 1).views


def test_the_loader_hands_on_the_kinds(tmp_path: Path) -> None:
    found = views_of("obj_scene", tmp_path, min_size=0.0)
    one, two = found["view1"].objects, found["view2"].objects
    assert torch.equal(one, ~two)  # one object view a sample, first or second
    for views in found.values():
        inside = (views.boxes[:, 0] >= 5) & (views.boxes[:, 2] <= 25) & (views.boxes[:, 3] <= 30)
        assert inside[views.objects].all()
    both = views_of("obj_obj", tmp_path)
    assert both["view1"].objects.all()
    assert both["view2"].objects.all()
    assert not views_of("image", tmp_path)["view1"].objects.any()


def test_multi_crop_by_hand() -> None:
    """Paper 002's comparison: 2 x 224 of U(.14, 1) and 4 x 96 of U(.05, .14), all of the whole
    image."""
    images = Boxed([(60, 40)] * 3, [[]] * 3)
    samples = epoch(crop("multi").sampler(images, {}))
    large, small = (
        Source(1, scale=(0.14, 1.0)),
        Source(1, scale=(0.05, 0.14), size=96, role="small"),
    )
    assert len(samples) == 3
    assert samples[1] == [large] * 2 + [small] * 4
    assert len(epoch(crop("multi", n_crops=6).sampler(images, {}))[0]) == 8


def test_multi_crops_views_have_their_sizes_and_areas(tmp_path: Path) -> None:
    found = views_of("multi", tmp_path, n_crops=2, small_size=16)
    assert {role: tuple(v.images.shape) for role, v in found.items()} == {
        "view1": (4, 3, 32, 32),
        "view2": (4, 3, 32, 32),
        "small1": (4, 3, 16, 16),
        "small2": (4, 3, 16, 16),
    }
    for role, views in found.items():
        b = views.boxes
        share = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) / 2400
        low, high = (0.05, 0.14) if role.startswith("small") else (0.14, 1.0)
        assert (share >= low - 0.02).all()
        assert (share <= high + 0.02).all()


def test_random_crops_make_small_views_where_the_crop_gives_none() -> None:
    from bench.views.sample import MOCO_V2

    viewer = RandomCrops(224, (0.2, 1.0), MOCO_V2, 3, 96, (0.05, 0.14))
    rng = np.random.default_rng(0)
    box = (1.0, 2.0, 30.0, 40.0)
    made = viewer([Source(3, box, "object", (0.5, 1.0)), Source(3)], rng).views
    assert [(v.role, v.box, v.size, v.scale, v.kind) for v in made] == [
        ("view1", box, 224, (0.5, 1.0), "object"),
        ("view2", None, 224, (0.2, 1.0), "scene"),
        ("small1", box, 96, (0.05, 0.14), "object"),
        ("small2", None, 96, (0.05, 0.14), "scene"),
        ("small3", box, 96, (0.05, 0.14), "object"),
    ]
    given = [Source(0)] * 2 + [Source(0, scale=(0.1, 0.2), size=48, role="small")]
    assert [(v.role, v.size, v.scale) for v in viewer(given, rng).views][2:] == [
        ("small1", 48, (0.1, 0.2))
    ]
