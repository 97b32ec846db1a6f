"""Networks that timm builds, as backbones of bench: one vector, one map, the maps of their depths.

timm's weights expect the pixels that its configuration says (CLIP's mean and deviation, ...); the
tasks' images are normalised by ImageNet's, so the network converts them itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BadInput
from bench.nn.timm_names import PYRAMID, create, describe
from bench.views.augment import MEAN, STD


class TimmBackbone(nn.Module):
    """timm's network `net` without its classifier.

    `forward`: (B, 3, H, W) -> (B, D), what timm's own forward returns without a classifier: the
    pooling is the network's (class token, mean of the patches, mean of the map, with its last
    norm). `maps`: (B, C, h, w), the last map, after the last norm where it comes before pooling;
    of a plain transformer the patch tokens in their places. D = `feature_dim`.

    Images may have any size. A transformer's are resized (bilinear, antialiased) to the nearest
    multiples of its patch, and positions are resampled as timm does it. `input_scale` and
    `input_shift` (3,) turn ImageNet's normalisation into the network's; they are part of the state
    dict, next to timm's own keys under `net.`.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(self, name: str, output_stride: int = 32) -> None:
        super().__init__()
        self.name, self.shape = name, describe(name)
        self.net: Any = create(name, output_stride)
        self.feature_dim = self.shape.dim
        self.register_buffer("input_scale", torch.ones(3))
        self.register_buffer("input_shift", torch.zeros(3))

    def prepare(self, images: Tensor) -> Tensor:
        """The images as the network expects them."""
        step = self.shape.multiple
        if any(side % step for side in images.shape[-2:]):
            sides = [max(1, round(side / step)) * step for side in images.shape[-2:]]
            images = F.interpolate(
                images, sides, mode="bilinear", antialias=True, align_corners=False
            )
        scale, shift = (v.view(3, 1, 1) for v in (self.input_scale, self.input_shift))
        return images * scale + shift

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.prepare(images))  # type: ignore[no-any-return]

    def maps(self, images: Tensor) -> Tensor:
        """The last map, (B, C, h, w)."""
        shown = self.prepare(images)
        return self._to_map(self.net.forward_features(shown), shown, self.net.num_features)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The maps of strides 4, 8, 16 and 32, those of timm's `features_only`; BadInput where
        the network has others."""
        if not self.shape.pyramid:
            raise BadInput(f"{self.name} has no maps of strides {PYRAMID}")
        levels = len(self.shape.strides)
        features: list[Tensor] = self.net.forward_intermediates(
            self.prepare(images),
            indices=list(range(levels - 4, levels)),
            intermediates_only=True,
        )
        return features

    def stage_before_last(self, images: Tensor) -> Tensor:
        """The map of stride 16; the last stage is not run."""
        level = len(self.shape.strides) - 2
        (features,) = self.net.forward_intermediates(
            self.prepare(images), indices=[level], intermediates_only=True, stop_early=True
        )
        return features  # type: ignore[no-any-return]

    def depths(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Five maps, from the stem to the last, and the pooled features (B, D).

        The stem's is the first of five levels, or what the first stage or block is given. A plain
        transformer's others are after a quarter, a half, three quarters and all of its blocks, the
        last normalised.
        """
        shown, stem = self.prepare(images), list[Tensor]()
        levels = self._levels()
        hook = None
        if len(levels) == 3:
            first = next(_stages(self.net))
            hook = first.register_forward_pre_hook(lambda _, given: stem.append(given[0]))
        try:
            last, middle = self.net.forward_intermediates(shown, indices=sorted({*levels}))
        finally:
            if hook:
                hook.remove()
        at = dict(zip(sorted({*levels}), middle, strict=True))
        maps = [self._to_map(x, shown, self.shape.widths[0]) for x in stem]
        maps += [at[level] for level in levels]
        maps.append(self._to_map(last, shown, self.net.num_features))
        return maps, self.net.forward_head(last, pre_logits=True)

    def _levels(self) -> list[int]:
        """Which of timm's levels lie between the stem and the last, the stem's own among them
        where it has one."""
        count = len(self.shape.strides)
        if self.shape.patch:
            return [max(count * k // 4 - 1, 0) for k in (1, 2, 3)]
        return list(range(max(count - 5, 0), count - 1))

    def _to_map(self, features: Tensor, shown: Tensor, width: int) -> Tensor:
        """(B, width, h, w) of timm's tokens or channels-last maps."""
        if self.shape.patch:
            grid = [side // self.shape.patch for side in shown.shape[-2:]]
            tokens = features.flatten(1, -2)[:, self.net.num_prefix_tokens :]
            return tokens.transpose(1, 2).unflatten(2, grid)
        last = getattr(self.net, "output_fmt", "NCHW") == "NHWC" or features.shape[1] != width
        if last and features.shape[-1] == width:
            return features.permute(0, 3, 1, 2).contiguous()
        return features


def _stages(network: Any) -> Iterator[nn.Module]:
    """The stages or blocks, in order."""
    for name in ("blocks", "stages", "layers"):
        if hasattr(network, name):
            yield from getattr(network, name)
            return
    raise BadInput(f"timm's {type(network).__name__} has no stages that are known here")


def set_normalisation(state: dict[str, Tensor], mean: list[float], std: list[float]) -> None:
    """Write into the state dict how ImageNet-normalised pixels become those of mean and std."""
    ours_mean, ours_std = torch.tensor(MEAN), torch.tensor(STD)
    own_mean, own_std = torch.tensor(mean), torch.tensor(std)
    state["input_scale"] = ours_std / own_std
    state["input_shift"] = (ours_mean - own_mean) / own_std
