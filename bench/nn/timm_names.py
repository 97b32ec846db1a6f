"""Names of networks that timm builds: `timm:NAME`, then any of timm's own settings.

`timm:convnext_tiny.fb_in1k` is timm's model with the tag of its weights; `,key=value` after it
sets an argument of its constructor, a list of numbers with slashes:
`timm:vit_small_patch14_dinov2,depth=2,img_size=224`, `timm:convnext_tiny,depths=2/2/6/2`. One
setting is ours: `eps`, of all layer norms.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bench.core.errors import BadInput, brief, unknown

if TYPE_CHECKING:
    from torch import nn

TIMM = "timm:"
PYRAMID = (4, 8, 16, 32)
# Settings by which timm's networks take images of any size; their position tables are resampled.
ANY_SIZE: dict[str, dict[str, Any]] = {
    "vision_transformer": {"dynamic_img_size": True},
    "deit": {"dynamic_img_size": True},
    "eva": {"dynamic_img_size": True},
    "swin_transformer": {"strict_img_size": False},
    "swin_transformer_v2": {"strict_img_size": False},
}
OURS = {  # settings that a task decides, or that would read a file
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("num_classes", "in_chans", "features_only", "out_indices", "output_stride", "scriptable"),
    *("dynamic_img_size", "dynamic_img_pad", "strict_img_size", "use_naflex"),
}


@dataclass(frozen=True)
class TimmName:
    """`model` is timm's, with its tag; `settings` are constructor arguments."""

    model: str
    settings: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """As `parse_timm` reads it."""
        more = (f",{key}={_write(value)}" for key, value in self.settings.items())
        return TIMM + self.model + "".join(more)


@dataclass(frozen=True)
class TimmShape:
    """What tasks ask of a network before it is built.

    dim: of the pooled features. widths, strides: of its maps, the finest first. module: timm's
    file that has it. patch: of a plain transformer, else 0. multiple: image sides must be
    multiples of it. dilates: timm can keep the stride of its last stages small.
    """

    module: str
    dim: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    patch: int
    multiple: int
    dilates: bool

    @property
    def pyramid(self) -> bool:
        """Whether it has maps of strides 4, 8, 16 and 32."""
        return self.strides[-4:] == PYRAMID

    @property
    def resnet(self) -> bool:
        """Whether it is one of timm's ResNets, whose stages are layer1 to layer4."""
        return self.module == "resnet"


def parse_timm(name: str) -> TimmName:
    """The parts of a name; BadInput for a model that timm lacks, with the nearest one, and for a
    setting that is none of its own."""
    model, *parts = name.removeprefix(TIMM).split(",")
    base = model.partition(".")[0]
    import timm

    if not timm.is_model(base):
        raise unknown("timm network", base, timm.list_models(), "--backbone timm:resnet50")
    if "." in model and not is_tagged(model):
        tags = timm.list_pretrained(f"{base}.*")
        raise unknown("weights of timm", model, tags or [base], f"--backbone timm:{base}")
    settings: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key in OURS or not key.isidentifier():
            raise BadInput(
                f"{brief(part)} is no setting of timm's {model} that can be chosen; try: "
                f"timm:{model},depth=2"
            )
        settings[key] = _read(value)
    return TimmName(model, settings)


def is_tagged(model: str) -> bool:
    """Whether timm has weights of that name, NAME.TAG."""
    import timm

    return model in timm.list_pretrained(model.partition(".")[0] + ".*")


def find_pooling(name: str) -> str:
    """How the network pools; "" where it does not say."""
    import torch

    with torch.device("meta"):
        return str(getattr(create(name), "global_pool", ""))


def _read(text: str) -> Any:
    if "/" in text:
        return tuple(_read(part) for part in text.split("/"))
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _write(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "/".join(_write(each) for each in value)
    return value if isinstance(value, str) else json.dumps(value)


def create(name: str, output_stride: int = 32) -> nn.Module:
    """timm's network without its classifier, freshly initialised, for images of any size.

    output_stride: 8 or 16 dilates the last stages, where timm can. BadInput where timm refuses a
    setting or its network takes images of one size only.
    """
    parts = parse_timm(name)
    import timm
    from torch import nn

    base = parts.model.partition(".")[0]
    module = timm.model_entrypoint(base).__module__.rpartition(".")[2]
    settings = {**parts.settings, **ANY_SIZE.get(module, {})}
    eps = settings.pop("eps", None)
    if output_stride != 32:
        settings["output_stride"] = output_stride
    try:
        network: nn.Module = timm.create_model(
            parts.model, pretrained=False, num_classes=0, **settings
        )
    except (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError) as error:
        reason = brief(" ".join(str(error).split()) or type(error).__name__)
        raise BadInput(
            f"timm does not build {name.removeprefix(TIMM)} ({reason}); check its settings"
        ) from None
    cfg: Any = network.pretrained_cfg
    if cfg.get("fixed_input_size") and module not in ANY_SIZE:
        raise BadInput(
            f"timm's {parts.model} takes images of {cfg['input_size'][-1]} pixels only, and tasks "
            "show other sizes; try a ResNet, ConvNeXt, Swin or ViT: --backbone timm:vit_base_"
            "patch16_224"
        )
    for layer in network.modules() if eps is not None else ():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = float(eps)
    return network


@lru_cache(maxsize=64)
def describe(name: str) -> TimmShape:
    """The shape of a network, which is built without memory for it."""
    import torch

    with torch.device("meta"):
        network: Any = create(name)
    infos = list(network.feature_info)
    patch = 0
    if hasattr(network, "blocks") and len({i["reduction"] for i in infos}) == 1:
        patch = int(infos[0]["reduction"])
    shape = TimmShape(
        module=type(network).__module__.rpartition(".")[2],
        dim=int(getattr(network, "head_hidden_size", network.num_features)),
        widths=tuple(int(i["num_chs"]) for i in infos),
        strides=tuple(int(i["reduction"]) for i in infos),
        patch=patch,
        multiple=patch or _patch_side(network),
        dilates=not patch and _dilates(name),
    )
    if not patch and not shape.pyramid:
        raise BadInput(
            f"{name} has maps of strides {', '.join(map(str, shape.strides))}; networks judged "
            "here have those of 4, 8, 16 and 32, or are plain transformers"
        )
    return shape


def _patch_side(network: Any) -> int:
    """Of a Swin's first patches; 1 for networks that take any side."""
    sides = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(sides[0] if isinstance(sides, tuple) else sides)


def _dilates(name: str) -> bool:
    import torch

    try:
        with torch.device("meta"):
            network: Any = create(name, output_stride=8)
    except BadInput:
        return False
    return max(int(i["reduction"]) for i in network.feature_info) == 8
