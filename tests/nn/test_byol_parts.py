"""BYOL's loss and branches, against lightly and by where gradients and parameters may move."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity

from bench.contracts.network import Views
from bench.nn.byol import OnlineTarget, byol_loss, output_std
from bench.nn.heads import mlp


def test_loss_is_lightlys_plus_two() -> None:
    torch.manual_seed(0)
    p, z = torch.randn(8, 16), torch.randn(8, 16)
    # lightly: -mean cos; ours: 2 - 2 mean cos
    assert float(byol_loss(p, z)) == pytest.approx(
        2 + 2 * float(NegativeCosineSimilarity()(p, z)), abs=1e-6
    )


def test_loss_by_hand_and_no_gradient_to_the_target() -> None:
    p = torch.tensor([[3.0, 0.0], [0.0, 2.0]], requires_grad=True)
    z = torch.tensor([[1.0, 1.0], [0.0, -5.0]], requires_grad=True)
    loss = byol_loss(p, z)
    assert float(loss.detach()) == pytest.approx(2 - 2 * (math.sqrt(0.5) - 1) / 2)
    loss.backward()
    assert z.grad is None
    assert p.grad is not None
    assert float(byol_loss(p.detach(), p)) == pytest.approx(0.0, abs=1e-6)
    assert float(byol_loss(p.detach(), -p)) == pytest.approx(4.0)


def test_output_std_sees_collapse() -> None:
    torch.manual_seed(0)
    assert float(output_std(torch.randn(4096, 64))) == pytest.approx(1 / 8, rel=0.02)
    assert float(output_std(torch.randn(1, 64).expand(32, 64))) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture
def branches() -> OnlineTarget:
    torch.manual_seed(0)
    return OnlineTarget("resnet18", 32, 16, ema0=0.9).train()


def noise() -> Views:
    return Views(torch.randn(4, 3, 32, 32), torch.zeros(4, 4), *torch.zeros(3, 4).bool())


def test_gradient_reaches_the_online_branch_only(branches: OnlineTarget) -> None:
    predictor = mlp(16, 32, 16)
    loss, _ = branches.symmetric(predictor, noise(), noise())
    assert 0.0 <= float(loss.detach()) <= 8.0
    loss.backward()
    for name, p in branches.named_parameters():
        if name.startswith("target_"):
            assert p.grad is None, name
            assert not p.requires_grad, name
        else:
            assert p.grad is not None, name
            assert float(p.grad.abs().sum()) > 0, name
    assert {n.split(".")[0] for n, _ in branches.trainable()} == {"backbone", "projector"}


def test_target_moves_only_by_ema_and_keeps_its_own_statistics(branches: OnlineTarget) -> None:
    start = {k: v.clone() for k, v in branches.state_dict().items()}
    optimizer = torch.optim.SGD([p for _, p in branches.trainable()], lr=0.1)
    predictor = mlp(16, 32, 16)
    branches.symmetric(predictor, noise(), noise())[0].backward()
    optimizer.step()
    parameters = {n for n, _ in branches.named_parameters() if n.startswith("target_")}
    now = branches.state_dict()
    assert all(torch.equal(now[n], start[n]) for n in parameters), (
        "an optimizer step leaves the target alone"
    )
    mean = "target_backbone.bn1.running_mean"
    assert not torch.equal(now[mean], start[mean]), "the target uses and tracks batch statistics"

    buffers = {
        n: v.clone() for n, v in now.items() if n.startswith("target_") and n not in parameters
    }
    branches.after_step(0, 10)
    now = branches.state_dict()
    assert all(torch.equal(now[n], v) for n, v in buffers.items()), "EMA leaves buffers alone"
    for n in parameters:
        want = 0.9 * start[n].double() + 0.1 * now[n.removeprefix("target_")].double()
        torch.testing.assert_close(now[n].double(), want, rtol=1e-5, atol=1e-6)


def test_views_are_forwarded_separately(branches: OnlineTarget) -> None:
    """Batch-norm statistics are per view:
    the second view does not change the first's predictions."""
    predictor = mlp(16, 32, 16)
    first, far = noise(), noise()
    far.images += 5
    _, one = branches.symmetric(predictor, first, noise())
    _, two = branches.symmetric(predictor, first, far)
    assert torch.equal(one, two)


def test_embed_is_the_online_projection(branches: OnlineTarget) -> None:
    images = torch.randn(2, 3, 32, 32)
    branches.eval()
    assert torch.equal(branches.embed(images), branches.projector(branches.backbone(images)))
