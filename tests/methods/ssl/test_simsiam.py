"""SimSiam: its loss against lightly's, its stop-gradient, the predictor's fixed rate, views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch import nn

from bench.contracts import registry
from bench.contracts.views import Source
from bench.nn.optim import build_optimizer, param_groups
from bench.stages.pretrain import run
from bench.views.sample import MOCO_V2
from tests.methods.ssl.views import batch, reordered, two_views
from tests.stages.pretraining import context

SMALL = {"hidden": 32, "out": 16, "bottleneck": 8}


def simsiam(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "simsiam").resolve("tiny", {**SMALL, **settings})


def outputs(network, images):  # type: ignore[no-untyped-def]
    """Projections and predictions of every view, a forward each."""
    with torch.no_grad():
        z = {role: network.projector(network.backbone(x)) for role, x in images.items()}
        return z, {role: network.predictor(one) for role, one in z.items()}


def test_loss_is_both_directions_as_lightly_computes_them() -> None:
    torch.manual_seed(0)
    network, images = simsiam().network(10).train(), two_views()
    z, p = outputs(network, images)
    negative = NegativeCosineSimilarity()
    want = float(negative(p["view1"], z["view2"]) + negative(p["view2"], z["view1"])) / 2
    parts = network.loss(batch(images))
    assert float(parts["loss"].detach()) == pytest.approx(want, abs=1e-5)
    unit = z["view1"].double() / z["view1"].double().norm(dim=1, keepdim=True)
    assert float(parts["std"]) == pytest.approx(
        float(unit.std(dim=0, unbiased=False).mean()), abs=1e-6
    )


def test_small_views_predict_both_global_ones() -> None:
    torch.manual_seed(0)
    network, images = simsiam().network(10).train(), two_views(small=2)
    z, p = outputs(network, images)
    negative = NegativeCosineSimilarity()
    pairs = [("view1", "view2"), ("view2", "view1")]
    pairs += [(small, large) for small in ("small1", "small2") for large in ("view1", "view2")]
    want = np.mean([float(negative(p[a], z[b])) for a, b in pairs])
    assert float(network.loss(batch(images))["loss"].detach()) == pytest.approx(want, abs=1e-5)


def test_no_gradient_reaches_the_targets() -> None:
    """The gradient is that of fixed targets; with targets that learn it is another one."""
    torch.manual_seed(0)
    network, images = simsiam().network(10).train(), two_views()
    network.loss(batch(images))["loss"].backward()
    got = network.projector[0].weight.grad.clone()
    fixed, _ = outputs(network, images)

    def gradient(stop: bool) -> torch.Tensor:
        z = [network.projector(network.backbone(x)) for x in images.values()]
        p = [network.predictor(one) for one in z]
        to = list(fixed.values()) if stop else z
        cosine = nn.CosineSimilarity(dim=1)
        loss = -(cosine(p[0], to[1]).mean() + cosine(p[1], to[0]).mean()) / 2
        return torch.autograd.grad(loss, network.projector[0].weight)[0]

    torch.testing.assert_close(got, gradient(stop=True), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(got, gradient(stop=False), rtol=1e-1)


def test_equal_views_and_a_predictor_that_is_the_identity_are_the_minimum() -> None:
    torch.manual_seed(0)
    network, images = simsiam().network(10).train(), two_views()
    network.predictor = nn.Identity()
    same = batch({"view1": images["view1"], "view2": images["view1"]})
    assert float(network.loss(same)["loss"].detach()) == pytest.approx(-1.0, abs=1e-5)


def test_the_order_of_a_batch_does_not_matter() -> None:
    torch.manual_seed(0)
    network, images = simsiam().network(10).train(), two_views()
    other = reordered(images, torch.tensor([3, 0, 5, 1, 4, 2]))
    loss, again = (float(network.loss(batch(x))["loss"].detach()) for x in (images, other))
    assert again == pytest.approx(loss, abs=1e-4)


def test_heads_are_lightlys() -> None:
    """The same layers as lightly's: with its weights the network gives its outputs."""
    torch.manual_seed(0)
    network = simsiam().network(10).train()
    x = torch.randn(6, 128)  # as wide as tiny's backbone
    theirs = SimSiamProjectionHead(128, 32, 16), SimSiamPredictionHead(16, 8, 16)
    for ours, other in zip((network.projector, network.predictor), theirs, strict=True):
        state = {k.removeprefix("layers."): v for k, v in other.state_dict().items()}
        ours.load_state_dict(state)
    torch.testing.assert_close(network.predictor(network.projector(x)), theirs[1](theirs[0](x)))
    last = network.projector[-1]
    assert isinstance(last, nn.BatchNorm1d)
    assert last.weight is None
    assert last.bias is None


