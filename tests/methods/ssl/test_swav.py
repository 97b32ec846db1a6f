"""SwAV: Sinkhorn and loss against lightly and float64 loops; queue, freeze, prototypes, crops,
settings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.loss import SwaVLoss
from lightly.loss.swav_loss import sinkhorn as lightlys_sinkhorn
from torch import Tensor

from bench.contracts import registry
from bench.contracts.views import Source
from bench.nn.distributed import rank_and_size
from bench.nn.sinkhorn import sinkhorn, swapped_loss
from bench.stages.pretrain import run
from bench.views.sample import SWAV
from tests.methods.ssl.views import batch, reordered, two_views
from tests.nn.ranks import on_ranks
from tests.stages.pretraining import Watch, context

SMALL = {"hidden": 32, "out": 16, "prototypes": 10, "queue": 0}
# areas
PUBLISHED = {
    "image_size": 64,
    "n_small": 6,
    "small_size": 24,
    "min_scale": 0.14,
    "small_min_scale": 0.05,
}


def swav(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "swav").resolve("tiny", {**SMALL, **settings})


def cosines(n: int = 12, k: int = 7, seed: int = 0) -> Tensor:
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def outputs(network, images: dict[str, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    """(unit projections, scores) of all views: a forward for each size, one head."""
    with torch.no_grad():
        sizes = sorted({x.shape[-1] for x in images.values()}, reverse=True)
        features = [
            network.backbone(torch.cat([x for x in images.values() if x.shape[-1] == s]))
            for s in sizes
        ]
        z = torch.nn.functional.normalize(network.projector(torch.cat(features)), dim=1)
        weight = network.prototypes.weight
        return z, z @ (weight / weight.norm(dim=1, keepdim=True)).T


@pytest.mark.parametrize(("eps", "iterations"), [(0.05, 3), (0.05, 1), (0.5, 3)])
def test_sinkhorn_is_lightlys_and_a_float64_loops(eps: float, iterations: int) -> None:
    scores = cosines()
    got = sinkhorn(scores, eps, iterations)
    torch.testing.assert_close(
        got, lightlys_sinkhorn(scores, iterations, eps), rtol=1e-4, atol=1e-6
    )
    q = [[math.exp(v / eps) for v in row] for row in scores.double().tolist()]
    for _ in range(iterations):
        for k in range(7):
            total = sum(row[k] for row in q)
            for row in q:
                row[k] /= total
        q = [[v / sum(row) for v in row] for row in q]
    torch.testing.assert_close(got, torch.tensor(q), rtol=1e-4, atol=1e-6)


def test_sinkhorns_marginals() -> None:
    scores = cosines()
    few, many = sinkhorn(scores, 0.5, 3), sinkhorn(scores, 0.5, 200)
    for q in (few, many):
        torch.testing.assert_close(q.sum(dim=1), torch.ones(12))
        assert float(q.min()) >= 0
    torch.testing.assert_close(many.sum(dim=0), torch.full((7,), 12 / 7))
    off = (few.sum(dim=0) - 12 / 7).abs().max()
    assert off < 0.1 * (scores.div(0.5).softmax(dim=1).sum(dim=0) - 12 / 7).abs().max()


def test_sinkhorn_at_a_small_eps_stays_finite() -> None:
    """exp(1 / 0.001) overflows float32, and a prototype far from all samples is emptied;
    logarithms do not."""
    scores = cosines()
    scores[:, 3] = -1.0
    assert not torch.isfinite(lightlys_sinkhorn(scores, 3, 0.001)).all()
    q = sinkhorn(scores, 0.001, 3)
    torch.testing.assert_close(q.sum(dim=1), torch.ones(12))


def sinkhorn_of_a_share(scores: Tensor) -> Tensor:
    return sinkhorn(scores[:5] if rank_and_size()[0] == 0 else scores[5:], 0.05, 3)


def test_ranks_share_the_codes_of_one_batch_and_one_queue(tmp_path: Path) -> None:
    """Uneven shares too; the queue of a rank is everybody's."""
    scores = cosines()
    shares = on_ranks(tmp_path, 2, sinkhorn_of_a_share, scores)
    torch.testing.assert_close(torch.cat(shares), sinkhorn(scores, 0.05, 3), rtol=1e-4, atol=1e-6)


