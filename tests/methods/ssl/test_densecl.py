"""DenseCL: its loss against a float64 loop, its queues, 1 x 1 feature maps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.network import Batch, Views

B = 6


def densecl(**settings: Any) -> Any:
    return registry.load("method", "densecl").resolve(
        "tiny", {"hidden": 32, "dim": 16, "batch_size": B, **settings}
    )


def batch(side: int = 64, small: int = 0, step: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(0)
    no = torch.zeros(B, dtype=torch.bool)
    sides = {"view1": side, "view2": side} | ({"small1": small} if small else {})
    made = {
        r: Views(
            torch.randn(B, 3, s, s, generator=draw), torch.zeros(B, 4), no, torch.arange(B), no
        )
        for r, s in sides.items()
    }
    return Batch(made, step=step)


def cosine(a: list[float], b: list[float]) -> float:
    dot, na, nb = (
        sum(x * y for x, y in zip(u, v, strict=True)) for u, v in ((a, b), (a, a), (b, b))
    )
    return dot / math.sqrt(na * nb)


def plain_dense_loss(
    fq: torch.Tensor,
    fk: torch.Tensor,
    gq: torch.Tensor,
    gk: torch.Tensor,
    queue: torch.Tensor,
    tau: float,
) -> float:
    """Wang et al. 2021, section 3: per image and cell, the most similar cell of the other view by
    backbone features (B, C, S) is the positive of the dense projections (B, D, S); in Python's
    float64."""
    losses = []
    for b in range(len(fq)):
        f2, g2 = fk[b].T.tolist(), gk[b].T.tolist()
        for f, g in zip(fq[b].T.tolist(), gq[b].T.tolist(), strict=True):
            similar = [cosine(f, other) for other in f2]
            top = math.exp(cosine(g, g2[similar.index(max(similar))]) / tau)
            rest = sum(math.exp(cosine(g, m) / tau) for m in queue.tolist())
            losses.append(-math.log(top / (top + rest)))
    return sum(losses) / len(losses)


def forward(network: Any, prefix: str, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Global (B, D), dense (B, D, S) not normalised, C5 (B, C, S), with modules called by hand."""
    backbone, projector, dense = (
        getattr(network, prefix + n) for n in ("backbone", "projector", "dense")
    )
    with torch.no_grad():
        maps = backbone.maps(images)
        return projector(maps.mean((2, 3))), dense(maps).flatten(2), maps.flatten(2)


