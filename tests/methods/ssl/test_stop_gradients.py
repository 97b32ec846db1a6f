"""Where no gradient may pass: targets, keys, negatives, codes and figures. Each could learn here,
as if nobody had frozen it; the loss must leave it alone all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.network import Batch
from bench.nn.byol import byol_loss, output_std
from bench.nn.contrastive import correspondence, dense_info_nce, info_nce
from bench.nn.ema import ema_update
from bench.nn.heads import mlp
from bench.nn.queue import KeyQueue
from bench.nn.sinkhorn import sinkhorn
from tests.methods.ssl import test_cast, test_ccop, test_orl, test_resim, test_soco
from tests.methods.ssl.views import batch, two_views

SLIM = {
    "backbone": "resnet18",
    "image_size": 64,
    "hidden": 16,
    "out": 8,
    "dim": 8,
    "fpn_width": 8,
    "fpn": 8,
    "fc": 8,
    "boxes": 4,
    "align_heads": 2,
    "queue": 32,
    "batch_size": 4,
    "jitters": 3,
    "top": 6,
}


def plain(small: int = 0) -> Batch:
    return batch(two_views(4, small, 64), step=5, total_steps=10)


BATCHES: dict[str, Callable[[], Batch]] = {
    "byol": plain,
    "lewel": plain,
    "self_emd": plain,
    "moco_v2": plain,
    "densecl": plain,
    "soco": test_soco.batch,
    "orl": test_orl.batch,
    "resim": test_resim.batch,
    "cast": test_cast.batch,
    "ccop": test_ccop.batch,
}


def follows(name: str) -> bool:
    return name.startswith(("target_", "key_"))


def test_every_method_with_a_target_or_keys_is_here() -> None:
    found = set()
    for name in registry.names("method"):
        fields = registry.load("method", name).Params.model_fields
        if {"ema", "ema0"} & set(fields):
            found.add(name)
    assert found == set(BATCHES)


@pytest.mark.parametrize("name", BATCHES)
def test_no_gradient_reaches_what_follows_even_if_it_could_learn(name: str) -> None:
    cls: Any = registry.load("method", name)
    settings = {k: v for k, v in SLIM.items() if k in cls.Params.model_fields}
    torch.manual_seed(0)
    network = cls.resolve("tiny", settings).network(40).train()
    following = {n: p for n, p in network.named_parameters() if follows(n)}
    assert len(following) > 60, "backbone and heads"
    for p in following.values():
        p.requires_grad_(True)
    network.loss(BATCHES[name]())["loss"].backward()
    reached = [n for n, p in following.items() if p.grad is not None and p.grad.any()]
    assert reached == []
    learning = [p for n, p in network.named_parameters() if n.startswith("backbone.")]
    assert all(p.grad is not None for p in learning)
    assert any(p.grad.any() for p in learning if p.grad is not None)


def unit(*shape: int, seed: int, dim: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=dim).requires_grad_()


def gradients(loss: Tensor, *inputs: Tensor) -> list[bool]:
    """Whether each input has a gradient that is not zero."""
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [g is not None and bool(g.any()) for g in found]


def test_a_target_is_not_pulled_to_the_prediction() -> None:
    p, z = unit(4, 6, seed=0), unit(4, 6, seed=1)
    assert gradients(byol_loss(p, z), p, z) == [True, False]


def test_queries_alone_learn_from_keys_and_negatives() -> None:
    q, k, m = unit(4, 6, seed=0), unit(4, 6, seed=1), unit(9, 6, seed=2)
    assert gradients(info_nce(q, k, m, 0.2), q, k, m) == [True, False, False]
    q, k = unit(2, 6, 5, seed=3), unit(2, 6, 7, seed=4)
    match = correspondence(q, k)
    assert not match.requires_grad
    assert gradients(dense_info_nce(q, k, match, m, 0.2), q, k, m) == [True, False, False]


def test_codes_and_the_collapse_monitor_are_no_part_of_the_graph() -> None:
    scores = unit(8, 5, seed=0)
    assert not sinkhorn(scores, 0.05, 3).requires_grad
    assert not output_std(scores).requires_grad


def test_the_collapse_monitor_by_hand() -> None:
    """Unit rows (1, 0), (0, 1), (1, 0), (0, 1): each dimension deviates by 1/2; lengths do not
    count, and the deviation is that of the batch itself (divided by n)."""
    rows = torch.tensor([[3.0, 0.0], [0.0, 0.1], [1.0, 0.0], [0.0, 7.0]])
    assert float(output_std(rows)) == pytest.approx(0.5)
    # one dimension of deviation 1/2, one of sqrt(3)/4
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(output_std(rows)) == pytest.approx((0.5 + 3**0.5 / 4) / 2)


def test_a_queue_keeps_keys_not_their_history() -> None:
    queue = KeyQueue(6, 4)
    queue.enqueue(unit(2, 4, seed=0))
    assert not queue.keys.requires_grad
    assert not queue.negatives().requires_grad


def test_a_moving_average_is_no_step_of_the_graph() -> None:
    online, target = mlp(3, 4, 2), mlp(3, 4, 2)
    ema_update(target, online, 0.5)
    assert all(p.is_leaf for p in target.parameters())
    assert all(p.grad_fn is None for p in target.parameters())
