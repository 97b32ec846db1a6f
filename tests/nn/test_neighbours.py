"""Rows of unit length, and the nearest of them, whatever the unit of the features."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bench.nn.neighbours import nearest, unit_rows
from tasks._frozen.knn import knn_scores

ROWS = torch.randn(40, 24, generator=torch.Generator().manual_seed(0)) + 1


def test_usual_rows_are_normalised_to_the_bit() -> None:
    for unit in (1.0, 1e-6, 3e5):
        assert torch.equal(unit_rows(ROWS * unit), F.normalize(ROWS * unit, dim=1))
    assert torch.equal(unit_rows(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("power", [-120, -80, -60, 60, 100, 120])
def test_c_neighbours_do_not_depend_on_the_unit(power: int) -> None:
    """Squares of such numbers are 0 or infinite in float32; then all cosines are 0, and the
    neighbours are the first rows."""
    scaled = ROWS * 2.0**power
    positions, cosines = nearest(scaled, 5)
    expected, expected_cosines = nearest(ROWS, 5)
    assert torch.equal(positions, expected)
    assert torch.equal(cosines, expected_cosines)
    labels = torch.arange(40) % 4
    votes = knn_scores(scaled[:30], labels[:30], scaled[30:], 4, 5, 0.07)
    assert torch.equal(votes, knn_scores(ROWS[:30], labels[:30], ROWS[30:], 4, 5, 0.07))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    rows = ROWS[:3].clone()
    rows[1, 2] = bad
    assert not torch.isfinite(unit_rows(rows)[1]).all()
    assert torch.isfinite(unit_rows(rows)[[0, 2]]).all()
