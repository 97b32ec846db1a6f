"""The one check of scores before they are ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bench.core.errors import StageFailed

if TYPE_CHECKING:
    from torch import Tensor

Scores = TypeVar("Scores", np.ndarray, "Tensor")


def require_finite(scores: Scores, what: str) -> Scores:
    """`scores`, of any shape, as they are; StageFailed where one is infinite or not a number.

    An argmax or a sort of such scores returns an order without an error, so that an evaluation of
    diverged weights or an overflow would look like a result.
    """
    if isinstance(scores, np.ndarray):
        bad = int((~np.isfinite(scores)).sum())
    else:
        import torch  # tasks are declared without it

        bad = int((~torch.isfinite(scores)).sum())
    if bad:
        total = int(np.prod(scores.shape))
        raise StageFailed(
            f"{bad} of {total} {what} are infinite or not a number, so they cannot be ranked; "
            "check the pretraining's loss, or lower the evaluation's learning rate"
        )
    return scores