@pytest.mark.parametrize("match_on", ["backbone", "projection"])
@pytest.mark.parametrize("side", [64, 32])
def test_loss_is_the_equations_in_a_loop(side: int, match_on: str) -> None:
    torch.manual_seed(0)
    network = densecl(shuffle="sync", lambda_dense=0.3, match_on=match_on).network(100).train()
    data = batch(side)
    queue, dense_queue = network.queue.negatives(), network.dense_queue.negatives()
    assert not torch.equal(queue, dense_queue)
    q, gq, fq = forward(network, "", data.views["view1"].images)
    k, gk, fk = forward(network, "key_", data.views["view2"].images)
    assert gq.shape == (B, 16, (side // 32) ** 2)
    matched = (fq, fk) if match_on == "backbone" else (gq, gk)
    dense = plain_dense_loss(*matched, gq, gk, dense_queue, 0.2)
    ours = NTXentLoss(temperature=0.2, memory_bank_size=tuple(queue.shape))
    ours.memory_bank.bank = queue.clone()
    whole = float(ours(q, k))
    parts = {n: float(v.detach()) for n, v in network.loss(data).items()}
    assert parts["dense"] == pytest.approx(dense, rel=1e-5)
    assert parts["global"] == pytest.approx(whole, rel=1e-5)
    assert parts["loss"] == pytest.approx(0.7 * whole + 0.3 * dense, rel=1e-5)

    torch.testing.assert_close(network.queue.keys[:B], F.normalize(k, dim=1))
    assert torch.equal(network.queue.keys[B:], queue[B:])
    pooled = F.normalize(gk.mean(2), dim=1)  # pooled, then normalised
    torch.testing.assert_close(network.dense_queue.keys[:B], pooled)
    assert torch.equal(network.dense_queue.keys[B:], dense_queue[B:])


def test_cells_as_negatives() -> None:
    torch.manual_seed(0)
    network = densecl(shuffle="sync", neg="cells").network(1000).train()
    _, gk, _ = forward(network, "key_", batch().views["view2"].images)
    network.loss(batch())
    assert len(network.dense_queue) > 4 * B
    cells = F.normalize(gk, dim=1).transpose(1, 2).reshape(-1, 16)
    torch.testing.assert_close(network.dense_queue.keys[: 4 * B], cells)
    assert (int(network.queue.position), int(network.dense_queue.position)) == (B, 4 * B)


def test_shuffled_cells_stay_with_their_images() -> None:
    """One batch-norm group: the shuffle changes nothing."""
    losses = []
    for settings in ({"shuffle": "sync"}, {"shuffle": "shuffle_bn", "bn_groups": 1}):
        torch.manual_seed(0)
        network = densecl(**settings).network(100).train()
        losses.append({n: float(v.detach()) for n, v in network.loss(batch()).items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_matches_view_with_itself_cell_by_cell() -> None:
    """Equal views: each cell's positive is itself, so the positive logit is at its largest, 1 /
    tau."""
    torch.manual_seed(0)
    network = densecl(shuffle="sync").network(100).train()
    data = batch()
    data.views["view2"] = data.views["view1"]
    negatives = network.dense_queue.negatives()
    _, gq, _ = forward(network, "", data.views["view1"].images)
    rest = (F.normalize(gq, dim=1).transpose(1, 2) @ negatives.T / 0.2).exp().sum(2)
    want = torch.log(1 + rest / math.exp(5)).mean()
    assert float(network.loss(data)["dense"].detach()) == pytest.approx(float(want), rel=1e-5)


def test_gradient_reaches_both_query_heads_only() -> None:
    torch.manual_seed(0)
    network = densecl().network(100).train()
    network.loss(batch())["loss"].backward()
    for name, p in network.named_parameters():
        assert (p.grad is None) == name.startswith("key_"), name
        assert p.grad is None or float(p.grad.abs().sum()) > 0, name
    assert {n.split(".")[0] for n, _ in network.trainable()} == {"backbone", "projector", "dense"}


def test_key_dense_head_follows() -> None:
    torch.manual_seed(0)
    network = densecl(ema=0.75).network(100).train()
    with torch.no_grad():
        network.dense[0].weight.add_(1)
    key, query = network.key_dense[0].weight.clone(), network.dense[0].weight.detach().clone()
    network.loss(batch())
    torch.testing.assert_close(network.key_dense[0].weight, 0.75 * key + 0.25 * query)


def test_dense_loss_waits_for_its_warm_up() -> None:
    torch.manual_seed(0)
    network = densecl(lambda_warmup_iters=2).network(100).eval()
    for step, weight in [(0, 0.0), (1, 0.0), (2, 0.5)]:
        parts = {n: float(v.detach()) for n, v in network.loss(batch(step=step)).items()}
        want = (1 - weight) * parts["global"] + weight * parts["dense"]
        assert parts["loss"] == pytest.approx(want, rel=1e-6)
    assert parts["global"] != pytest.approx(parts["dense"])


def test_collapsed_dense_outputs_have_the_loss_of_chance() -> None:
    torch.manual_seed(0)
    network = densecl(ema=0.0).network(100).train()
    torch.nn.init.zeros_(network.dense[2].weight)
    torch.nn.init.ones_(network.dense[2].bias)
    with torch.no_grad():
        network.dense_queue.keys.fill_(0.25)
    dense = float(network.loss(batch())["dense"].detach())
    assert dense == pytest.approx(math.log(len(network.dense_queue) + 1), rel=1e-5)


def test_small_views_match_into_the_large_map() -> None:
    """A small view's map has other cells than the key's; each is matched with one of them."""
    torch.manual_seed(0)
    network = densecl(shuffle="sync").network(100).train()
    data = batch(96, small=64)
    queue = network.dense_queue.negatives()
    first, small = (forward(network, "", data.views[r].images) for r in ("view1", "small1"))
    _, gk, fk = forward(network, "key_", data.views["view2"].images)
    assert (first[1].shape[2], small[1].shape[2]) == (9, 4)
    want = [plain_dense_loss(f, fk, g, gk, queue, 0.2) for _, g, f in (first, small)]
    assert float(network.loss(data)["dense"].detach()) == pytest.approx(sum(want) / 2, rel=1e-5)


def test_two_heads_for_dense_projections_too() -> None:
    torch.manual_seed(0)
    network = densecl(shuffle="sync").network(100, heads=2).train()
    data = batch()
    objects = torch.arange(B) < 3
    data.views["view1"].objects = objects
    with torch.no_grad():
        maps = network.backbone.maps(data.views["view1"].images)
        want = torch.where(
            objects.view(-1, 1, 1),
            network.dense.object(maps).flatten(2),
            network.dense.other(maps).flatten(2),
        )
        _, cells, _, _ = network.query(data.views["view1"].images, objects)
    torch.testing.assert_close(cells, F.normalize(want, dim=1))
    assert math.isfinite(float(network.loss(data)["loss"].detach()))


def test_paper_settings() -> None:
    """METHODS 1.3: MoCo v2's, lambda .5, no warm-up of it, pooled negatives, matching on C5."""
    p = registry.load("method", "densecl").resolve("paper").params
    shared = registry.load("method", "moco_v2").resolve("paper").params.identity()
    assert {k: v for k, v in p.identity().items() if k in shared} == shared
    assert (p.lambda_dense, p.lambda_warmup_iters, p.match_on, p.neg) == (
        0.5,
        0,
        "backbone",
        "pooled",
    )
    network = densecl().network(100)
    assert not [
        m for h in (network.projector, network.dense) for m in h if "Norm" in type(m).__name__
    ]
