"""Batch norm over two processes equals torch's over the whole batch,
in float64, with unequal shares."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.nn.distributed import rank_and_size
from bench.nn.sync_norm import HostSyncBatchNorm, synchronise
from tests.nn.ranks import on_ranks

SHARES = (slice(0, 3), slice(3, 10))
NORMS = {
    "1d": (nn.BatchNorm1d, (10, 4), {}),
    "2d": (nn.BatchNorm2d, (10, 4, 3, 2), {"momentum": 0.3, "eps": 1e-3}),
    "without scale": (nn.BatchNorm1d, (10, 4), {"affine": False}),
    "mean of all steps": (nn.BatchNorm1d, (10, 4), {"momentum": None}),
}


def batch(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(shape, generator=draw, dtype=torch.float64) * 3 + 1 for _ in range(2))
    return x, y


def two_steps(name: str) -> dict[str, Any]:
    """Outputs and input gradients of this process's rows, summed parameter gradients, buffers."""
    make, shape, settings = NORMS[name]
    rank, size = rank_and_size()
    norm = make(4, **settings).double()
    with torch.no_grad():
        for i, p in enumerate(norm.parameters()):
            p.copy_(torch.arange(4.0) + i + 0.5)
    if size > 1:
        norm = synchronise(norm, "cpu")
        assert type(norm) is HostSyncBatchNorm
    own = SHARES[rank] if size > 1 else slice(None)
    for _ in range(2):
        x, weight = batch(shape)
        x = x[own].requires_grad_()
        norm.zero_grad()
        y = norm(x)
        (y.sin() * weight[own]).sum().backward()
    grads = [p.grad for p in norm.parameters()]
    for grad in grads if size > 1 else []:
        torch.distributed.all_reduce(grad)
    state = {k: v.clone() for k, v in norm.state_dict().items()}
    return {
        "y": y.detach(),
        "x": x.grad,
        "parameters": grads,
        "state": state,
        "eval": norm.eval()(x).detach(),
    }


def every_norm() -> dict[str, Any]:
    return {name: two_steps(name) for name in NORMS}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(tmp_path_factory.mktemp("pair"), 2, every_norm)


@pytest.mark.parametrize("name", NORMS)
def test_two_processes_equal_one(pair: list[dict[str, Any]], name: str) -> None:
    whole, parts = two_steps(name), [rank[name] for rank in pair]
    for what in ("y", "x", "eval"):
        assert torch.allclose(
            torch.cat([p[what] for p in parts]), whole[what], rtol=1e-10, atol=1e-12
        )
    for part in parts:
        assert all(
            torch.allclose(a, b)
            for a, b in zip(part["parameters"], whole["parameters"], strict=True)
        )
        assert part["state"].keys() == whole["state"].keys()
        assert all(torch.allclose(v, whole["state"][k]) for k, v in part["state"].items())


def test_on_one_process_it_is_batch_norm_with_the_same_state() -> None:
    plain, synced = (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double() for _ in range(2))
    synced.load_state_dict(plain.state_dict())
    assert list(synchronise(synced, "cpu").state_dict()) == list(plain.state_dict())
    x, _ = batch((10, 4))
    assert torch.equal(synced(x), plain(x))
    assert torch.equal(synced[1].running_var, plain[1].running_var)


def test_norms_are_replaced_wherever_they_stand_and_keep_their_tensors() -> None:
    shared = nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)
    network = nn.Sequential(nn.Sequential(shared, nn.ReLU()), shared, nn.BatchNorm1d(4).eval())
    before = dict(network.state_dict(keep_vars=True))
    assert synchronise(network, "cpu") is network
    after = dict(network.state_dict(keep_vars=True))
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert network[0][0] is network[1]  # it counts the batches of both places
    assert [type(network[i]) for i in (1, 2)] == [HostSyncBatchNorm] * 2
    assert (network[1].eps, network[1].momentum) == (1e-3, 0.3)
    assert (network[1].training, network[2].training) == (True, False)


def test_on_a_gpu_it_is_torchs_own() -> None:
    assert type(synchronise(nn.BatchNorm2d(3), "cuda")) is nn.SyncBatchNorm
