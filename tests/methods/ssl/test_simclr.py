"""SimCLR: NT-Xent against lightly and float64 loops on one and two ranks; views and head."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from bench.contracts import registry
from bench.contracts.views import Source
from bench.nn.distributed import rank_and_size
from bench.nn.ntxent import nt_xent
from bench.views.sample import SIMCLR
from tests.methods.ssl.views import batch, reordered, two_views
from tests.nn.ranks import on_ranks


def simclr(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "simclr").resolve("tiny", {"hidden": 32, "out": 16, **settings})


def pairs(n: int = 6, d: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=draw)
    return first, first + torch.randn(n, d, generator=draw)


def by_hand(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Algorithm 1, a term at a time, float64."""
    z = [row / row.norm() for row in [*first.double(), *second.double()]]
    n, total = len(first), first.new_zeros((), dtype=torch.float64)
    for i, row in enumerate(z):
        positive = torch.exp(row @ z[(i + n) % (2 * n)] / temperature)
        others = sum(torch.exp(row @ z[k] / temperature) for k in range(2 * n) if k != i)
        total = total - torch.log(positive / others)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_lightlys_and_a_float64_loops(temperature: float) -> None:
    first, second = pairs()
    got = float(nt_xent(first, second, temperature))
    assert got == pytest.approx(float(NTXentLoss(temperature)(first, second)), abs=1e-5)
    assert got == pytest.approx(float(by_hand(first, second, temperature)), abs=1e-5)


def test_its_gradient_is_the_float64_loops() -> None:
    first, second = (x.requires_grad_() for x in pairs())
    got = torch.autograd.grad(nt_xent(first, second, 0.1), (first, second))
    want = torch.autograd.grad(by_hand(first, second, 0.1), (first, second))
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-5)


def test_values_by_hand() -> None:
    same = torch.ones(4, 3)
    assert float(nt_xent(same, same, 0.1)) == pytest.approx(math.log(7)), (
        "all equal: a guess among 2N - 1"
    )
    far = torch.eye(4)
    spread = float(nt_xent(far, far, 0.1))
    assert spread == pytest.approx(math.log(1 + 6 * math.exp(-10)), rel=1e-3)
    assert float(nt_xent(far, far.roll(1, 0), 0.1)) > spread
    a, b = pairs()
    assert float(nt_xent(b, a, 0.1)) == pytest.approx(float(nt_xent(a, b, 0.1)), abs=1e-5), (
        "symmetric"
    )
    assert float(nt_xent(7 * a, b / 3, 0.1)) == pytest.approx(float(nt_xent(a, b, 0.1)), abs=1e-4)


def test_half_precision_outputs_are_compared_in_float32() -> None:
    a, b = pairs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(nt_xent(a, b, 0.1)) == float(nt_xent(a, b, 0.1).float())
        inside = nt_xent(a, b, 0.1)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, nt_xent(a, b, 0.1))


def share_of_a_step(n: int) -> tuple[Tensor, Tensor]:
    """(loss, weight gradient) of this rank's share of a batch of `n` through one linear layer."""
    first, second = pairs(n)
    rank, ranks = rank_and_size()
    mine = slice(rank * n // ranks, (rank + 1) * n // ranks)
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    loss = nt_xent(layer(first[mine]), layer(second[mine]), 0.1)
    loss.backward()
    assert layer.weight.grad is not None
    return loss.detach(), layer.weight.grad


def test_two_ranks_give_the_loss_and_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    loss, gradient = share_of_a_step(8)
    shares = on_ranks(tmp_path, 2, share_of_a_step, 8)
    assert float(shares[0][0]) != float(shares[1][0])
    torch.testing.assert_close(
        torch.stack([s[0] for s in shares]).mean(), loss, rtol=1e-5, atol=1e-6
    )
    averaged = torch.stack([s[1] for s in shares]).mean(dim=0)  # what DDP does
    torch.testing.assert_close(averaged, gradient, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(shares[0][1], gradient, rtol=1e-2)


def test_the_network_forwards_both_views_at_once() -> None:
    torch.manual_seed(0)
    network, images = simclr(temperature=0.2).network(10).train(), two_views()
    with torch.no_grad():
        together = network.projector(
            network.backbone(torch.cat([images["view1"], images["view2"]]))
        )
    parts = network.loss(batch(images))
    want = NTXentLoss(0.2)(*together.chunk(2))
    assert float(parts["loss"].detach()) == pytest.approx(float(want), abs=1e-4)
    assert 0 < float(parts["std"]) < 0.3
    parts["loss"].backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_order_of_a_batch_does_not_matter() -> None:
    torch.manual_seed(0)
    network, images = simclr().network(10).train(), two_views(small=1)
    other = reordered(images, torch.tensor([3, 0, 5, 1, 4, 2]))
    loss, again = (float(network.loss(batch(x))["loss"].detach()) for x in (images, other))
    assert again == pytest.approx(loss, abs=1e-3)


def test_small_views_are_paired_with_both_global_ones() -> None:
    torch.manual_seed(0)
    network, images = simclr(temperature=0.1).network(10).train(), two_views(small=2)
    with torch.no_grad():
        large = network.backbone(torch.cat([images["view1"], images["view2"]]))
        small = network.backbone(torch.cat([images["small1"], images["small2"]]))
        a, b, c, d = network.projector(torch.cat([large, small])).chunk(4)
    loss = NTXentLoss(0.1)
    want = np.mean([float(loss(x, y)) for x, y in [(a, b), (a, c), (b, c), (a, d), (b, d)]])
    assert float(network.loss(batch(images))["loss"].detach()) == pytest.approx(want, abs=1e-4)


def test_two_heads() -> None:
    torch.manual_seed(0)
    network, images = simclr().network(10, heads=2).train(), two_views()
    objects = torch.tensor([True, False, True, False, True, False])
    one = network.loss(batch(images, objects=objects))["loss"]
    assert float(one) != float(network.loss(batch(images))["loss"])
    one.backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in network.projector.parameters()
    )


def test_views_are_one_recipe() -> None:
    viewer = simclr(image_size=48, min_scale=0.08).viewer(None, {})
    views = viewer(
        [Source(3, (1, 2, 30, 40), "object"), Source(3)], np.random.default_rng(0)
    ).views
    assert [(v.role, v.box, v.kind) for v in views] == [
        ("view1", (1, 2, 30, 40), "object"),
        ("view2", None, "scene"),
    ]
    assert all((v.augment, v.size, v.scale) == (SIMCLR, 48, (0.08, 1.0)) for v in views)


def test_paper_settings() -> None:
    """Paper 002 on COCO: LARS .3 B / 256, decay 1e-6 but not of batch norm and biases, warm-up
    10, t .1."""
    method = registry.load("method", "simclr").resolve("paper")
    p = method.params
    assert (p.backbone, p.image_size, p.epochs, p.batch_size) == ("resnet50", 224, 800, 512)
    assert (p.optimizer, p.weight_decay, p.decay_norm_and_bias) == ("lars", 1e-6, False)
    assert (p.lr * p.batch_size / 256, p.warmup_epochs, p.lr_step) == (0.6, 10.0, "epoch")
    assert (p.temperature, p.hidden, p.out, p.min_scale) == (0.1, 2048, 128, 0.08)
    with torch.device("meta"):
        head = method.network(10).projector
    shapes = [tuple(m.weight.shape) for m in head if isinstance(m, nn.Linear)]
    assert shapes == [(2048, 2048), (128, 2048)]
    assert [type(m).__name__ for m in head] == [
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
        "BatchNorm1d",
    ]
    assert all(m.bias is None for m in head if isinstance(m, nn.Linear))
