"""The queue of keys: order, wrap-around, length, what a checkpoint holds."""

from __future__ import annotations

from collections import deque
from typing import Literal

import pytest
import torch
from lightly.loss.memory_bank import MemoryBankModule
from torch.nn import functional as F

from bench.nn.queue import KeyQueue, queue_length


def unit(n: int, dim: int = 8) -> torch.Tensor:
    return F.normalize(torch.randn(n, dim), dim=1)


def test_equals_lightlys_bank_where_batches_divide_it() -> None:
    torch.manual_seed(0)
    queue, bank = KeyQueue(12, 8), MemoryBankModule((12, 8), feature_dim_first=False)
    bank.bank = queue.negatives()
    for _ in range(7):
        keys = unit(4)
        _, before = bank(keys, update=True)
        assert torch.equal(queue.negatives(), before)
        queue.enqueue(keys)
    assert torch.equal(queue.keys, bank.bank)
    assert int(queue.position) == int(bank.bank_ptr)


@pytest.mark.parametrize(("length", "batch"), [(10, 4), (7, 7), (5, 8), (1, 3), (16, 5)])
def test_holds_the_last_keys_whatever_the_batch(length: int, batch: int) -> None:
    """Nothing is dropped at the end: the content is that of a deque of the same length."""
    torch.manual_seed(0)
    queue = KeyQueue(length, 8)
    want = deque(queue.negatives(), maxlen=length)
    for turn in range(6):
        keys = unit(batch)
        queue.enqueue(keys)
        want.extend(keys)
        order = (int(queue.position) + torch.arange(length)) % length
        assert torch.equal(queue.keys[order], torch.stack(list(want))), (
            f"oldest first, turn {turn}"
        )
        assert 0 <= int(queue.position) < length


@pytest.mark.parametrize("overflow", ["wrap", "drop"])
@pytest.mark.parametrize("sizes", [(3, 4, 0, 2, 6, 7, 1, 5), (19, 3, 30, 2)])
def test_batches_of_any_size_equal_a_list(
    overflow: Literal["wrap", "drop"], sizes: tuple[int, ...]
) -> None:
    """ "drop" is paper 003's code: what does not fit before the end is lost."""
    queue = KeyQueue(7, 4, overflow)
    rows, place = queue.keys.tolist(), 0
    for n in sizes:
        keys = unit(n, 4)
        for row in keys.tolist():
            rows[place % 7] = row
            place += 1
            if overflow == "drop" and place % 7 == 0:
                break
        place %= 7
        queue.enqueue(keys)
        assert queue.keys.tolist() == rows
        assert int(queue.position) == place


def test_starts_with_random_unit_vectors_of_the_seed() -> None:
    def made(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return KeyQueue(512, 16).keys

    assert torch.equal(made(0), made(0))
    assert not torch.equal(made(0), made(1))
    torch.testing.assert_close(made(0).norm(dim=1), torch.ones(512))
    off_diagonal = made(0) @ made(0).T - torch.eye(512)
    assert float(off_diagonal.std()) == pytest.approx(1 / 4, rel=0.02), (
        "random directions: 1 / sqrt(16)"
    )


def test_is_saved_and_restored_with_its_position() -> None:
    torch.manual_seed(0)
    first, second = KeyQueue(6, 8), KeyQueue(6, 8)
    first.enqueue(unit(4))
    second.load_state_dict(first.state_dict())
    keys = unit(4)
    first.enqueue(keys)
    second.enqueue(keys)
    assert torch.equal(first.keys, second.keys)
    assert int(first.position) == int(second.position) == 2


def test_enqueue_after_the_logits_leaves_their_gradient_alone() -> None:
    """Backward comes after enqueue; it must see the negatives as the logits did."""
    torch.manual_seed(0)
    queue = KeyQueue(6, 8)
    negatives = queue.keys.clone()
    q = unit(4).requires_grad_()
    logits = q @ queue.negatives().T
    queue.enqueue(unit(6))
    logits.sum().backward()
    assert q.grad is not None
    torch.testing.assert_close(q.grad, negatives.sum(0).expand(4, -1))


@pytest.mark.parametrize(
    ("longest", "images", "batch", "want"),
    [
        (65536, 118287, 256, 65536),  # COCO train2017: the published length
        (65536, 241_690, 256, 65536),  # COCO with its unlabelled images: never longer
        (65536, 5011, 256, 2560),  # VOC07 trainval: 2776, rounded down to a multiple of 256
        (65536, 320, 32, 160),
        (65536, 24, 8, 32),  # at least four batches, even if that is more than the set
        (1000, 118287, 256, 1000),  # as asked: a smaller setting wins
        (100, 24, 32, 100),
    ],
)
def test_length_scales_with_the_set(longest: int, images: int, batch: int, want: int) -> None:
    assert queue_length(longest, images, batch) == want
