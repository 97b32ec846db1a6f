"""What a frozen backbone is shown: resize and crop without randomness, as the evaluation protocols
say.

Tasks declare their features with a `Transform`, so PyTorch is imported when one is applied.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Transform:
    """Short side to `resize` pixels, then the whole image squashed to `size` x `size` ("squash"),
    or the central `size` x `size` ("center"). Bilinear, antialiased, as torchvision does on PIL
    images."""

    mode: Literal["squash", "center"]
    resize: int
    size: int

    def identity(self) -> dict[str, Any]:
        """What a key records of it."""
        return asdict(self)

    def __call__(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (3, size, size) uint8."""
        import torch

        pixels = image if image.flags.writeable else image.copy()
        # the batch dimension first: only so do the strides say channels-last to `interpolate`,
        # which then keeps the pixels together instead of writing planes, the same numbers in 2/3
        # of the time
        x = torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
        x = _resize(x, short_side(x.shape[-2], x.shape[-1], self.resize))
        if self.mode == "squash":
            return _resize(x, (self.size, self.size))[0]
        return _centre(x, self.size)[0]


class Normaliser:
    """(B, 3, H, W) uint8 -> float32 on `device`, (x - 255 MEAN) / (255 STD) of each channel,
    channels-last.

    On a CPU the result lies in memory that the next call overwrites: taking 38 MB from the system
    for each batch costs more than the arithmetic.
    """

    def __init__(self, device: torch.device) -> None:
        import torch

        from bench.views.augment import MEAN, STD

        self.device = device
        self.mean, self.std = (
            255 * torch.tensor(numbers, device=device) for numbers in (MEAN, STD)
        )
        self.kept = torch.empty(0)

    def __call__(self, images: Tensor) -> Tensor:
        import torch

        x = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        if self.device.type != "cpu":
            return x.float().sub_(self.mean.view(3, 1, 1)).div_(self.std.view(3, 1, 1))
        n, _, height, width = x.shape
        if self.kept.shape[1:] != (height, 3 * width) or len(self.kept) < n:
            self.kept = torch.empty(n, height, 3 * width)
        # one image at a time stays in the cache; whole rows, since a loop over 3 channels is 4
        # times as slow
        mean, std = self.mean.repeat(width), self.std.repeat(width)
        for target, pixels in zip(
            self.kept, x.permute(0, 2, 3, 1).reshape(n, height, 3 * width), strict=False
        ):
            target.copy_(pixels).sub_(mean).div_(std)
        return self.kept[:n].view(n, height, width, 3).permute(0, 3, 1, 2)


def short_side(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) with the short side at `short`, the long side rounded down, as torchvision's
    Resize."""
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    from torch.nn import functional as F

    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


def _centre(x: Tensor, size: int) -> Tensor:
    """torchvision's CenterCrop: offsets rounded half to even, zeros around an image that is
    smaller."""
    from torch.nn import functional as F

    height, width = x.shape[-2:]
    if height < size or width < size:
        left, top = max(size - width, 0) // 2, max(size - height, 0) // 2
        x = F.pad(x, (left, max(size - width, 0) - left, top, max(size - height, 0) - top))
        height, width = x.shape[-2:]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return x[..., top : top + size, left : left + size]
