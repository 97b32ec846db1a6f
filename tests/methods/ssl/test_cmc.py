"""CMC: the NCE loss against a plain loop, memory banks, the constant Z, gradients, resume."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from bench.contracts.views import Augment, Source
from bench.core.errors import BadInput
from bench.stages.pretrain import run
from methods.ssl.cmc.network import CmcNetwork, estimate_z, nce_loss
from tests.stages.pretraining import Watch, context

N = 40


def cmc(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "cmc").resolve(
        "tiny", {"dim": 16, "image_size": 32, "tau": 0.07, **settings}
    )


def batch(images: torch.Tensor, index: list[int]) -> Batch:
    no = torch.zeros(len(images), dtype=torch.bool)
    return Batch(
        {"view1": Views(images, torch.zeros(len(images), 4), no, torch.tensor(index), no)}
    )


def fresh(**settings: object) -> CmcNetwork:
    torch.manual_seed(0)
    return cmc(**settings).network(N).train()  # type: ignore[no-any-return]


def test_nce_is_the_plain_loops() -> None:
    """Equation 12 with P = exp(v.u / tau) / Z and noise 1/n, in float64."""
    torch.manual_seed(0)
    scores, z, n = torch.randn(3, 1 + 5) * 4, 800.0, 70
    total, k = 0.0, 5
    for b in range(3):
        for j in range(1 + k):
            p = math.exp(float(scores[b, j])) / z
            h = p / (p + k / n)
            total -= math.log(h if j == 0 else 1 - h)
    assert float(nce_loss(scores, torch.tensor(z), n)) == pytest.approx(total / 3, rel=1e-5)


def test_nce_falls_with_the_positive_and_rises_with_the_negatives() -> None:
    scores = torch.zeros(2, 4, requires_grad=True)
    nce_loss(scores, torch.tensor(10.0), 30).backward()
    assert scores.grad is not None
    assert (scores.grad[:, 0] < 0).all()
    assert (scores.grad[:, 1:] > 0).all()


def test_nce_is_finite_for_any_scores() -> None:
    scores = torch.tensor([[-90.0, 90.0, 90.0]], requires_grad=True)
    loss = nce_loss(scores, torch.tensor(1e-3), 30)
    loss.backward()
    assert torch.isfinite(loss.detach())
    assert torch.isfinite(scores.grad).all()  # type: ignore[union-attr]


def test_z_is_the_mean_of_exponentials_times_n() -> None:
    scores = torch.tensor([[0.0, math.log(3)], [math.log(2), math.log(6)]], requires_grad=True)
    z = estimate_z(scores, 7)
    assert float(z) == pytest.approx(7 * 3)
    assert not z.requires_grad


@pytest.mark.parametrize("partition", ["first_batch", "softmax"])
def test_loss_contrasts_each_half_with_the_others_bank(partition: str) -> None:
    network = fresh(partition=partition)
    images, index = torch.randn(4, 3, 32, 32), [3, 9, 0, 39]
    torch.manual_seed(5)
    parts = network.loss(batch(images, index))
    torch.manual_seed(5)
    with torch.no_grad():
        light, colour = network.project(images)
        chosen = torch.cat([torch.tensor(index)[:, None], torch.randint(N, (4, N // 2))], 1)
    assert torch.allclose(light.norm(dim=1), torch.ones(4))
    for name, vectors, bank in [("l", light, network.bank_ab), ("ab", colour, network.bank_l)]:
        scores = torch.einsum("bd,bkd->bk", vectors, bank[chosen]) / 0.07
        if partition == "softmax":
            want = -scores.log_softmax(1)[:, 0].mean()
        else:
            z = scores.exp().mean() * N
            p = scores.double().exp() / z
            h = p / (p + (N // 2) / N)
            want = -(h[:, 0].log() + (1 - h[:, 1:]).log().sum(1)).mean()
        assert float(parts[name].detach()) == pytest.approx(float(want), rel=1e-4)
    assert float(parts["loss"].detach()) == pytest.approx(
        float((parts["l"] + parts["ab"]).detach())
    )


def test_banks_move_by_half_after_the_step_and_stay_unit() -> None:
    network = fresh()
    images, index = torch.randn(3, 3, 32, 32), [7, 2, 30]
    before = network.bank_l.clone(), network.bank_ab.clone()
    network.loss(batch(images, index))["loss"].backward()
    assert torch.equal(network.bank_l, before[0]), "only after the step"
    with torch.no_grad():
        embedded = network.project(images)
    network.after_step(0, 10)
    others = torch.tensor([i for i in range(N) if i not in index])
    for bank, old, new in zip((network.bank_l, network.bank_ab), before, embedded, strict=True):
        want = 0.5 * old[index] + 0.5 * new
        torch.testing.assert_close(
            bank[index], want / want.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5
        )
        assert torch.equal(bank[others], old[others])


def test_z_is_fixed_by_the_first_batch_or_averaged() -> None:
    fixed, moving = fresh(partition="first_batch"), fresh(partition="average")
    first, second = torch.full((2, 4), 1.0), torch.full((2, 4), 2.0)
    assert [float(fixed._partition(s, 0)) for s in (first, second)] == pytest.approx(
        [N * math.e] * 2
    )
    assert float(fixed.z[1]) == 0, "each half has its own"
    want = [N * math.e, N * (0.99 * math.e + 0.01 * math.e**2)]
    assert [float(moving._partition(s, 1)) for s in (first, second)] == pytest.approx(want)


def test_gradients_reach_both_encoders_and_no_bank() -> None:
    network = fresh()
    network.loss(batch(torch.randn(4, 3, 32, 32), [0, 1, 2, 3]))["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    assert not {"bank_l", "bank_ab", "z"} & parameters.keys()
    assert {"bank_l", "bank_ab", "z"} <= buffers.keys() & network.state_dict().keys()


def test_negatives_are_at_most_half_of_the_set() -> None:
    assert [cmc(negatives=5).network(n).negatives for n in (40, 8, 1)] == [5, 4, 1]


def test_views_keep_their_colours() -> None:
    (view,) = (
        cmc(min_scale=0.2).viewer(None, {})([Source(3), Source(3)], np.random.default_rng(0)).views
    )
    assert (view.image, view.box, view.size, view.scale) == (3, None, 32, (0.2, 1.0))
    assert view.augment == Augment(p_flip=0.5)


def test_paper_settings() -> None:
    """Paper 001, G.1: temperature .07, momentum .5, learning rate .03; 200 epochs."""
    p = registry.load("method", "cmc").resolve("paper").params
    assert (p.backbone, p.tau, p.bank_momentum, p.epochs) == ("lab_resnet50", 0.07, 0.5, 200)
    assert (p.lr * p.batch_size / 256, p.weight_decay, p.negatives, p.dim) == (
        0.03,
        1e-4,
        16384,
        128,
    )
    assert (p.optimizer, p.partition) == ("sgd", "first_batch")


def test_an_ordinary_backbone_is_refused() -> None:
    for name in ("resnet18", "vit_s", "nonsense"):
        with pytest.raises(BadInput, match="needs two encoders"):
            cmc(backbone=name)


class Killed(Exception):
    pass


@pytest.mark.parametrize("partition", ["average"])
def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path, partition: str) -> None:
    def kill() -> None:
        raise Killed

    settings = {"backbone": "lab_resnet18", "dim": 16, "partition": partition, "lr": 0.1}
    whole = context(tmp_path, "whole", method="cmc", settings=settings)
    run(whole)
    with pytest.raises(Killed):
        run(context(tmp_path, method="cmc", settings=settings, watch=Watch({3: kill})))
    second = context(tmp_path, method="cmc", settings=settings)
    run(second)
    assert second.progress.started_at == 2  # type: ignore[attr-defined]
    one, two = (torch.load(c.work / "network.pth", weights_only=True) for c in (whole, second))
    assert all(torch.equal(v, two[k]) for k, v in one.items())
    assert F.normalize(one["bank_l"], dim=1).allclose(one["bank_l"], atol=1e-5), (
        "every row was moved"
    )
    assert float(one["z"].min()) > 0


def test_crops_are_the_codes_for_resnets() -> None:
    """Its loader has (.2, 1) for AlexNet alone, and torchvision's (.08, 1) for ResNets."""
    assert registry.load("method", "cmc").resolve("paper").params.min_scale == 0.08
