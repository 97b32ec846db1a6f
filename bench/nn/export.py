"""Backbones in the file formats of other libraries."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import BadInput
from bench.nn.architectures import architecture
from bench.nn.backbones import build_backbone
from bench.nn.formats import check_fit, to_detectron2


def whole_resnet(path: Path, name: str) -> dict[str, Tensor]:
    """The state dict in `path`, which has exactly torchvision's keys and shapes without `fc.*`;
    BadInput names what is missing or too much, or says that this backbone is not torchvision's."""
    kind = architecture(name)
    changed = kind.base == "resnet10" or kind.options & {"half", "quarter", "cifar"}
    if kind.family != "resnet" or changed:
        raise BadInput(
            f"{name} is not a ResNet of torchvision's shape, so that no other library would load "
            f"it; its own file is {path}"
        )
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        own = build_backbone(kind.base).state_dict()
    check_fit(own, state, str(path))
    return state


def write_backbone(state: dict[str, Tensor], style: str, path: Path) -> None:
    """Write a whole ResNet. torchvision: the state dict. mmdet: the same under "state_dict".
    detectron2: a pickle of {"model": NumPy arrays under its names, "__author__",
    "matching_heuristics"}."""
    if style == "detectron2":
        arrays = {k: v.numpy() for k, v in to_detectron2(state).items()}
        with open(path, "wb") as f:
            pickle.dump({"model": arrays, "__author__": "bench", "matching_heuristics": True}, f)
    else:
        torch.save({"state_dict": state} if style == "mmdet" else state, path)
