"""Query and key encoders: order of updates, shuffling, and two processes against one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import registry
from bench.contracts.network import Batch, Network, Views
from bench.nn.distributed import rank_and_size
from bench.nn.momentum import Encoded, QueryKey
from tests.nn.ranks import on_ranks

BATCH, STEPS, SIDE = 8, 2, 34


def views(images: Tensor, objects: Tensor | None = None) -> Views:
    n = len(images)
    no = torch.zeros(n, dtype=torch.bool)
    return Views(
        images, torch.zeros(n, 4), no, torch.arange(n), no if objects is None else objects
    )


class Recorder(QueryKey):
    """Encodes an image as its mean,
    times the only parameter of its projector; notes what it saw."""

    def __init__(self, shuffle: Any = "shuffle_bn", momentum: float = 0.5) -> None:
        super().__init__("resnet18", lambda _: nn.Linear(1, 1, bias=False), momentum, shuffle)
        self.seen: list[tuple[str, Tensor, Tensor | None]] = []

    def encode(
        self, nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None
    ) -> Encoded:
        who = "query" if nets["projector"] is self.projector else "key"
        self.seen.append((who, images.mean((1, 2, 3)), objects))
        return nets["projector"](images.mean((1, 2, 3)).unsqueeze(1)), images


def ramp(low: float) -> Tensor:
    return (low + torch.arange(float(BATCH))).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone()


def test_keys_go_through_in_another_order_and_come_back_in_theirs() -> None:
    torch.manual_seed(0)
    network = Recorder().train()
    objects = torch.arange(BATCH) % 3 == 0
    network.key_projector.weight.data.fill_(2.0)
    keys, images = network.key(ramp(0), objects)
    _, seen, kinds = network.seen[0]
    assert sorted(seen.tolist()) == list(range(BATCH))
    assert seen.tolist() != list(range(BATCH)), "shuffled"
    assert kinds is not None
    assert torch.equal(kinds, objects[seen.long()]), "an image keeps its kind"
    assert torch.equal(keys.flatten(), 2.0 * torch.arange(BATCH)), "unshuffled"
    assert torch.equal(images, ramp(0))
    network.key(ramp(0), objects)
    assert not torch.equal(network.seen[1][1], seen), "every step draws anew"


@pytest.mark.parametrize(("shuffle", "training"), [("sync", True), ("shuffle_bn", False)])
def test_no_shuffle_in_sync_and_in_eval_mode(shuffle: str, training: bool) -> None:
    network = Recorder(shuffle).train(training)
    state = torch.get_rng_state()
    network.key(ramp(0), torch.zeros(BATCH, dtype=torch.bool))
    assert network.seen[0][1].tolist() == list(range(BATCH))
    assert torch.equal(torch.get_rng_state(), state)


def test_key_encoder_moves_between_queries_and_keys() -> None:
    torch.manual_seed(0)
    network = Recorder(momentum=0.75).train()
    network.projector.weight.data.fill_(1.0)
    network.key_projector.weight.data.fill_(3.0)
    found = network.contrast({"view1": views(ramp(0)), "view2": views(ramp(10))})
    assert [who for who, *_ in network.seen] == ["query", "key"]
    assert float(network.key_projector.weight) == pytest.approx(0.75 * 3 + 0.25 * 1)
    ((query, key),) = found.pairs
    torch.testing.assert_close(query[0].flatten(), torch.arange(8.0))
    torch.testing.assert_close(key[0].flatten(), 2.5 * (10 + torch.arange(8.0)))
    assert query[0].requires_grad
    assert not key[0].requires_grad
    network.after_step(0, 10)
    assert float(network.key_projector.weight) == pytest.approx(2.5)

    network.eval()
    network.contrast({"view1": views(ramp(0)), "view2": views(ramp(10))})
    assert float(network.key_projector.weight) == pytest.approx(2.5), "eval mode moves nothing"


def test_symmetric_and_small_views_pair_up() -> None:
    """A pair of (query view, key view), told by their images' means."""
    network = Recorder().train()
    batch = {"view1": views(ramp(0)), "view2": views(ramp(10))}
    small = {"small1": views(ramp(20)), "small2": views(ramp(30))}

    def pairs(found: Any) -> list[tuple[float, float]]:
        return [(float(q[1][0].mean()), float(k[1][0].mean())) for q, k in found.pairs]

    assert pairs(network.contrast(batch)) == [(0, 10)]
    assert pairs(network.contrast(batch, symmetric=True)) == [(0, 10), (10, 0)]
    both = network.contrast(batch | small, symmetric=True)
    assert pairs(both) == [(0, 10), (20, 10), (30, 10), (10, 0), (20, 0), (30, 0)]
    assert len(both.keys) == 2
    assert len(network.contrast(batch | small).keys) == 1, "small views are never keys"


