"""BYOL: its views, its loss against one computed by lightly, its scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from bench.contracts.views import Source
from bench.views.sample import BYOL_1, BYOL_2


def byol(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "byol").resolve("tiny", {"hidden": 32, "out": 16, **settings})


def batch(images: dict[str, torch.Tensor]) -> Batch:
    boxes, flipped, index = torch.zeros(4, 4), torch.zeros(4, dtype=torch.bool), torch.arange(4)
    return Batch({role: Views(x, boxes, flipped, index, flipped) for role, x in images.items()})


def test_views_are_two_recipes_of_two_sources() -> None:
    viewer = byol(image_size=96, min_scale=0.08).viewer(None, {})
    sources = [Source(3, (1, 2, 30, 40), "object"), Source(3), Source(4, role="small", size=32)]
    one, two, small = viewer(sources, np.random.default_rng(0)).views
    assert (one.role, two.role, small.role) == ("view1", "view2", "small1")
    assert (small.image, small.size) == (4, 32)
    assert (one.augment, two.augment) == (BYOL_1, BYOL_2)
    assert (one.image, one.box, one.size, one.scale, one.kind) == (
        3,
        (1, 2, 30, 40),
        96,
        (0.08, 1.0),
        "object",
    )
    assert (two.box, two.kind) == (None, "scene")
    own = [Source(0, scale=(0.3, 1.0), size=48)] * 2
    assert all(
        (v.scale, v.size) == ((0.3, 1.0), 48) for v in viewer(own, np.random.default_rng(0)).views
    )


def test_loss_is_both_directions_as_lightly_computes_them() -> None:
    torch.manual_seed(0)
    network = byol().network(10).train()
    x1, x2 = torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        p1, p2 = (network.predictor(network.projector(network.backbone(x))) for x in (x1, x2))
        z1, z2 = (network.target_projector(network.target_backbone(x)) for x in (x1, x2))
    negative = NegativeCosineSimilarity()
    want = 4 + 2 * float(negative(p1, z2)) + 2 * float(negative(p2, z1))
    parts = network.loss(batch({"view1": x1, "view2": x2}))
    assert float(parts["loss"].detach()) == pytest.approx(want, abs=1e-5)
    assert 0 < float(parts["std"]) < 1
    parts["loss"].backward()
    assert all((p.grad is None) == n.startswith("target_") for n, p in network.named_parameters())


def test_paper_settings() -> None:
    """Paper 002 on COCO: ResNet-50, 224 px, 800 epochs, batch 512, rate 0.4, decay on everything,
    m0 .99."""
    p = registry.load("method", "byol").resolve("paper").params
    assert (p.backbone, p.image_size, p.epochs, p.batch_size) == ("resnet50", 224, 800, 512)
    assert (p.optimizer, p.lr * p.batch_size / 256, p.weight_decay) == ("sgd", 0.4, 1e-4)
    assert (p.decay_norm_and_bias, p.warmup_epochs, p.lr_step) == (True, 4.0, "epoch")
    assert (p.ema0, p.hidden, p.out, p.min_scale) == (0.99, 4096, 256, 0.08)


def test_random_init_has_byols_backbone_at_every_scale() -> None:
    for scale in ("tiny", "small", "paper"):
        learner, floor = (
            registry.load("method", n).resolve(scale).params for n in ("byol", "random_init")
        )
        assert (learner.backbone, learner.image_size) == (floor.backbone, floor.image_size)