def codes_of_a_share(n: int) -> tuple[list[Tensor], Tensor]:
    """Codes of this rank's rows of the third batch of `n` (the queue is full by then), and its
    queue."""
    network = swav(queue=2 * n, queue_from_epoch=0, batch_size=n).network(10)
    rank, ranks = rank_and_size()
    mine = slice(rank * n // ranks, (rank + 1) * n // ranks)
    weight = torch.nn.functional.normalize(cosines(10, 16, seed=9), dim=1)
    for step in range(3):
        z = [
            torch.nn.functional.normalize(cosines(n, 16, seed=2 * step + i), dim=1)[mine]
            for i in (0, 1)
        ]
        at = batch(two_views(2), step, 90)
        codes = network._codes([one @ weight.T for one in z], tuple(z), weight, at)
    return codes, network.queue


def test_two_ranks_with_a_queue_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    codes, queue = codes_of_a_share(6)
    shares = on_ranks(tmp_path, 2, codes_of_a_share, 6)
    for i in (0, 1):
        together = torch.cat([share[0][i] for share in shares])
        torch.testing.assert_close(together, codes[i], rtol=1e-4, atol=1e-6)
    assert all(torch.equal(share[1], queue) for share in shares)


@pytest.mark.parametrize("small", [0, 3])
def test_loss_is_lightlys(small: int) -> None:
    torch.manual_seed(0)
    network, images = swav(freeze_epochs=0).network(10).train(), two_views(small=small)
    _, scores = outputs(network, images)
    views = list(scores.chunk(len(images)))
    want = SwaVLoss(sinkhorn_epsilon=network.params.eps)(views[:2], views[2:])
    parts = network.loss(batch(images))
    assert float(parts["loss"].detach()) == pytest.approx(float(want), abs=1e-4)
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert 0 < float(parts["std"]) < 0.5


def test_loss_is_a_float64_loops() -> None:
    scores, codes = (
        [cosines(4, 5, i) for i in range(3)],
        [cosines(4, 5, i).softmax(1) for i in (5, 6)],
    )
    total, count = 0.0, 0
    for i, q in enumerate(codes):
        for v, s in enumerate(scores):
            if v == i:
                continue
            for n in range(4):
                row = [float(x) / 0.1 for x in s[n].double()]
                log_sum = math.log(sum(math.exp(x) for x in row))
                total -= sum(float(q[n, k]) * (row[k] - log_sum) for k in range(5)) / 4
            count += 1
    assert float(swapped_loss(scores, codes, 0.1)) == pytest.approx(total / count, abs=1e-5)


def test_no_gradient_passes_through_the_codes() -> None:
    torch.manual_seed(0)
    network, images = swav(freeze_epochs=0).network(10).train(), two_views()
    z, scores = outputs(network, images)
    codes = [sinkhorn(s, network.params.eps, 3) for s in scores.chunk(2)]
    network.loss(batch(images))["loss"].backward()
    got = network.prototypes.weight.grad
    weight = network.prototypes.weight.detach().clone().requires_grad_()
    swapped_loss(list((z @ weight.T).chunk(2)), codes, 0.1).backward()
    torch.testing.assert_close(got, weight.grad, rtol=1e-3, atol=1e-5)


def test_it_starts_near_ln_of_the_prototypes() -> None:
    """The published code starts near ln 3000 = 8.006."""
    torch.manual_seed(0)
    network = (
        registry.load("method", "swav")
        .resolve("tiny", {"prototypes": 3000, "queue": 0})
        .network(10)
    )
    loss = float(network.train().loss(batch(two_views(16)))["loss"].detach())
    assert loss == pytest.approx(math.log(3000), rel=0.05)


def test_a_guess_costs_ln_of_the_prototypes() -> None:
    flat = torch.zeros(6, 10)
    codes = [sinkhorn(flat, 0.05, 3)] * 2
    torch.testing.assert_close(codes[0], torch.full((6, 10), 0.1))
    assert float(swapped_loss([flat, flat], codes, 0.1)) == pytest.approx(math.log(10), abs=1e-5)


def test_prototypes_have_unit_length_before_every_forward() -> None:
    network, images = swav(freeze_epochs=0).network(10).train(), two_views()
    with torch.no_grad():
        network.prototypes.weight.mul_(7)
    loss = float(network.loss(batch(images))["loss"].detach())
    torch.testing.assert_close(network.prototypes.weight.detach().norm(dim=1), torch.ones(10))
    assert float(network.loss(batch(images))["loss"].detach()) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
def test_prototypes_do_not_move_in_their_frozen_epochs(optimizer: str) -> None:
    """9 epochs of 2 steps, 1.5 epochs frozen: steps 0 to 2."""
    from bench.nn.optim import build_optimizer

    torch.manual_seed(0)
    method = swav(epochs=9, freeze_epochs=1.5, optimizer=optimizer, lr=0.4, weight_decay=1e-2)
    network = method.network(10).train()
    descent = build_optimizer(method.params, network.trainable())
    images, moved, seen = two_views(), [], None
    for step in range(5):
        descent.zero_grad()
        network.loss(batch(images, step, 18))["loss"].backward()
        now = network.prototypes.weight.detach().clone()  # at unit length
        moved.append(seen is not None and not torch.allclose(now, seen, rtol=0, atol=1e-5))
        gradient = network.prototypes.weight.grad
        assert gradient is not None, "devices that add gradients up need one"
        assert (float(gradient.abs().max()) == 0) == (step < 3)
        seen = now
        descent.step()
    assert moved == [False, False, False, False, True]


def test_the_queue_fills_from_its_epoch_and_joins_the_codes_when_full() -> None:
    """9 epochs of 2 steps, from epoch 2 on, 6 rows a step, 12 rows: filled by steps 4 and 5, used
    from 6."""
    torch.manual_seed(0)
    network = swav(epochs=9, queue=12, queue_from_epoch=2, eps=0.05).network(10).train()
    assert "queue" in network.state_dict()
    found: list[Tensor] = []
    for step in range(7):
        images = two_views(seed=step)
        z, scores = outputs(network, images)
        own = list(scores.chunk(2))
        before = [q @ network.prototypes.weight.detach().T for q in network.queue.clone()]
        alone, joined = SwaVLoss(), float(SwaVLoss()(own, [], before))
        want = joined if step >= 6 else float(alone(own, []))
        assert float(network.loss(batch(images, step, 18))["loss"].detach()) == pytest.approx(
            want, abs=1e-4
        )
        found.append(z)
        if step < 4:
            assert float(network.queue.abs().max()) == 0
    assert abs(joined - float(alone(own, []))) > 1e-3, "the queue changes the codes"
    for i in (0, 1):
        newest = torch.cat([found[6].chunk(2)[i], found[5].chunk(2)[i]])
        torch.testing.assert_close(network.queue[i], newest, rtol=1e-4, atol=1e-5)


def test_large_batches_need_no_queue() -> None:
    assert swav(queue=64, batch_size=512).network(10).queue.shape == (2, 0, 16)
    assert swav(queue=64, batch_size=510).network(10).queue.shape == (2, 64, 16)
    assert swav(queue=64, batch_size=512, queue_below=1024).network(10).queue.shape == (2, 64, 16)


def test_the_order_of_a_batch_does_not_matter() -> None:
    torch.manual_seed(0)
    network, images = swav().network(10).train(), two_views(small=2)
    other = reordered(images, torch.tensor([3, 0, 5, 1, 4, 2]))
    loss, again = (float(network.loss(batch(x))["loss"].detach()) for x in (images, other))
    assert again == pytest.approx(loss, abs=1e-3)


def test_two_heads_share_the_prototypes() -> None:
    torch.manual_seed(0)
    network, images = swav().network(10, heads=2).train(), two_views()
    objects = torch.tensor([True, False, True, False, True, False])
    network.loss(batch(images, objects=objects))["loss"].backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in network.projector.parameters()
    )
    assert network.prototypes.weight.shape == (10, 16)


