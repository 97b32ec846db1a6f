"""Self-EMD: the transport against linear programming, invariants of the distance, the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from scipy.optimize import linprog
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from methods.ssl.self_emd.transport import cross_reference, emd, transport_plan


def self_emd(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "self_emd").resolve(
        "tiny", {"hidden": 32, "out": 16, **settings}
    )


def exact(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """The optimum and a plan by linear programming: sum_n P_mn = a_m, sum_m P_mn = b_n."""
    m, n = cost.shape
    rows, columns = np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))
    found = linprog(
        cost.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=np.concatenate([a, b])
    )
    assert found.success
    return float(found.fun), found.x.reshape(m, n)


def problem(m: int, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(3, m, 6), torch.randn(3, n, 6)


@pytest.mark.parametrize(("m", "n"), [(4, 4), (9, 4), (1, 5)])
def test_distance_approaches_the_exact_optimum(m: int, n: int) -> None:
    x, y = problem(m, n)
    u, v = F.normalize(x, dim=-1), F.normalize(y, dim=-1)
    cost = (1 - u @ v.transpose(1, 2)).double().numpy()
    a, b = cross_reference(u, v).double().numpy(), cross_reference(v, u).double().numpy()
    best = np.array([exact(cost[i], a[i] / a[i].sum(), b[i] / b[i].sum())[0] for i in range(3)])
    errors = [np.abs(emd(x, y, eps, 2000).numpy() - best).max() for eps in (0.5, 0.05, 0.005)]
    assert errors[2] < 1e-3
    assert errors[2] <= errors[1] + 1e-5 <= errors[0] + 2e-5
    assert (emd(x, y, 0.05, 2000).numpy() >= best - 1e-4).all(), "no feasible plan costs less"


def test_plan_has_its_marginals_and_minimises_the_regularised_cost() -> None:
    torch.manual_seed(0)
    cost = torch.rand(3, 6, 5).double()
    a, b = (F.softmax(torch.randn(3, k).double(), 1) for k in (6, 5))
    plan = transport_plan(cost, a, b, 0.1, 500)
    assert torch.allclose(plan.sum(2), a, atol=1e-9)
    assert torch.allclose(plan.sum(1), b, atol=1e-9)
    # rank one: f_m + g_n, the condition of optimality
    log = plan.clamp(min=1e-300).log() + cost / 0.1
    inner = log - log[:, :1] - log[:, :, :1] + log[:, :1, :1]
    assert inner.abs().max() < 1e-6


def test_weights_against_a_loop_and_equal_where_nothing_agrees() -> None:
    x, y = (F.normalize(t, dim=-1) for t in problem(5, 3))
    found = cross_reference(x, y)
    for i in range(3):
        mean = y[i].double().mean(0)
        raw = [max(0.0, float(x[i, m].double() @ mean)) for m in range(5)]
        assert found[i].tolist() == pytest.approx([r / sum(raw) for r in raw], abs=1e-4)
    apart = cross_reference(x[:, :1].expand(-1, 4, -1), -x[:, :1])
    assert torch.allclose(apart, torch.full((3, 4), 0.25))


def test_distance_is_symmetric_zero_for_equal_sets_in_any_order_and_blind_to_length() -> None:
    x, y = problem(7, 5)
    assert torch.allclose(emd(x, y, 0.05, 500), emd(y, x, 0.05, 500), atol=1e-5)
    shuffled = x[:, torch.randperm(7)]
    assert emd(x, shuffled, 0.005, 500).abs().max() < 1e-3
    assert emd(x, y, 0.05, 500).min() > 0.1
    assert torch.allclose(emd(3 * x, y / 7, 0.05, 50), emd(x, y, 0.05, 50), atol=1e-5)
    order = [2, 0, 1]
    assert torch.allclose(emd(x[order], y[order], 0.05, 50), emd(x, y, 0.05, 50)[order], atol=1e-6)


def test_gradient_is_that_of_the_exact_optimum() -> None:
    """d EMD / d cos_mn = -P_mn for fixed marginals: the gradient by x of sum P (1 - cos) at the
    LP's plan."""
    x, y = problem(4, 4, seed=2)
    x = x.clone().requires_grad_(True)
    emd(x, y, 0.002, 3000).sum().backward()
    u, v = F.normalize(x.detach(), dim=-1), F.normalize(y, dim=-1)
    a, b = cross_reference(u, v).double().numpy(), cross_reference(v, u).double().numpy()
    cost = (1 - u @ v.transpose(1, 2)).double().numpy()
    plans = [exact(cost[i], a[i] / a[i].sum(), b[i] / b[i].sum())[1] for i in range(3)]
    again = x.detach().double().requires_grad_(True)
    cosine = F.cosine_similarity(again[:, :, None], y.double()[:, None], dim=-1)
    (torch.tensor(np.stack(plans)) * (1 - cosine)).sum().backward()
    assert torch.allclose(x.grad.double(), again.grad, atol=2e-3)


