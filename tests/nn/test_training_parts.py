"""EMA, schedules and optimizers against plain loops and hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bench.contracts.method import PretrainParams
from bench.nn.ema import cosine_momentum, ema_update
from bench.nn.heads import mlp
from bench.nn.optim import LARS, base_lr, build_optimizer, param_groups
from bench.nn.schedules import lr_factor


def test_ema_is_the_formula_in_float64_for_parameters_only() -> None:
    torch.manual_seed(0)
    online, target = mlp(5, 7, 3), mlp(5, 7, 3)
    online[1].running_mean.fill_(4.0)
    want = [p.detach().double().clone() for p in target.parameters()]
    for step in range(5):
        m = cosine_momentum(step, 5, 0.9)
        ema_update(target, online, m)
        want = [
            m * t + (1 - m) * o.detach().double()
            for t, o in zip(want, online.parameters(), strict=True)
        ]
    for got, expected in zip(target.parameters(), want, strict=True):
        torch.testing.assert_close(got.detach().double(), expected, rtol=1e-6, atol=1e-7)
    assert float(target[1].running_mean.abs().max()) == 0.0, "buffers are not averaged"


def test_cosine_momentum_by_hand() -> None:
    assert cosine_momentum(0, 100, 0.99) == pytest.approx(0.99)
    assert cosine_momentum(50, 100, 0.99) == pytest.approx(0.995)  # cos(pi/2) = 0: halfway to 1
    assert cosine_momentum(25, 100, 0.99) == pytest.approx(1 - 0.01 * (math.sqrt(0.5) + 1) / 2)
    assert cosine_momentum(100, 100, 0.99) == 1.0


def test_paper_002_schedule_by_hand() -> None:
    """COCO: 118,287 images, batch 512, 231 steps an epoch; 800 epochs, 4 of warm-up from 1e-4,
    rate 0.4."""
    params = PretrainParams()
    assert base_lr(params) == pytest.approx(0.4)

    def rate(step: int) -> float:
        return base_lr(params) * lr_factor(step, 231, 800, 4.0, 1e-4, "epoch")

    assert rate(0) == pytest.approx(0.4 * 1e-4)
    # step 462 is half of the 924 warm-up steps, in epoch 2 of 800
    assert rate(462) == pytest.approx(0.4 * (0.5 + 0.5e-4) * (1 + math.cos(math.pi * 2 / 800)) / 2)
    assert rate(924) == pytest.approx(0.4 * (1 + math.cos(math.pi / 200)) / 2)
    assert rate(400 * 231) == pytest.approx(0.2)
    assert rate(400 * 231 + 230) == rate(400 * 231), "it moves at epoch boundaries"
    assert rate(799 * 231) == pytest.approx(0.4 * math.sin(math.pi / 1600) ** 2)


def test_per_iteration_schedule_by_hand() -> None:
    # 10 warm-up steps, 10 cosine steps
    values = [lr_factor(s, 5, 4, 2.0, 0.0, "iter") for s in range(20)]
    assert values[:10] == pytest.approx([s / 10 for s in range(10)])
    assert values[10] == 1.0
    assert values[15] == pytest.approx(0.5)
    assert values[19] == pytest.approx((1 + math.cos(0.9 * math.pi)) / 2)
    assert lr_factor(3, 5, 1, 4.0, 0.0, "iter") == pytest.approx(3 / 20), (
        "a warm-up longer than training"
    )


def test_a_cosine_that_begins_after_the_warm_up_by_hand() -> None:
    """LEWEL's code: in epoch e >= W the factor is (1 + cos(pi (e - W) / (E - W))) / 2; before it,
    step / (W x steps)."""
    values = [lr_factor(s, 5, 6, 2.0, 0.0, "epoch_after_warmup") for s in range(30)]
    assert values[:10] == pytest.approx([s / 10 for s in range(10)])
    assert values[10:15] == [1.0] * 5, "the whole rate in the first epoch after it"
    assert values[15:20] == pytest.approx([(1 + math.cos(math.pi / 4)) / 2] * 5)
    assert values[20:25] == pytest.approx([0.5] * 5)
    assert values[25:] == pytest.approx([(1 - math.cos(math.pi / 4)) / 2] * 5)
    whole = [lr_factor(s, 5, 6, moves="epoch_after_warmup") for s in range(30)]
    assert whole == [lr_factor(s, 5, 6, moves="epoch") for s in range(30)], "without a warm-up"
    assert lr_factor(9, 5, 2, 3.0, 0.0, "epoch_after_warmup") == pytest.approx(9 / 15)


def test_lars_is_its_formula_in_float64() -> None:
    torch.manual_seed(0)
    w, b = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))
    optimizer = LARS([w, b], lr=0.5, momentum=0.9, weight_decay=0.1, eta=0.01)
    values = [p.detach().double().clone() for p in (w, b)]
    speeds = [torch.zeros_like(v) for v in values]
    for _ in range(3):
        grads = [torch.randn_like(p) for p in (w, b)]
        for p, grad in zip((w, b), grads, strict=True):
            p.grad = grad
        optimizer.step()
        for i, grad in enumerate(grads):
            g = grad.double() + 0.1 * values[i]
            if i == 0:
                g = g * 0.01 * values[i].norm() / g.norm()
            speeds[i] = 0.9 * speeds[i] + g
            values[i] = values[i] - 0.5 * speeds[i]
    for p, value in zip((w, b), values, strict=True):
        torch.testing.assert_close(p.detach().double(), value, rtol=1e-5, atol=1e-6)


def test_lars_leaves_a_zero_tensor_finite() -> None:
    w = nn.Parameter(torch.zeros(2, 2))
    w.grad = torch.zeros(2, 2)
    LARS([w], lr=1.0).step()
    assert torch.equal(w.detach(), torch.zeros(2, 2))


def test_weight_decay_groups() -> None:
    head = mlp(4, 6, 2)
    everything = param_groups(head.named_parameters(), 1e-4, decay_norm_and_bias=True)
    assert [len(g["params"]) for g in everything] == [5]
    split = param_groups(head.named_parameters(), 1e-4, decay_norm_and_bias=False)
    assert [(len(g["params"]), g["weight_decay"]) for g in split] == [(2, 1e-4), (3, 0.0)]
    assert all(p.ndim == 1 for p in split[1]["params"])


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_every_optimizer_descends(name: str) -> None:
    torch.manual_seed(0)
    # LARS moves a tensor by eta x rate of its own norm, hence the larger rate
    lr = {"sgd": 0.1, "lars": 20.0, "adamw": 0.05}[name]
    layer = nn.Linear(3, 1, bias=False)
    optimizer = build_optimizer(
        PretrainParams(optimizer=name, lr=lr, batch_size=256, weight_decay=0.0),
        layer.named_parameters(),
    )
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    losses = []
    for _ in range(100):
        loss = (layer(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_steps_are_the_plain_ones_and_repeat_bit_by_bit(name: str) -> None:
    """The fused kernels, which are always used, differ from the loop over tensors in rounding, and
    two runs agree in every bit."""

    def train(fused: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        head = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 8))
        params = PretrainParams(optimizer=name, lr=0.01, batch_size=256)
        optimizer = build_optimizer(params, head.named_parameters())
        assert optimizer.defaults["fused"]
        optimizer.param_groups[0]["fused"] = fused
        for _ in range(20):
            optimizer.zero_grad()
            head(torch.randn(32, 16)).square().mean().backward()
            optimizer.step()
        return [p.detach() for p in head.parameters()]

    ours, again, plain = train(True), train(True), train(False)
    assert all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
    assert all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(ours, plain, strict=True)
    )


def test_without_warm_up_the_rate_starts_at_its_base() -> None:
    assert lr_factor(0, 5, 4) == lr_factor(0, 5, 4, moves="iter") == 1.0
    assert lr_factor(1, 5, 4, 2.0) == pytest.approx(0.1), "a warm-up starts at 0 by default"


def test_lars_scales_by_a_thousandth_unless_a_norm_is_zero() -> None:
    """eta .001 (You et al. 2017); a tensor of zeros would never move, so it takes a plain step."""
    w, zero, still = (nn.Parameter(torch.full((2, 2), v)) for v in (3.0, 0.0, 3.0))
    grads = [torch.full((2, 2), 4.0), torch.full((2, 2), 4.0), torch.zeros(2, 2)]
    for p, grad in zip((w, zero, still), grads, strict=True):
        p.grad = grad
    optimizer = LARS([w, zero, still], lr=2.0)
    assert {k: optimizer.defaults[k] for k in ("momentum", "weight_decay", "eta")} == {
        "momentum": 0.9,
        "weight_decay": 0.0,
        "eta": 1e-3,
    }
    optimizer.step()
    torch.testing.assert_close(w.detach(), torch.full((2, 2), 3.0 - 2.0 * 1e-3 * 6 / 8 * 4))
    torch.testing.assert_close(zero.detach(), torch.full((2, 2), -8.0))
    assert torch.equal(still.detach(), torch.full((2, 2), 3.0))


def test_adamws_second_beta_is_maes() -> None:
    layer = nn.Linear(2, 2)
    optimizer = build_optimizer(PretrainParams(optimizer="adamw"), layer.named_parameters())
    assert optimizer.defaults["betas"] == (0.9, 0.95)