def test_a_resumed_training_is_bit_equal_with_its_queue(tmp_path: Path) -> None:
    settings = {
        "epochs": 3,
        "prototypes": 10,
        "queue": 12,
        "queue_from_epoch": 0,
        "n_small": 1,
        "small_size": 16,
        "warmup_epochs": 0.0,
    }
    whole = context(tmp_path, "whole", method="swav", n=16, settings=settings)
    run(whole)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            context(
                tmp_path, "parts", method="swav", n=16, settings=settings, watch=Watch({4: stop})
            )
        )
    parts = context(tmp_path, "parts", method="swav", n=16, settings=settings)
    run(parts)
    assert 0 < parts.progress.started_at < 6
    one, two = (torch.load(c.work / "network.pth", weights_only=True) for c in (whole, parts))
    assert float(one["queue"].abs().min(dim=2).values.max()) > 0
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_crops_are_two_global_and_six_small_ones() -> None:
    viewer = swav(**PUBLISHED).viewer(None, {})
    box = (1.0, 2.0, 30.0, 40.0)
    sources = [Source(3, box, "object", scale=(0.5, 1.0)), Source(3)]
    views = viewer(sources, np.random.default_rng(0)).views
    assert [v.role for v in views] == ["view1", "view2", *[f"small{i}" for i in range(1, 7)]]
    assert [v.size for v in views] == [64, 64] + [24] * 6
    assert [v.scale for v in views] == [(0.5, 1.0), (0.14, 1.0)] + [(0.05, 0.14)] * 6
    assert [v.box for v in views] == [box, None] * 4
    assert [v.kind for v in views] == ["object", "scene"] * 4
    assert all(v.augment == SWAV for v in views)


