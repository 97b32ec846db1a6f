"""Rows of two processes: equal and different numbers of them, with and without gradient."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench.nn.distributed import (
    draw_rows,
    draw_uneven,
    gather_rows,
    gather_uneven,
    gather_with_gradient,
    mean_divisor,
    rank_and_size,
)
from tests.nn.ranks import on_ranks


def _exchange() -> dict[str, Tensor]:
    rank, _ = rank_and_size()
    x = torch.full((2, 3), float(rank + 1), requires_grad=True)
    everyone = gather_with_gradient(x)
    (everyone * (rank + 1)).sum().backward()
    assert x.grad is not None
    return {
        "rows": gather_rows(x.detach()),
        "same": everyone.detach(),
        "gradient": x.grad,
        "uneven": gather_uneven(torch.full((3 * rank + 1, 2), float(rank))),
        "one": gather_uneven(torch.full((rank, 2), 5.0)),
        "none": gather_uneven(torch.zeros(0, 2)),
    }


def test_rows_come_in_the_order_of_ranks(tmp_path: Path) -> None:
    for found in on_ranks(tmp_path, 2, _exchange):
        assert (
            found["rows"].tolist() == found["same"].tolist() == [[1.0] * 3] * 2 + [[2.0] * 3] * 2
        )
        assert found["uneven"].tolist() == [[0, 0]] + [[1, 1]] * 4
        assert found["one"].tolist() == [[5, 5]]
        assert found["none"].shape == (0, 2)
        assert found["gradient"].tolist() == [[3.0] * 3] * 2, "what both losses ask of it: 1 + 2"


def test_one_process_keeps_its_rows() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert gather_with_gradient(x) is x
    assert torch.equal(gather_uneven(x), x)
    assert not gather_uneven(x).requires_grad


def _shares() -> dict[str, Tensor]:
    rank, _ = rank_and_size()
    n, cpu = 3 * rank + 1, torch.device("cpu")

    def draw(rows: int) -> Tensor:
        torch.manual_seed(3)
        return torch.rand(rows, 2)

    return {
        "uneven": draw_uneven(draw, n, cpu),
        "rows": draw_rows(draw, 2),
        "parts": torch.cat([draw_rows(draw, 1, part, 2) for part in (0, 1)]),
        "divisor": mean_divisor(torch.tensor(n)),
    }


def test_numbers_of_rows_are_those_of_one_process_and_sums_are_divided_for_the_mean(
    tmp_path: Path,
) -> None:
    """1 and 4 rows: numbers as for 5 rows at once, sums divided by 5 / 2;
    parts of a share as the share."""
    found = on_ranks(tmp_path, 2, _shares)
    torch.manual_seed(3)
    assert torch.equal(torch.cat([f["uneven"] for f in found]), torch.rand(5, 2))
    torch.manual_seed(3)
    assert torch.equal(torch.cat([f["rows"] for f in found]), torch.rand(4, 2))
    assert all(torch.equal(f["parts"], f["rows"]) for f in found)
    assert [float(f["divisor"]) for f in found] == [2.5, 2.5]
    assert float(mean_divisor(torch.tensor(0))) == 1.0
