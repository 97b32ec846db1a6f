"""Backbones: torchvision's ResNets without the classifier, under torchvision's own key names, and
the others.

A backbone has `feature_dim`, `forward(images)` -> (B, feature_dim), pooled, and `maps(images)` ->
(B, feature_dim, h, w), its last feature map. `bench.nn.architectures` says what the names mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.contracts.method import BackboneInit
from bench.core.errors import BadData, StageFailed
from bench.nn.architectures import architecture
from bench.nn.formats import check_fit, find_not_finite
from bench.nn.resnet import RESNETS, HalfResNet, QuarterResNet, ResNetBackbone, initialise

if TYPE_CHECKING:
    from bench.nn.lab import LabResNet
    from bench.nn.timm_net import TimmBackbone
    from bench.nn.vit import VisionTransformer


def build_backbone(
    name: str, init: BackboneInit = "torchvision"
) -> ResNetBackbone | LabResNet | VisionTransformer | TimmBackbone:
    """A freshly initialised backbone (the caller has seeded torch); unknown names raise BadInput.

    `init` is for ResNets (`bench.nn.resnet.initialise`); a transformer, and every network that
    timm builds, starts as timm has it.
    """
    known = architecture(name)
    if known.family == "vit":
        from bench.nn.vit import VisionTransformer  # timm takes seconds to import

        return VisionTransformer(known.base)
    if known.family == "timm":
        from bench.nn.timm_net import TimmBackbone

        return TimmBackbone(name)
    block, layers = RESNETS[known.base]
    zero_init, cifar = "zeroinit" in known.options, "cifar" in known.options
    if known.family == "lab":
        from bench.nn.lab import LabResNet

        return initialise(LabResNet(block, layers, zero_init, cifar), init)
    make = ResNetBackbone
    if "half" in known.options:
        make = HalfResNet
    elif "quarter" in known.options:
        make = QuarterResNet
    return initialise(make(block, layers, zero_init, cifar), init)


def save_backbone(path: Path, backbone: nn.Module) -> None:
    """Write the backbone's state dict: plain torchvision keys, contiguous tensors on the CPU.
    StageFailed where a number of it is not finite."""
    state = {k: v.detach().cpu().contiguous() for k, v in backbone.state_dict().items()}
    bad = find_not_finite(state)
    if bad:
        raise StageFailed(
            f"the trained backbone has numbers that are infinite or not a number, in {bad}; try a "
            "lower learning rate, or: --precision fp32"
        )
    torch.save(state, path)


def load_backbone(path: Path, backbone: nn.Module) -> int:
    """Load `path` (torchvision keys; `fc.*` is ignored) into `backbone`;
    returns how many tensors matched.

    Raises BadData for an unreadable file, BadInput if any key is missing, unexpected or of another
    shape: a backbone that is only partly loaded gives wrong results without an error.
    """
    state = read_backbone(path)
    load_strictly(backbone, state, str(path))
    return len(state)


def read_backbone(path: Path) -> dict[str, Tensor]:
    """The state dict in `path` less `fc.*`; BadData for an unreadable file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadData(f"no backbone at {path}; pretrain it first: bench run") from None
    except Exception as error:
        raise BadData(
            f"{path} is not a readable PyTorch weights file ({type(error).__name__}); "
            "make it again"
        ) from None
    if not isinstance(state, dict):
        raise BadData(f"{path} holds a {type(state).__name__}, not a state dict; make it again")
    return {k: v for k, v in state.items() if not k.startswith("fc.")}


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """`module.load_state_dict(state)`, all or nothing; BadInput names the first differences."""
    check_fit(module.state_dict(), state, source)
    module.load_state_dict(state, strict=True)
