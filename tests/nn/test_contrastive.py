"""InfoNCE and its dense form: against lightly, a float64 loop, and cases whose value is known."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from lightly.models.utils import select_most_similar
from torch.nn import functional as F

from bench.nn.contrastive import correspondence, dense_info_nce, info_nce


def unit(*shape: int, dim: int = 1) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=dim)


def plain_info_nce(
    q: list[float], k: list[float], negatives: list[list[float]], tau: float
) -> float:
    """Equation 1 for one query, in Python's float64."""

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    top = math.exp(dot(q, k) / tau)
    return -math.log(top / (top + sum(math.exp(dot(q, m) / tau) for m in negatives)))


@pytest.mark.parametrize("tau", [0.07, 0.2, 1.0])
def test_equals_lightly_with_a_memory_bank(tau: float) -> None:
    torch.manual_seed(0)
    q, k, negatives = unit(8, 16), unit(8, 16), unit(40, 16)
    theirs = NTXentLoss(temperature=tau, memory_bank_size=(40, 16))
    theirs.memory_bank.bank = negatives.clone()
    assert float(info_nce(q, k, negatives, tau)) == pytest.approx(float(theirs(q, k)), rel=1e-5)


def test_gradient_is_cross_entropys_and_reaches_queries_only() -> None:
    torch.manual_seed(0)
    q, k, negatives = (unit(n, 16).double().requires_grad_() for n in (8, 8, 40))
    loss = info_nce(q, k, negatives, 0.2)
    loss.backward()
    assert k.grad is None
    assert negatives.grad is None
    other = q.detach().clone().requires_grad_()
    logits = (
        torch.cat([(other * k.detach()).sum(1, keepdim=True), other @ negatives.detach().T], 1)
        / 0.2
    )
    want = F.cross_entropy(logits, torch.zeros(8, dtype=torch.long))
    want.backward()
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=1e-12)
    assert q.grad is not None
    torch.testing.assert_close(q.grad, other.grad)


@pytest.mark.parametrize("length", [1, 7, 65536])
def test_collapsed_outputs_give_log_of_all_logits(length: int) -> None:
    one = torch.full((1, 4), 0.5)
    loss = info_nce(one.expand(3, 4), one.expand(3, 4), one.expand(length, 4), 0.2)
    assert float(loss) == pytest.approx(math.log(length + 1), rel=1e-6)


def test_known_values() -> None:
    q = torch.eye(4)[:2]
    orthogonal = torch.eye(4)[2:]
    # positive 1, both negatives 0: log(1 + 2 exp(-1 / tau))
    assert float(info_nce(q, q, orthogonal, 0.5)) == pytest.approx(
        math.log(1 + 2 * math.exp(-2)), rel=1e-6
    )
    # the least value: negatives opposite; the largest: the positive opposite, a negative equal
    assert float(info_nce(q[:1], q[:1], -q[:1], 0.5)) == pytest.approx(
        math.log(1 + math.exp(-4)), rel=1e-6
    )
    assert float(info_nce(q[:1], -q[:1], q[:1], 0.02)) == pytest.approx(100.0, rel=1e-6)


def test_logits_are_float32_under_autocast() -> None:
    torch.manual_seed(0)
    q, k, negatives = unit(8, 16), unit(8, 16), unit(40, 16)
    want = info_nce(q, k, negatives, 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(info_nce(q, k, negatives, 0.07), want)


def test_correspondence_is_the_most_similar_cell() -> None:
    torch.manual_seed(0)
    fq, fk = 3 * torch.randn(4, 6, 5), torch.rand(4, 6, 7) * torch.randn(4, 6, 7)
    match = correspondence(fq, fk)
    for b in range(4):
        for i in range(5):
            similar = [
                float(F.cosine_similarity(fq[b, :, i], fk[b, :, j], dim=0)) for j in range(7)
            ]
            assert int(match[b, i]) == max(range(7), key=similar.__getitem__)
    scales = torch.rand(4, 1, 7) + 0.1
    assert torch.equal(correspondence(fq, fk * scales), match), "lengths do not matter"


def test_matched_keys_are_those_lightly_selects() -> None:
    torch.manual_seed(0)
    fq, fk, keys = torch.randn(4, 6, 9), torch.randn(4, 6, 9), unit(4, 16, 9)
    match = correspondence(fq, fk)
    mine = keys.gather(2, match.unsqueeze(1).expand(-1, 16, -1)).transpose(1, 2)
    unit_q, unit_k = (F.normalize(f.transpose(1, 2), dim=2) for f in (fq, fk))
    assert torch.equal(mine, select_most_similar(unit_q, unit_k, keys.transpose(1, 2)))


def test_dense_loss_equals_the_plain_loop() -> None:
    torch.manual_seed(0)
    q, k, negatives = unit(3, 8, 4), unit(3, 8, 6), unit(11, 8)
    match = torch.randint(6, (3, 4))
    rows = [
        plain_info_nce(
            q[b, :, i].tolist(), k[b, :, int(match[b, i])].tolist(), negatives.tolist(), 0.2
        )
        for b in range(3)
        for i in range(4)
    ]
    loss = dense_info_nce(q, k, match, negatives, 0.2)
    assert float(loss) == pytest.approx(sum(rows) / 12, rel=1e-6)


def test_dense_loss_of_one_cell_is_info_nce() -> None:
    torch.manual_seed(0)
    q, k, negatives = unit(5, 8), unit(5, 8), unit(11, 8)
    match = correspondence(torch.randn(5, 6, 1), torch.randn(5, 6, 1))
    dense = dense_info_nce(q[..., None], k[..., None], match, negatives, 0.2)
    assert float(dense) == pytest.approx(float(info_nce(q, k, negatives, 0.2)), rel=1e-6)


def test_no_query_costs_nothing_and_is_not_nan() -> None:
    q = torch.zeros(0, 8, requires_grad=True)
    loss = info_nce(q, torch.zeros(0, 8), unit(5, 8), 0.2)
    loss.backward()
    assert float(loss.detach()) == 0
    assert q.grad is not None
