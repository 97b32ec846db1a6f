"""What a frozen backbone is shown: resize and crop without randomness, as the evaluation protocols say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Transform:
    """Short side to `resize` pixels, then the whole image squashed to `size` x `size` ("squash"), or the
    central `size` x `size` ("center"). Bilinear, antialiased, as torchvision does on PIL images."""

    mode: Literal["squash", "center"]
    resize: int
    size: int

    def identity(self) -> dict[str, Any]:
        """What a key records of it."""
        return asdict(self)

    def __call__(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (3, size, size) uint8."""
        pixels = image if image.flags.writeable else image.copy()
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        x = _resize(x, short_side(x.shape[-2], x.shape[-1], self.resize))
        if self.mode == "squash":
            return _resize(x, (self.size, self.size))[0]
        return _centre(x, self.size)[0]


def short_side(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) with the short side at `short`, the long side rounded down, as torchvision's Resize."""
    if height <= width:
        return short, int(short * width / height)
    return int(short * height / width), short


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


def _centre(x: Tensor, size: int) -> Tensor:
    """torchvision's CenterCrop: offsets rounded half to even, zeros around an image that is smaller."""
    height, width = x.shape[-2:]
    if height < size or width < size:
        left, top = max(size - width, 0) // 2, max(size - height, 0) // 2
        x = F.pad(x, (left, max(size - width, 0) - left, top, max(size - height, 0) - top))
        height, width = x.shape[-2:]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return x[..., top : top + size, left : left + size]
