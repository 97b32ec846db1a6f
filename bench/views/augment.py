"""Batched augmentation on the device: per-sample parameters,
only on the samples that need an operation.

Order: flip, jitter (four operations in a per-sample order), grey, blur, solarize, normalise; blur
comes before jitter where a sample's `blur_first` is set. Each operation equals torchvision's
functional one on float images in [0, 1] with the same parameter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.views.sample import FIELDS, ORDERS

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMA = (0.2989, 0.587, 0.114)  # torchvision's, ITU-R 601-2
AT = {name: i for i, name in enumerate(FIELDS)}


def augment(images: Tensor, params: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 and (B, len(FIELDS)) float32 -> (B, 3, S, S)
    float32, normalised (ImageNet)."""
    x = images.to(torch.float32).div_(255).contiguous()
    x = _where(x, params[:, AT["flip"]] > 0, lambda part, at: part.flip(-1))
    sigma, early = params[:, AT["sigma"]], params[:, AT["blur_first"]] > 0
    x = blur(x, torch.where(early, sigma, 0))
    x = jitter(x, params)
    x = _where(x, params[:, AT["grey"]] > 0, lambda part, at: grey(part).expand_as(part))
    x = blur(x, torch.where(early, 0, sigma))
    threshold = params[:, AT["solarize"]]
    x = _where(x, threshold <= 255, lambda part, at: solarize(part, threshold[at]))
    return normalise(x)


def normalise(x: Tensor) -> Tensor:
    """[0, 1] -> ImageNet mean and standard deviation."""
    mean, std = x.new_tensor(MEAN).view(3, 1, 1), x.new_tensor(STD).view(3, 1, 1)
    return (x - mean) / std


def _where(x: Tensor, mask: Tensor, operation) -> Tensor:  # type: ignore[no-untyped-def]
    """`operation(x[at], at)` for the samples in `mask`, the others as they are."""
    at = mask.nonzero().flatten()
    if len(at) == 0:
        return x
    if len(at) == len(x):
        return operation(x, at)  # type: ignore[no-any-return]
    return x.index_copy(0, at, operation(x[at], at).contiguous())


def jitter(x: Tensor, params: Tensor) -> Tensor:
    """Colour jitter of the samples whose `jitter` is set, each in its own order of operations."""
    orders = torch.tensor(ORDERS, device=x.device)[params[:, AT["order"]].long()]
    active = params[:, AT["jitter"]] > 0
    operations = (
        lambda part, at: blend(part, torch.zeros_like(part), params[at, AT["brightness"]]),
        lambda part, at: blend(
            part, grey(part).mean((1, 2, 3), keepdim=True), params[at, AT["contrast"]]
        ),
        lambda part, at: blend(part, grey(part), params[at, AT["saturation"]]),
        lambda part, at: hue(part, params[at, AT["hue"]]),
    )
    for turn in range(4):
        for kind, operation in enumerate(operations):
            x = _where(x, active & (orders[:, turn] == kind), operation)
    return x


def blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """factor x + (1 - factor) other, clamped to [0, 1]; factor (B,)."""
    f = factor.view(-1, 1, 1, 1)
    return (x * f + other * (1 - f)).clamp_(0, 1)


def grey(x: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W) luma."""
    r, g, b = x.unbind(1)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b).unsqueeze(1)


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` (B,) turns in HSV; saturation and value stay."""
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    r, g, b = x.unbind(1)
    rest = torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    h = torch.where(value == r, (g - b) / safe, rest) + 6 * shift.view(-1, 1, 1)
    turned = torch.empty_like(x)
    for channel, n in enumerate((5.0, 3.0, 1.0)):  # V - C clamp(min(k, 4 - k), 0, 1)
        k = h + n
        k = k - 6 * torch.floor(k / 6)  # k mod 6; torch.remainder takes three times as long
        turned[:, channel] = value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)
    return turned


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, (B,) sigmas in pixels (0: none), reflected borders, radius ceil(3 sigma).

    torchvision and the papers' code use a fixed 23-pixel kernel or PIL's box approximation; a
    radius of 3 sigma holds 99.7 % of the weight and is several times cheaper at small sizes.
    """
    at = (sigma > 0).nonzero().flatten()
    if len(at) == 0:
        return x
    radius = min(max(1, math.ceil(3 * float(sigma.max()))), x.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma[at, None]) ** 2)
    kernel = kernel * (offsets.abs() <= (3 * sigma[at, None]).ceil())
    kernel = kernel / kernel.sum(1, keepdim=True)
    part = x[at]
    n, c, height, width = part.shape
    weight = kernel.repeat_interleave(c, 0)
    flat = part.reshape(1, n * c, height, width)
    flat = F.pad(flat, (radius, radius, radius, radius), mode="reflect")
    flat = F.conv2d(flat, weight.view(n * c, 1, 1, -1), groups=n * c)
    flat = F.conv2d(flat, weight.view(n * c, 1, -1, 1), groups=n * c)
    return x.index_copy(0, at, flat.view(n, c, height, width))


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert values at or above `threshold` (B,) on the 0-255 scale."""
    return torch.where(x >= (threshold / 255).view(-1, 1, 1, 1), 1 - x, x)
