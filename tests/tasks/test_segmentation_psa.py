"""Point-wise spatial attention: collecting, distributing, maps of any size, the head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import BadInput
from tasks._segmentation.psa import PsaHead, attend, reindex


def loop_attention(
    features: np.ndarray, maps: np.ndarray, mask: tuple[int, int], way: str, normalise: str
) -> np.ndarray:
    """One image, written from the paper: every position i has a map over offsets; the H x W window
    of it that is centred on i is its attention over all positions j. float64."""
    _, height, width = features.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    attention = np.zeros((len(places), len(places)))  # [i, j]
    for i, (iy, ix) in enumerate(places):
        own = maps[:, iy, ix].reshape(mask)
        for j, (jy, jx) in enumerate(places):
            row, column = jy - iy + mask[0] // 2, jx - ix + mask[1] // 2
            if 0 <= row < mask[0] and 0 <= column < mask[1]:
                attention[i, j] = own[row, column]
    made = np.zeros_like(features)
    for target in range(len(places)):
        # collect: the target's own attention to all; distribute: all others' attention to the
        # target
        weights = attention[target] if way == "collect" else attention[:, target]
        if normalise == "softmax":
            weights = np.exp(weights - weights.max())
            weights = weights / weights.sum()
        else:
            weights = weights / len(places)
        ty, tx = places[target]
        for source, (sy, sx) in enumerate(places):
            made[:, ty, tx] += weights[source] * features[:, sy, sx]
    return made


@pytest.mark.parametrize("mask", [(5, 7), (3, 5), (9, 11)], ids=["whole", "short", "long"])
@pytest.mark.parametrize("way", ["collect", "distribute"])
@pytest.mark.parametrize("normalise", ["softmax", "count"])
def test_attention_equals_a_plain_loop(mask: tuple[int, int], way: Any, normalise: Any) -> None:
    """3 x 4 positions: a map of 5 x 7 is the paper's (2H - 1)(2W - 1)."""
    rng = np.random.default_rng(mask[0])
    features, maps = (
        rng.normal(size=(2, 6, 3, 4)),
        2 * rng.normal(size=(2, mask[0] * mask[1], 3, 4)),
    )
    found = attend(
        torch.from_numpy(features), torch.from_numpy(maps), mask, way, normalise
    ).numpy()
    for one, own, expected in zip(found, maps, features, strict=True):
        np.testing.assert_allclose(
            one, loop_attention(expected, own, mask, way, normalise), atol=1e-12
        )


def test_an_over_completed_map_reaches_every_position_and_no_smaller_one_does() -> None:
    maps = torch.ones(1, 5 * 7, 3, 4)
    assert bool((reindex(maps, (5, 7)) == 1).all())
    assert bool((reindex(maps[:, :15], (3, 5)) == 0).any())


def test_collect_looks_where_the_map_points_and_distribute_sends_there() -> None:
    """Every map points one to the right: collecting takes the right neighbour's features,
    distributing gives one's own to the right neighbour."""
    features = torch.arange(12.0).view(1, 1, 3, 4)
    maps = torch.zeros(1, 5, 7, 3, 4)
    maps[0, 2, 4] = 100.0
    maps = maps.flatten(1, 2)
    collected = attend(features, maps, (5, 7), "collect", "softmax")
    assert torch.allclose(collected[0, 0, :, :3], features[0, 0, :, 1:])
    sent = attend(features, maps, (5, 7), "distribute", "softmax")
    assert torch.allclose(sent[0, 0, :, 1:], features[0, 0, :, :3])
    assert float(sent[0, 0, 1, 0]) == pytest.approx(5.5), "nobody sends here: the mean of all"


@pytest.mark.parametrize(("size", "shrink"), [((9, 5), 2), ((8, 6), 2), ((7, 6), 1), ((1, 1), 2)])
def test_the_head_at_any_size(size: tuple[int, int], shrink: int) -> None:
    torch.manual_seed(0)
    head = PsaHead(12, 8, 4, 0.0, (5, 7), shrink).eval()
    x = torch.randn(2, 12, *size, requires_grad=True)
    found = head(x)
    assert found.shape == (2, 4, *size)
    assert torch.allclose(head(x[1:]), found[1:], atol=1e-5), "an image does not see the others"
    found.sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in head.parameters())


def test_a_map_without_a_centre() -> None:
    with pytest.raises(BadInput, match=r"its sides are odd, got \(4, 5\); try: 97,97"):
        PsaHead(12, 8, 4, 0.0, (4, 5))
