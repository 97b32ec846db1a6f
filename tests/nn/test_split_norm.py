"""Split batch norm equals separate batch norms on the groups."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bench.nn.backbones import build_backbone
from bench.nn.split_norm import SplitBatchNorm, group_count, split_batch_norm


def made(channels: int, groups: int) -> tuple[nn.BatchNorm2d, SplitBatchNorm]:
    """A batch norm with non-trivial weights, and its split twin."""
    norm = nn.BatchNorm2d(channels).double()
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    return norm, SplitBatchNorm(copy.deepcopy(norm), groups)


@pytest.mark.parametrize(
    ("batch", "sizes"), [(8, [2] * 4), (11, [3, 3, 3, 2]), (5, [3, 2]), (3, [3])]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_a_batch_norm_per_group(
    batch: int, sizes: list[int], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    norm, split = made(3, 4)
    x = torch.randn(batch, 3, 4, 5, dtype=torch.float64).to(memory_format=layout)
    for part in x:
        part += torch.randn(3, 1, 1)  # images differ, so the grouping shows
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    slope = torch.randn_like(x)
    out = split(mine)
    (out * slope).sum().backward()

    norms = [copy.deepcopy(norm) for _ in sizes]
    want = torch.cat([n(part) for n, part in zip(norms, theirs.split(sizes), strict=True)])
    (want * slope).sum().backward()
    torch.testing.assert_close(out, want)
    assert out.is_contiguous(memory_format=layout)
    torch.testing.assert_close(mine.grad, theirs.grad)
    for name in ("weight", "bias"):
        grads = [getattr(n, name).grad for n in norms]
        torch.testing.assert_close(getattr(split, name).grad, torch.stack(grads).sum(0))
    for name in ("running_mean", "running_var"):
        moved = torch.stack([getattr(n, name) for n in norms]).mean(0)
        torch.testing.assert_close(getattr(split, name), moved)
    assert int(split.num_batches_tracked) == 1


def test_one_group_and_eval_mode_are_torchs() -> None:
    torch.manual_seed(0)
    norm, split = made(3, 1)
    x = torch.randn(6, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(split(x), norm(x))
    assert all(torch.equal(v, norm.state_dict()[k]) for k, v in split.state_dict().items())
    norm.eval()
    split.eval()
    torch.testing.assert_close(split(x), norm(x))
    assert int(split.num_batches_tracked) == 1, "eval mode leaves buffers alone"


def test_bfloat16_under_autocast() -> None:
    torch.manual_seed(0)
    split = SplitBatchNorm(nn.BatchNorm2d(4), 2)
    x = torch.randn(8, 4, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = split(x.bfloat16())
    assert out.dtype == torch.bfloat16
    want = torch.cat([nn.BatchNorm2d(4)(part) for part in x.chunk(2)])
    torch.testing.assert_close(out.float(), want, rtol=0.02, atol=0.03)
    assert split.running_mean.dtype == torch.float32


def test_backbone_keeps_torchvisions_state_dict() -> None:
    torch.manual_seed(0)
    plain = build_backbone("resnet18")
    want = {k: v.clone() for k, v in plain.state_dict().items()}
    split = split_batch_norm(plain, 8)
    state = split.state_dict()
    assert list(state) == list(want)
    assert all(torch.equal(v, want[k]) for k, v in state.items())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in split.modules())
    build_backbone("resnet18").load_state_dict(state, strict=True)


def test_synchronised_conversion_passes_it_over() -> None:
    """The engine synchronises batch norm over devices; groups must stay groups."""
    network = nn.Sequential(SplitBatchNorm(nn.BatchNorm2d(3), 2), nn.BatchNorm2d(3))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert [type(m) for m in converted] == [SplitBatchNorm, nn.SyncBatchNorm]


@pytest.mark.parametrize(
    ("groups", "batch", "devices", "want"),
    [
        (8, 256, 1, 8),
        (8, 32, 8, 1),
        (8, 32, 16, 1),
        (8, 64, 2, 4),
        (8, 12, 1, 6),
        (8, 4, 1, 2),
        (8, 3, 1, 1),
        (8, 1, 1, 1),
        (1, 64, 1, 1),
    ],
)
def test_group_count(groups: int, batch: int, devices: int, want: int) -> None:
    assert group_count(groups, batch, devices) == want


def test_momentum_none_is_refused() -> None:
    with pytest.raises(ValueError, match="running statistics"):
        SplitBatchNorm(nn.BatchNorm2d(3, momentum=None), 2)
