"""Which detector engine a protocol runs on; planning asks, so nothing heavy is imported."""

from __future__ import annotations

from bench.core.errors import BadInput
from bench.nn.architectures import WIDTHS, Architecture
from tasks._detection.protocol import DetectionParams, RetinaParams

GROUPS = 32  # of detectron2's group norm, whatever the width
HOW = "pip install --no-build-isolation 'ssl-crop-bench[detectron2]', or try: --engine torchvision"


def why_missing() -> str | None:
    """None if detectron2 can be imported, or why not; an installation may be there and broken."""
    try:
        import detectron2.config
        import detectron2.modeling  # noqa: F401
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def require() -> None:
    """BadInput, with how to get it, unless detectron2 can be imported."""
    reason = why_missing()
    if reason:
        raise BadInput(
            f"engine 'detectron2' is not installed or cannot be imported ({reason}); get it: {HOW}"
        )


def pick(name: str) -> str:
    """The engine that `--engine` names; "auto" is detectron2 where it can be imported, else
    torchvision."""
    if name == "auto":
        return "torchvision" if why_missing() else "detectron2"
    if name == "detectron2":
        require()
    return name


def engine_reason(p: DetectionParams, backbone: Architecture) -> str | None:
    """None, or why the protocol's engine lacks this network; BadInput where the engine is not
    installed."""
    if p.engine != "detectron2":
        return None
    reason = None
    if p.detector.startswith("vitdet"):
        reason = "ViTDet"
    elif backbone.options & WIDTHS:
        reason = f"ResNet of {min(backbone.options & WIDTHS)} width"
    elif backbone.base == "resnet10":
        reason = "ResNet of 10 layers"
    elif isinstance(p, RetinaParams) and p.head_norm == "gn" and p.fpn < 2 * GROUPS:
        reason = f"group norm of {p.fpn} channels in {p.fpn // 2} groups"
    if reason:
        return f"the detectron2 engine has no {reason}; try: --engine torchvision"
    require()
    return None
