"""LARS and the learning-rate schedules, as the methods' code has them."""

from __future__ import annotations

import pytest
from torch import nn

from bench.nn.optim import LARS
from bench.nn.schedules import lr_factor
from tests.methods.ssl.authors.arrays import Arrays, assert_near


@pytest.mark.parametrize("name", ["wd0", "wd5", "wd2"])
def test_lars_is_socos(name: str) -> None:
    """Six steps of a cosine rate; the matrix's gradient is 0 once, and one matrix starts at 0. The
    authors add 1e-8 to the gradient's norm, which shows in matrices."""
    arrays = Arrays("lars")
    matrix, vector, zeros = (
        nn.Parameter(arrays[f"in.{key}"]) for key in ("matrix", "vector", "zero_matrix")
    )
    groups = [
        {"params": [matrix, zeros], "weight_decay": arrays.number(f"{name}.weight_decay")},
        {"params": [vector], "weight_decay": 0.0},
    ]
    optimizer = LARS(
        groups,
        lr=1.0,
        momentum=arrays.number("momentum"),
        eta=arrays.number("trust_coefficient"),
    )
    for step, rate in enumerate(arrays["in.lr"].tolist()):
        for group in optimizer.param_groups:
            group["lr"] = rate
        matrix.grad = arrays["in.grad_matrix"][step]
        vector.grad = arrays["in.grad_vector"][step]
        zeros.grad = arrays["in.grad_zero_matrix"][step]
        optimizer.step()
        assert_near(matrix, arrays[f"out.{name}.matrix"][step], 2e-6)
        assert_near(zeros, arrays[f"out.{name}.zero_matrix"][step], 2e-6)
        assert_near(vector, arrays[f"out.{name}.vector"][step])


@pytest.mark.parametrize("name", ["byol", "simclr", "none"])
def test_cosine_per_epoch_is_mmcvs(name: str) -> None:
    """Warm-ups of 4 (as in ORL's configurations), 10 and 0 epochs."""
    arrays = Arrays("schedule_mmcv")
    answers = arrays[f"out.{name}.factor"]
    settings = (
        arrays.count(f"{name}.steps_per_epoch"),
        arrays.count(f"{name}.epochs"),
        arrays.number(f"{name}.warmup_epochs"),
        arrays.number(f"{name}.warmup_ratio"),
    )
    factors = [lr_factor(step, *settings, "epoch") for step in range(len(answers))]
    assert_near(factors, answers, 1e-13)


@pytest.mark.parametrize("name", ["long", "half", "none"])
def test_cosine_per_step_is_maes(name: str) -> None:
    """Warm-ups of 8, 2.5 and 0 epochs."""
    arrays = Arrays("schedule_mae")
    answers = arrays[f"out.{name}.factor"]
    settings = (
        arrays.count(f"{name}.steps_per_epoch"),
        arrays.count(f"{name}.epochs"),
        arrays.number(f"{name}.warmup_epochs"),
    )
    factors = [lr_factor(step, *settings, 0.0, "iter") for step in range(len(answers))]
    assert_near(factors, answers, 1e-13)