def test_two_heads() -> None:
    torch.manual_seed(0)
    network, images = simsiam().network(10, heads=2).train(), two_views()
    objects = torch.tensor([True, False, True, False, True, False])
    network.loss(batch(images, objects=objects))["loss"].backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in network.projector.parameters()
    )


def test_groups_of_a_fixed_rate() -> None:
    network = simsiam(decay_norm_and_bias=False).network(10)
    groups = param_groups(network.trainable(), 1e-4, False, network.fixed_lr())
    fixed = [p for g in groups if g.get("fixed_lr") for p in g["params"]]
    assert {id(p) for p in fixed} == {id(p) for p in network.predictor.parameters()}
    assert [(g["weight_decay"], "fixed_lr" in g) for g in groups] == [
        (1e-4, False),
        (0.0, False),
        (1e-4, True),
        (0.0, True),
    ]
    assert sum(len(g["params"]) for g in groups) == len(list(network.parameters()))
    assert not simsiam(predictor_lr="decayed").network(10).fixed_lr()


@pytest.mark.parametrize(("predictor_lr", "kept"), [("fixed", 1), ("decayed", 0)])
def test_training_leaves_the_predictors_rate_alone(
    predictor_lr: str, kept: int, tmp_path: Path
) -> None:
    """After 2 epochs of 2 steps, the last at (1 + cos(pi / 2)) / 2 of the base rate
    0.2 x 8 / 256."""
    ctx = context(
        tmp_path,
        method="simsiam",
        n=16,
        settings={"lr": 0.2, "warmup_epochs": 0.0, "predictor_lr": predictor_lr, "bottleneck": 8},
    )
    run(ctx)
    saved = torch.load(ctx.scratch / "checkpoint.pt", weights_only=True)["optimizer"][
        "param_groups"
    ]
    rates = [g["lr"] for g in saved]
    assert rates == pytest.approx([0.2 * 8 / 256 / 2] + [0.2 * 8 / 256] * kept)


def test_a_fixed_rate_survives_an_optimizers_state() -> None:
    """A resumed training's groups come from the checkpoint."""
    network = simsiam().network(10)
    make = lambda: build_optimizer(simsiam().params, network.trainable(), network.fixed_lr())  # noqa: E731
    first, second = make(), make()
    second.load_state_dict(first.state_dict())
    assert [g.get("fixed_lr", False) for g in second.param_groups] == [False, True]


def test_views_are_moco_v2s_recipe() -> None:
    viewer = simsiam(image_size=48, min_scale=0.2).viewer(None, {})
    sources = [
        Source(3),
        Source(3, scale=(0.5, 1.0)),
        Source(3, role="small", size=24, scale=(0.1, 0.2)),
    ]
    views = viewer(sources, np.random.default_rng(0)).views
    assert [(v.role, v.size, v.scale) for v in views] == [
        ("view1", 48, (0.2, 1.0)),
        ("view2", 48, (0.5, 1.0)),
        ("small1", 24, (0.1, 0.2)),
    ]
    assert all(v.augment == MOCO_V2 for v in views)


def test_paper_settings() -> None:
    """SimSiam, section 4: SGD .05 B / 256, B 512, decay 1e-4, 100 epochs, cosine, no warm-up."""
    method = registry.load("method", "simsiam").resolve("paper")
    p = method.params
    assert (p.backbone, p.image_size, p.epochs, p.batch_size) == ("resnet50", 224, 100, 512)
    assert (p.optimizer, p.lr * p.batch_size / 256, p.weight_decay, p.warmup_epochs) == (
        "sgd",
        0.1,
        1e-4,
        0,
    )
    assert (p.decay_norm_and_bias, p.lr_step, p.predictor_lr, p.min_scale) == (
        True,
        "epoch",
        "fixed",
        0.2,
    )
    assert (p.hidden, p.out, p.bottleneck) == (2048, 2048, 512)