def test_a_multi_crop_strategy_brings_its_own_small_crops() -> None:
    viewer = swav(**PUBLISHED).viewer(None, {})
    given = [Source(3, role="small", size=32, scale=(0.1, 0.2)), Source(3, role="small")]
    views = viewer([Source(3), Source(3), *given], np.random.default_rng(0)).views
    assert [(v.role, v.size, v.scale) for v in views[2:]] == [
        ("small1", 32, (0.1, 0.2)),
        ("small2", 24, (0.05, 0.14)),
    ]


def test_paper_settings() -> None:
    """SwAV's code for batches of 256: .6, 1e-6, 3000 prototypes, eps .05, t .1, queue 3840 from
    epoch 15."""
    p = registry.load("method", "swav").resolve("paper").params
    assert (p.backbone, p.image_size, p.epochs, p.batch_size) == ("resnet50", 224, 200, 256)
    assert (p.optimizer, p.lr * p.batch_size / 256, p.weight_decay, p.warmup_epochs) == (
        "lars",
        0.6,
        1e-6,
        0,
    )
    assert (p.hidden, p.out, p.prototypes, p.eps, p.iterations) == (2048, 128, 3000, 0.05, 3)
    assert (p.temperature, p.lr_step, p.freeze_epochs) == (0.1, "iter", 1.0)
    assert (p.queue_rows, p.queue_from_epoch) == (3840, 15)
    assert (p.n_small, p.small_size, p.small_min_scale, p.min_scale) == (6, 96, 0.05, 0.14)
