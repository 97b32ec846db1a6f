"""What a backbone's name means, without importing a network:
tasks and methods ask this while planning.

A name is a base and options joined by `_`, in any order: `resnet50_half`,
`resnet18_cifar_zeroinit`.

- `resnet18`, `resnet34`, `resnet50`, `resnet101`: torchvision's ResNets. `resnet10`: a ResNet-18
  with one block a stage instead of two.
  `half`: the four stages at half width, the stem at full width. `quarter`: all of it at quarter
  width. `cifar`: a 3x3 stem of stride 1 and no max-pool, total stride 8. `zeroinit`: the last
  batch norm of every block starts at zero.
- `lab_` before a ResNet: a half-width ResNet on L and another on ab, their features concatenated.
- `vit_tiny`, `vit_s`, `vit_s12`, `vit_b`, `vit_l`, `vit_h`: vision transformers (no options).
- `timm:NAME`: any network of timm that `bench.nn.timm_names` takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.core.errors import unknown
from bench.nn.timm_names import TIMM, describe

RESNET_NAMES = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101")
OPTIONS = ("half", "quarter", "cifar", "zeroinit")
WIDTHS = {"half", "quarter"}  # of which a name has at most one
DEPTHS = (
    "conv1",
    "res2",
    "res3",
    "res4",
    "res5",
)  # where probes read a backbone (`bench.nn.layers`)


@dataclass(frozen=True)
class VitShape:
    """patch, side: pixels of a patch and of the images the position
    embedding is made for. dim: width.
    depth: blocks. heads: of attention."""

    patch: int
    side: int
    dim: int
    depth: int
    heads: int


VITS = {
    "vit_tiny": VitShape(8, 64, 192, 4, 3),  # ours, for 64-pixel images on a CPU
    "vit_s": VitShape(16, 224, 384, 12, 6),  # Touvron et al. 2021, table 1 (DeiT-S)
    "vit_b": VitShape(16, 224, 768, 12, 12),  # Dosovitskiy et al. 2021, table 1 (ViT-B/16)
    "vit_s12": VitShape(16, 224, 384, 12, 12),  # Chen et al. 2021, table 2 (MoCo v3's ViT-S)
    "vit_l": VitShape(16, 224, 1024, 24, 16),  # Dosovitskiy et al. 2021, table 1 (ViT-L/16)
    "vit_h": VitShape(14, 224, 1280, 32, 16),  # the same, ViT-H/14
}


@dataclass(frozen=True)
class Architecture:
    """`family`: what builds it.
    `base`: the name without options and `lab_`. `options`: of `OPTIONS`."""

    family: Literal["resnet", "lab", "vit", "timm"]
    base: str
    options: frozenset[str] = field(default_factory=frozenset)


def architecture(name: str) -> Architecture:
    """The architecture of a backbone's name; BadInput with the nearest name if there is none."""
    if name in VITS:
        return Architecture("vit", name)
    if name.startswith(TIMM):
        describe(name)
        return Architecture("timm", name)
    lab = name.startswith("lab_")
    base, *options = name.removeprefix("lab_").split("_")
    allowed = set(OPTIONS) - WIDTHS if lab else set(OPTIONS)
    repeats = len(set(options)) < len(options) or set(options) >= WIDTHS
    if base not in RESNET_NAMES or not set(options) <= allowed or repeats:
        known = [*RESNET_NAMES, *VITS, *(f"lab_{n}" for n in RESNET_NAMES)]
        known += [f"{n}_{o}" for n in RESNET_NAMES for o in OPTIONS]
        raise unknown("backbone", name, known, "--set method.backbone=resnet18")
    return Architecture("lab" if lab else "resnet", base, frozenset(options))