def test_buffers_of_the_key_encoder_are_its_own() -> None:
    torch.manual_seed(0)
    network = registry.load("method", "moco_v2").resolve("tiny", {"ema": 0.5}).network(100).train()
    before = {n: b.clone() for n, b in network.key_backbone.named_buffers()}
    with torch.no_grad():
        for b in network.backbone.buffers():
            b.add_(7)
    network.update_keys()
    assert all(torch.equal(b, before[n]) for n, b in network.key_backbone.named_buffers())


# Two processes that share a batch compute what one process computes.

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "shuffled": ("moco_v2", {"shuffle": "shuffle_bn", "bn_groups": 4}),
    "sync": ("moco_v2", {"shuffle": "sync"}),
    "dense": ("densecl", {"shuffle": "shuffle_bn", "bn_groups": 4, "symmetric": True}),
}


class Steps(nn.Module):
    """`loss` as `forward`, which is what DistributedDataParallel wraps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        return self.network.loss(batch)["loss"]


def train_a_little(case: str, rank: int, size: int) -> dict[str, Any]:
    """Losses, the queue and a weight after a few steps in float64 on this
    process's share of the batches."""
    name, settings = CASES[case]
    torch.manual_seed(0)
    small = {"hidden": 16, "dim": 8, "batch_size": BATCH, "ema": 0.5}
    network = (
        registry.load("method", name)
        .resolve("tiny", small | settings)
        .network(40)
        .double()
        .train()
    )
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()  # sync: without batch statistics, which need a GPU to be synchronised
    steps: nn.Module = Steps(network)
    if size > 1:
        steps = nn.parallel.DistributedDataParallel(steps)
    optimizer = torch.optim.SGD([p for _, p in network.trainable()], lr=0.05)
    share = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    losses = []
    for step in range(STEPS):
        torch.manual_seed(100 + step)
        x1, x2 = (torch.randn(BATCH, 3, SIDE, SIDE, dtype=torch.float64) for _ in range(2))
        loss = steps(Batch({"view1": views(x1[share]), "view2": views(x2[share])}, step=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    kept = {k: v for k, v in network.state_dict().items() if "queue" in k or "projector" in k}
    return {"losses": losses, "state": kept}


def train_every_case() -> Any:
    rank, size = rank_and_size()
    return {case: train_a_little(case, rank, size) for case in CASES}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found."""
    return on_ranks(tmp_path_factory.mktemp("pair"), 2, train_every_case, seconds=120)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(pair: list[dict[str, Any]], case: str) -> None:
    """Loss, queue, query and key weights: the shuffle is over both processes' images, the groups
    of batch norm are the same groups, and every process enqueues the keys of both."""
    one, (first, second) = train_a_little(case, 0, 1), (p[case] for p in pair)
    for k, v in one["state"].items():
        assert torch.equal(first["state"][k], second["state"][k]), k
        torch.testing.assert_close(first["state"][k], v, msg=k)
    means = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert means == pytest.approx(one["losses"], rel=1e-9)
    assert len(set(means)) == STEPS
