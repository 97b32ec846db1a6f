"""The authors' answers are in float64, and so are the tests against them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything in float64. Some losses cast to float32 on purpose; that cast is held back, so
    that nothing but the formula is compared."""

    def stay(x: Tensor) -> Tensor:
        return x if x.is_floating_point() else x.double()

    monkeypatch.setattr(Tensor, "float", stay)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