def test_survives_a_small_eps_and_extreme_features() -> None:
    x = torch.zeros(2, 4, 6)
    x[..., 0] = 1
    assert torch.isfinite(emd(x, -x, 1e-3, 100)).all()
    assert emd(x, -x, 1e-3, 100).tolist() == pytest.approx([2, 2], abs=1e-4)
    assert torch.isfinite(emd(x * 0, x, 0.05, 20)).all()


def batch(images: dict[str, torch.Tensor]) -> Batch:
    objects, index = torch.tensor([True, False, False, True]), torch.arange(4)
    return Batch(
        {r: Views(x, torch.zeros(4, 4), objects, index, objects) for r, x in images.items()}
    )


def test_one_location_is_byols_loss_as_lightly_computes_it() -> None:
    torch.manual_seed(0)
    network = self_emd().network(10)
    x1, x2 = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)  # a 1 x 1 map
    with torch.no_grad():
        p1, p2 = (
            network.predictor(network.projector(network.backbone.maps(x)))[..., 0, 0]
            for x in (x1, x2)
        )
        z1, z2 = (
            network.target_projector(network.target_backbone.maps(x))[..., 0, 0] for x in (x1, x2)
        )
    negative = NegativeCosineSimilarity()
    want = 4 + 2 * float(negative(p1, z2)) + 2 * float(negative(p2, z1))
    assert float(
        network.loss(batch({"view1": x1, "view2": x2}))["loss"].detach()
    ) == pytest.approx(want, abs=1e-4)


def test_loss_is_twice_the_exact_distance_both_ways() -> None:
    torch.manual_seed(0)
    network = self_emd(eps=0.002, sinkhorn=3000).network(10)
    x1, x2 = torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64)

    def local(maps: torch.Tensor) -> torch.Tensor:
        return F.normalize(maps.flatten(2).transpose(1, 2), dim=-1)

    with torch.no_grad():
        p = [
            local(network.predictor(network.projector(network.backbone.maps(x)))) for x in (x1, x2)
        ]
        z = [local(network.target_projector(network.target_backbone.maps(x))) for x in (x1, x2)]
    want = 0.0
    for u, v in ((p[0], z[1]), (p[1], z[0])):
        for i in range(4):
            s, t = u[i].double().numpy(), v[i].double().numpy()
            a, b = np.maximum(s @ t.mean(0), 0) + 1e-6, np.maximum(t @ s.mean(0), 0) + 1e-6
            want += 2 / 4 * exact(1 - s @ t.T, a / a.sum(), b / b.sum())[0]
    parts = network.loss(batch({"view1": x1, "view2": x2}))
    assert float(parts["loss"].detach()) == pytest.approx(want, abs=0.02)
    assert 0 < float(parts["std"]) < 1


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_are_online_only_with_small_views_of_another_map_size(heads: int) -> None:
    torch.manual_seed(0)
    network = self_emd().network(10, heads)
    images = {"view1": 64, "view2": 64, "small1": 32}
    network.loss(batch({r: torch.randn(4, 3, s, s) for r, s in images.items()}))["loss"].backward()
    assert all((p.grad is None) == n.startswith("target_") for n, p in network.named_parameters())
    with torch.no_grad():
        moved = [p.add_(1) for p in network.projector.parameters()]
    before = [p.clone() for p in network.target_projector.parameters()]
    network.after_step(0, 10)  # momentum .9
    for old, new, online in zip(before, network.target_projector.parameters(), moved, strict=True):
        assert torch.allclose(new, 0.9 * old + 0.1 * online, atol=1e-6)


def test_embedding_is_the_mean_of_the_projected_map() -> None:
    network = self_emd().network(10).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = network.projector(network.backbone.maps(x))
        assert torch.allclose(network.embed(x), maps.flatten(2).mean(2))
        assert maps.shape == (2, 16, 2, 2)
