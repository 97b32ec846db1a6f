"""Vectors of images and regions by the network of an earlier stage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.network import Network
from bench.core.errors import StageFailed
from bench.nn.neighbours import unit_rows
from bench.stages.pretrain.setup import load_network, pick_device, step_threads
from bench.views.augment import normalise
from bench.views.loader import crop_resize
from bench.views.sample import whole_pixels

BATCH = 128  # images or regions per forward


def open_network(ctx: StageContext, n_images: int) -> tuple[Network, torch.device]:
    """The network of the input stage "network" in eval mode, and the device it is on. PyTorch's
    threads are set to those of a training step there."""
    stage = ctx.stage.inputs["network"]
    network = load_network(ctx.inputs["network"], stage.params, n_images)
    device = pick_device(ctx.runtime.devices)
    torch.set_num_threads(step_threads(ctx, device))
    return network.eval().to(device.kind), torch.device(device.kind)


@torch.inference_mode()
def embed_crops(
    function: Callable[[Tensor], Tensor], crops: list[Tensor], device: torch.device
) -> Tensor:
    """`function` over uint8 (3, s, s) crops in batches -> (n, D) unit rows on the CPU, float32.
    StageFailed where a number is infinite or none: such rows have neighbours all the same."""
    vectors = []
    for start in range(0, len(crops), BATCH):
        part = torch.stack(crops[start : start + BATCH]).to(device).float().div_(255)
        vectors.append(unit_rows(function(normalise(part)).flatten(1)).cpu())
    rows = torch.cat(vectors)
    if not bool(torch.isfinite(rows).all()):
        raise StageFailed(
            "the features that images or regions are compared by are infinite or not a number; "
            "check the loss of the earlier stage"
        )
    return rows


def centre_crop(image: np.ndarray, size: int) -> Tensor:
    """Short side to size x 256/224, then the central size x size: (3, size, size) uint8."""
    height, width = image.shape[:2]
    side = min(height, width) * 224 / 256
    x, y = (width - side) / 2, (height - side) / 2
    return crop_resize(image, whole_pixels((x, y, x + side, y + side), width, height), size)


def embed_images(ctx: StageContext, images: ImageSet, size: int) -> Tensor:
    """(N, D) unit rows, float32: `Network.embed` of the central `size` x `size` of every image."""
    network, device = open_network(ctx, len(images))
    advance = ctx.progress.task("image features", len(images))
    vectors: list[Tensor] = []
    for start in range(0, len(images), BATCH):
        part = range(start, min(start + BATCH, len(images)))
        crops = [centre_crop(images.image(i), size) for i in part]
        vectors.append(embed_crops(network.embed, crops, device))
        advance(len(part))
    return torch.cat(vectors)
