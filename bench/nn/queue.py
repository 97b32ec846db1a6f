"""A first-in, first-out queue of keys, the negatives of momentum contrast."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAPER_LENGTH, PAPER_IMAGES = 65536, 118287  # MoCo v2's queue and COCO train2017


def queue_length(longest: int, n_images: int, batch: int) -> int:
    """Keys in the queue: `longest`, but on a small set about half its images.

    K = n_images x 65536 / 118287 (the published queue's share of COCO, 55 %), rounded down to a
    multiple of the batch, at least 4 batches, never more than `longest`. Without this rule the
    keys of a small set would be many epochs old. A set of fewer than 8 batches may get a queue
    longer than itself.
    """
    share = n_images * PAPER_LENGTH // PAPER_IMAGES
    return min(longest, max(4 * batch, share // batch * batch))


class KeyQueue(nn.Module):
    """K unit vectors of D dimensions, at first random ones; new keys replace the oldest.

    `keys` (K, D) and `position` (where the next key goes) are persistent buffers:
    a resumed training goes on with the same queue. K need not be a multiple of the batch;
    overflow says what becomes of keys past the end: "wrap" goes on at the start (of more than K
    keys at once the last K stay), "drop" loses them and starts again at row 0 (paper 003's code).
    """

    keys: Tensor
    position: Tensor

    def __init__(self, length: int, dim: int, overflow: Literal["wrap", "drop"] = "wrap") -> None:
        super().__init__()
        self.overflow = overflow
        self.register_buffer("keys", F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.keys)

    def negatives(self) -> Tensor:
        """(K, D), a copy: the backward pass needs the keys as they were before `enqueue`."""
        return self.keys.clone()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write (N, D) unit vectors over the N oldest, in order; N may be 0."""
        if self.overflow == "drop":
            keys = keys[: len(self) - int(self.position)]
        at = (self.position + torch.arange(len(keys), device=self.keys.device)) % len(self)
        self.keys[at[-len(self) :]] = keys.detach().to(self.keys.dtype)[-len(self) :]
        self.position.add_(len(keys)).remainder_(len(self))
