"""MoCo v2: views, loss against lightly, order of a step, gradients, resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from bench.contracts.views import Source
from bench.stages.checkpoint import read_history
from bench.stages.pretrain import run
from bench.views.sample import MOCO_V2
from tests.stages.pretraining import Watch, context

B = 8


def moco(**settings: Any) -> Any:
    return registry.load("method", "moco_v2").resolve(
        "tiny", {"hidden": 32, "dim": 16, "batch_size": B, **settings}
    )


def batch(side: int = 64, roles: tuple[str, ...] = ("view1", "view2"), seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    no = torch.zeros(B, dtype=torch.bool)
    return Batch(
        {
            r: Views(
                torch.randn(B, 3, side, side, generator=draw),
                torch.zeros(B, 4),
                no,
                torch.arange(B),
                no,
            )
            for r in roles
        }
    )


def lightlys(q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor) -> float:
    loss = NTXentLoss(temperature=0.2, memory_bank_size=tuple(queue.shape))
    loss.memory_bank.bank = queue.clone()
    return float(loss(q, k))


def test_views_are_one_recipe_of_two_sources() -> None:
    viewer = moco(image_size=96, min_scale=0.2).viewer(None, {})
    sources = [Source(3, (1, 2, 30, 40), "object"), Source(3), Source(4, role="small", size=32)]
    one, two, small = viewer(sources, np.random.default_rng(0)).views
    assert [v.role for v in (one, two, small)] == ["view1", "view2", "small1"]
    assert {v.augment for v in (one, two, small)} == {MOCO_V2}
    assert (one.image, one.box, one.size, one.scale, one.kind) == (
        3,
        (1, 2, 30, 40),
        96,
        (0.2, 1),
        "object",
    )
    assert (two.box, two.kind) == (None, "scene")
    assert (small.image, small.size) == (4, 32)
    own = [Source(0, scale=(0.3, 1.0), size=48)] * 2
    assert all(
        (v.scale, v.size) == ((0.3, 1.0), 48) for v in viewer(own, np.random.default_rng(0)).views
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_loss_is_lightlys_over_the_queue_before_this_step(symmetric: bool) -> None:
    """In "sync", so that the key encoder's order does not matter; the symmetric second direction
    has the same negatives, not the keys of the first."""
    torch.manual_seed(0)
    network = moco(shuffle="sync", symmetric=symmetric).network(100).train()
    data = batch()
    queue = network.queue.negatives()
    with torch.no_grad():
        x1, x2 = (data.views[r].images for r in ("view1", "view2"))
        q1, q2 = (network.projector(network.backbone(x)) for x in (x1, x2))
        k1, k2 = (network.key_projector(network.key_backbone(x)) for x in (x1, x2))
    want = lightlys(q1, k2, queue)
    keys = [F.normalize(k2, dim=1)]
    if symmetric:
        want = (want + lightlys(q2, k1, queue)) / 2
        keys.append(F.normalize(k1, dim=1))
    parts = network.loss(data)
    assert float(parts["loss"].detach()) == pytest.approx(want, rel=1e-5)
    assert 0 < float(parts["std"]) < 1 / math.sqrt(16) + 0.01
    new = torch.cat(keys)
    torch.testing.assert_close(network.queue.keys[: len(new)], new)
    assert torch.equal(network.queue.keys[len(new) :], queue[len(new) :])
    assert int(network.queue.position) == len(new)


def test_gradient_reaches_the_query_encoder_only() -> None:
    torch.manual_seed(0)
    network = moco().network(100).train()
    network.loss(batch())["loss"].backward()
    for name, p in network.named_parameters():
        assert p.requires_grad == (not name.startswith("key_")), name
        assert (p.grad is None) == name.startswith("key_"), name
        assert p.grad is None or float(p.grad.abs().sum()) > 0, name
    assert {n.split(".")[0] for n, _ in network.trainable()} == {"backbone", "projector"}


def test_key_encoder_follows_before_its_forward() -> None:
    """After an optimizer step the next loss moves the key parameters by EMA, then uses them."""
    torch.manual_seed(0)
    network = moco(shuffle="sync", ema=0.6).network(100).train()
    optimizer = torch.optim.SGD([p for _, p in network.trainable()], lr=0.1)
    start = {n: p.detach().clone() for n, p in network.named_parameters()}
    network.loss(batch())["loss"].backward()
    assert all(torch.equal(p, start[n]) for n, p in network.named_parameters()), (
        "step 0: both are equal"
    )
    optimizer.step()
    network.after_step(0, 10)
    data = batch(seed=1)
    network.loss(data)
    now = dict(network.named_parameters())
    moved = 0
    for name in (n for n in now if n.startswith("key_")):
        want = 0.6 * start[name] + 0.4 * now[name.removeprefix("key_")]
        torch.testing.assert_close(now[name], want)
        moved += int(not torch.equal(now[name], start[name]))
    assert moved > 35
    with torch.no_grad():  # batch norm in train mode ignores its running statistics
        keys = F.normalize(
            network.key_projector(network.key_backbone(data.views["view2"].images)), dim=1
        )
    torch.testing.assert_close(network.queue.keys[B : 2 * B], keys, rtol=1e-4, atol=1e-5)


def test_eval_mode_changes_nothing_and_ignores_the_order_of_the_batch() -> None:
    torch.manual_seed(0)
    network = moco().network(100).eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    data, order = batch(), torch.randperm(B)
    turned = Batch(
        {
            r: Views(v.images[order], v.boxes, v.flipped, v.index, v.objects)
            for r, v in data.views.items()
        }
    )
    one, two = (float(network.loss(b)["loss"].detach()) for b in (data, turned))
    assert one == pytest.approx(two, rel=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_order_of_the_batch_in_train_mode() -> None:
    """The loss of a batch in "sync" does not depend on the order of its images."""
    data, order = batch(), torch.randperm(B)
    losses = []
    for rows in (torch.arange(B), order):
        torch.manual_seed(0)
        network = moco(shuffle="sync").network(100).train()
        views = {
            r: Views(v.images[rows], v.boxes, v.flipped, v.index, v.objects)
            for r, v in data.views.items()
        }
        losses.append(float(network.loss(Batch(views))["loss"].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_shuffling_keeps_queries_and_keys_together() -> None:
    """In groups as large as the batch, the shuffled order changes no statistics, so nothing
    changes."""
    losses = []
    for settings in ({"shuffle": "sync"}, {"shuffle": "shuffle_bn", "bn_groups": 1}):
        torch.manual_seed(0)
        network = moco(**settings).network(100).train()
        losses.append(float(network.loss(batch())["loss"].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    torch.manual_seed(0)
    split = moco(shuffle="shuffle_bn", bn_groups=4).network(100).train()
    assert abs(float(split.loss(batch())["loss"].detach()) - losses[0]) > 1e-3, (
        "groups do change statistics"
    )


def test_collapsed_network_has_the_loss_of_chance() -> None:
    """All outputs equal: log(K + 1), and std 0."""
    torch.manual_seed(0)
    network = moco(ema=0.0).network(100).train()
    for layer in (network.projector[2], network.key_projector[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.ones_(layer.bias)
    with torch.no_grad():
        network.queue.keys.fill_(0.25)
    parts = network.loss(batch())
    assert float(parts["loss"].detach()) == pytest.approx(
        math.log(len(network.queue) + 1), rel=1e-5
    )
    assert float(parts["std"]) == pytest.approx(0, abs=1e-6)


def test_first_loss_is_the_positives_against_random_negatives() -> None:
    """q m_j of random m_j has mean 0, variance 1 / dim: L = log(1 + K exp(1 / (2 dim tau^2) - cos
    / tau))."""
    torch.manual_seed(0)
    network = moco(dim=128, hidden=512, queue=4096).network(10**6).train()
    data = batch()
    with torch.no_grad():
        state = {k: v.clone() for k, v in network.state_dict().items()}
        found = network.contrast(data.views)
        network.load_state_dict(state)
    ((q,), (k,)) = found.pairs[0]
    positive = (q * k).sum(1) / 0.2
    noise = 1 / (2 * 128 * 0.2**2)
    want = torch.log(1 + 4096 * torch.exp(noise - positive)).mean()
    assert len(network.queue) == 4096
    assert float(network.loss(data)["loss"].detach()) == pytest.approx(
        float(want.detach()), abs=0.05
    )


def test_small_views_are_queries_of_the_same_key() -> None:
    torch.manual_seed(0)
    network = moco(shuffle="sync").network(100).train()
    data = batch(roles=("view1", "view2", "small1"))
    queue = network.queue.negatives()
    with torch.no_grad():
        q1, qs = (
            network.projector(network.backbone(data.views[r].images)) for r in ("view1", "small1")
        )
        k2 = network.key_projector(network.key_backbone(data.views["view2"].images))
    want = (lightlys(q1, k2, queue) + lightlys(qs, k2, queue)) / 2
    assert float(network.loss(data)["loss"].detach()) == pytest.approx(want, rel=1e-5)
    assert int(network.queue.position) == B, "one key per image"


def test_two_heads_project_each_view_by_its_kind() -> None:
    torch.manual_seed(0)
    network = moco(shuffle="sync").network(100, heads=2).train()
    data = batch()
    data.views["view1"].objects = torch.ones(B, dtype=torch.bool)
    with torch.no_grad():
        q = network.projector.object(network.backbone(data.views["view1"].images))
        k = network.key_projector.other(network.key_backbone(data.views["view2"].images))
    want = lightlys(q, k, network.queue.negatives())
    assert float(network.loss(data)["loss"].detach()) == pytest.approx(want, rel=1e-5)


def test_paper_settings() -> None:
    """METHODS 1.2 on COCO: rate .3 at 256 images, no warm-up, tau .2, K 65536, m .999."""
    p = registry.load("method", "moco_v2").resolve("paper").params
    assert (p.backbone, p.image_size, p.epochs, p.batch_size) == ("resnet50", 224, 800, 256)
    assert (p.optimizer, p.lr, p.momentum, p.weight_decay) == ("sgd", 0.3, 0.9, 1e-4)
    assert (p.decay_norm_and_bias, p.warmup_epochs, p.lr_step) == (True, 0, "epoch")
    assert (p.tau, p.queue, p.ema, p.dim, p.hidden, p.min_scale) == (
        0.2,
        65536,
        0.999,
        128,
        2048,
        0.2,
    )
    assert (p.shuffle, p.bn_groups, p.symmetric) == ("shuffle_bn", 8, False)
    assert not [m for m in moco().network(9).projector if "Norm" in type(m).__name__]


def test_killed_and_resumed_is_bit_equal(tmp_path: Path) -> None:
    """Queue, its position and the key encoder are in the checkpoint; the shuffles are drawn by the
    step."""

    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    settings = {"dim": 16, "bn_groups": 4, "ema": 0.9}
    run(context(tmp_path, "whole", method="moco_v2", settings=settings))
    with pytest.raises(Killed):
        run(context(tmp_path, "cut", method="moco_v2", settings=settings, watch=Watch({4: kill})))
    second = Watch()
    run(context(tmp_path, "cut", method="moco_v2", settings=settings, watch=second))
    assert second.started_at == 3
    whole, cut = (
        torch.load(tmp_path / n / "network.pth", weights_only=True) for n in ("whole", "cut")
    )
    assert len(whole["queue.keys"]) == 32
    assert int(whole["queue.position"]) == 6 * 8 % 32
    assert whole.keys() == cut.keys()
    assert all(torch.equal(v, cut[k]) for k, v in whole.items())
    losses = [
        [r["loss"] for r in read_history(tmp_path / n / "history.jsonl")] for n in ("whole", "cut")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
