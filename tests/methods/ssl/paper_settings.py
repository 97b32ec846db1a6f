"""What a method really is at paper scale, as lines of docs/design/paper-settings.csv say it.

`gather_facts(name, folder)` resolves the method, makes its network without memory and asks its
viewer for a sample; each fact is a setting, or something that follows from the settings and the
code: the rate of a whole batch, what weight decay leaves out, the heads, batch norm, the views.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.contracts import registry
from bench.contracts.images import ImageSet, Objects
from bench.contracts.views import Source, ViewSpec
from bench.core.params import format_setting
from bench.nn.optim import base_lr, param_groups
from bench.nn.split_norm import SplitBatchNorm

SIDE = 480
BOXES = np.array([[20, 20, 220, 220], [200, 200, 400, 420]], np.float32)
FOLLOWERS = ("key_", "target_")
ROLES = ("pairs", "rois", "roi_proposals", "saliency")  # stages that methods read their views from


class TwoImages(ImageSet):
    """Two pictures of 480 pixels with an object each, and 80 classes."""

    name, split = "two", "train"
    ids, sizes = np.array([1, 2]), np.array([[SIDE, SIDE]] * 2, np.int32)
    classes = [f"class {i}" for i in range(80)]

    def objects(self, index: int) -> Objects:
        one, no = BOXES[:1], np.zeros(1, bool)
        return Objects(one, np.zeros(1, np.int64), no, no, np.ones(1), np.ones(1, np.int64))


def gather_facts(name: str, folder: Path) -> dict[str, str]:
    """Setting or fact -> its value; `folder` is where the inputs of views are written."""
    method: Any = registry.load("method", name).resolve("paper")
    facts = {
        key: format_setting(value) for key, value in method.params.model_dump(mode="json").items()
    }
    with torch.device("meta"):
        network = method.network(118_287)
    if method.trains:
        facts["rate"] = f"{base_lr(method.params):g}"
        facts["no decay"] = _spared_from_decay(network, method.params)
        facts["batch norm"] = _statistics(network)
    for part, module in network.named_children():
        if part != "backbone" and not part.startswith(FOLLOWERS) and list(module.parameters()):
            facts[f"head {part}"] = _layers(module)
    for spec in _views(method, folder) if method.trains else []:
        facts[f"view {spec.role}"] = _view(spec)
    return facts


def _spared_from_decay(network: Any, params: Any) -> str:
    groups = param_groups(network.trainable(), params.weight_decay, params.decay_norm_and_bias)
    spared = [p for group in groups if group["weight_decay"] == 0 for p in group["params"]]
    assert all(p.ndim == 1 for p in spared)
    return "vectors" if spared else "nothing"


def _statistics(network: Any) -> str:
    """Over which images batch norm's statistics are."""
    norms = list(network.modules())
    split = {m.groups for m in norms if isinstance(m, SplitBatchNorm)}
    plain = any(isinstance(m, nn.BatchNorm2d) for m in norms)
    assert len(split) <= 1
    assert not (split and plain)
    if split:
        return f"{split.pop()} groups"
    return "whole batch" if plain else "none"


def _layers(module: nn.Module) -> str:
    """The layers without the networks around them, in their order: "2048-4096 b" is a linear layer
    with bias, "k3" a convolution of 3 x 3, "BN" batch norm, "(no scale)" where it has none."""
    words = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            words.append(f"{layer.in_features}-{layer.out_features}{_bias(layer)}")
        elif isinstance(layer, nn.Conv2d):
            size = f"k{layer.kernel_size[0]}"
            words.append(f"{layer.in_channels}-{layer.out_channels} {size}{_bias(layer)}")
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | SplitBatchNorm):
            words.append("BN" if layer.weight is not None else "BN (no scale)")
        elif isinstance(layer, nn.LayerNorm | nn.ReLU | nn.GELU):
            words.append({"LayerNorm": "LN"}.get(type(layer).__name__, type(layer).__name__))
    return " ".join(words)


def _bias(layer: Any) -> str:
    return " b" if layer.bias is not None else ""


def _views(method: Any, folder: Path) -> list[ViewSpec]:
    _write_inputs(folder)
    viewer = method.viewer(TwoImages(), dict.fromkeys(ROLES, folder))
    views: list[ViewSpec] = viewer([Source(0), Source(0)], np.random.default_rng(0)).views
    return views


def _write_inputs(folder: Path) -> None:
    """Two boxes, two neighbours and nothing salient, in the files that views are read from."""
    boxes, first = np.concatenate([BOXES, BOXES]), np.array([0, 2, 4])
    ids, scores = TwoImages.ids, np.ones(4, np.float32)
    np.savez(folder / "proposals.npz", image_ids=ids, first=first, boxes=boxes, scores=scores)
    np.savez(folder / "rois.npz", ids=ids, first=first, boxes=boxes)
    pairs = np.array([[0, 1], [1, 0]])
    places = {
        "boxes": boxes,
        "box_first": first,
        "pairs": pairs,
        "pair_first": np.array([0, 1, 2]),
    }
    np.savez(folder / "pairs.npz", ids=ids, neighbours=np.array([[1], [0]]), **places)
    np.save(folder / "ids.npy", ids)
    np.save(folder / "shapes.npy", np.array([[2, 2], [2, 2]]))
    np.zeros(8, np.uint8).tofile(folder / "masks.bin")


def _view(spec: ViewSpec) -> str:
    """Size, area of the random crop where the loader draws it, then the colours in their order."""
    a = spec.augment
    area = f" area {spec.scale[0]:g}-{spec.scale[1]:g}" if spec.scale else ""
    words = [f"{spec.size}{area} {spec.interpolation}", f"flip {a.p_flip:g}"]
    strengths = " ".join(f"{s:g}" for s in a.jitter)
    colours = [
        (a.p_jitter, f"jitter {a.p_jitter:g} of {strengths}"),
        (a.p_grey, f"grey {a.p_grey:g}"),
    ]
    low, high = a.blur_sigma
    blur = (a.p_blur, f"blur {a.p_blur:g} of {low:g}-{high:g}")
    solarize = (a.p_solarize, f"solarize {a.p_solarize:g} at {a.solarize_threshold:g}")
    order = [blur, *colours, solarize] if a.blur_first else [*colours, blur, solarize]
    return ", ".join(words + [text for p, text in order if p])
