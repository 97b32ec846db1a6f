"""A ResNet's state dict under torchvision's key names and under
detectron2's; both ways, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from bench.core.errors import BadInput

V = TypeVar("V")

_LEAF = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_TORCHVISION = re.compile(
    rf"(?:layer(?P<layer>[1-4])\.(?P<block>\d+)\.)?(?:(?P<part>conv|bn)(?P<n>[1-3])|downsample\.(?P<d>[01]))"
    rf"\.(?P<leaf>{_LEAF})"
)
_DETECTRON2 = re.compile(
    rf"(?:stem|res(?P<res>[2-5])\.(?P<block>\d+))\.(?:conv(?P<n>[1-3])|shortcut)(?P<norm>\.norm)?"
    rf"\.(?P<leaf>{_LEAF})"
)


def find_not_finite(state: Mapping[str, Tensor]) -> str:
    """The name of the first tensor with a number that is infinite or not a number; "" without
    one."""
    return next((key for key, value in state.items() if not torch.isfinite(value).all()), "")


def to_detectron2(state: Mapping[str, V]) -> dict[str, V]:
    """torchvision's names -> detectron2's: `layer1.0.bn2.weight` -> `res2.0.conv2.norm.weight`,
    the stem under `stem.`, `downsample.0` and `.1` -> `shortcut` and `shortcut.norm`. BadInput
    names a key that is no ResNet's. The values are handed on. Source: detectron2's
    tools/convert-torchvision-to-d2.py."""
    return {_to_detectron2(key): value for key, value in state.items()}


def from_detectron2(state: Mapping[str, V]) -> dict[str, V]:
    """The inverse of `to_detectron2`; BadInput names a key that is none of its."""
    return {_from_detectron2(key): value for key, value in state.items()}


def _to_detectron2(key: str) -> str:
    m = _TORCHVISION.fullmatch(key)
    if m is None or (m["layer"] is None and m["n"] != "1"):
        raise BadInput(
            f"{key!r} is not a key of a torchvision ResNet, so it has no name in detectron2"
        )
    where = f"res{int(m['layer']) + 1}.{m['block']}" if m["layer"] else "stem"
    conv = f"conv{m['n']}" if m["n"] else "shortcut"
    norm = ".norm" if m["part"] == "bn" or m["d"] == "1" else ""
    return f"{where}.{conv}{norm}.{m['leaf']}"


def _from_detectron2(key: str) -> str:
    m = _DETECTRON2.fullmatch(key)
    if m is None or (m["res"] is None and m["n"] != "1"):
        raise BadInput(
            f"{key!r} is not a key of a detectron2 ResNet, so it has no name in torchvision"
        )
    where = f"layer{int(m['res']) - 1}.{m['block']}." if m["res"] else ""
    norm = m["norm"] is not None
    part = f"{'bn' if norm else 'conv'}{m['n']}" if m["n"] else f"downsample.{int(norm)}"
    return f"{where}{part}.{m['leaf']}"


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """BadInput where a tensor holds a number that is infinite or not a number, or a batch norm a
    negative variance, whose root is none."""
    for key, value in state.items():
        if key.endswith("running_var") and (value < 0).any():
            raise BadInput(
                f"{source} has a negative variance, in {key}; try an earlier checkpoint of the "
                "same training"
            )
    if bad := find_not_finite(state):
        raise BadInput(
            f"{source} has numbers that are infinite or not a number, in {bad}; try an earlier "
            "checkpoint of the same training"
        )


def check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """BadInput unless `state` has the keys and shapes of `own`;
    it names the first ones and the counts."""
    missing = [k for k in own if k not in state]
    extra = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if not (missing or extra or shapes):
        return
    parts = []
    if missing:
        parts.append(f"{_some(missing)} missing")
    if extra:
        parts.append(f"{_some(extra)} unexpected")
    if shapes and not parts:
        k = shapes[0]
        parts.append(f"{k!r} is {tuple(state[k].shape)}, not {tuple(own[k].shape)}")
    matched = len(own) - len(missing) - len(shapes)
    raise BadInput(
        f"{source} does not fit the network: {'; '.join(parts)} ({len(missing)} missing, "
        f"{len(extra)} unexpected, {len(shapes)} of another shape, "
        f"{matched} of {len(own)} match); is it another backbone?"
    )


def _some(keys: Iterable[str], most: int = 3) -> str:
    keys = list(keys)
    named = ", ".join(map(repr, keys[:most])) + (", ..." if len(keys) > most else "")
    return f"{named} {'is' if len(keys) == 1 else 'are'}"


def fill_counters(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with 0 for each missing `num_batches_tracked`, a counter that files older than it
    lack and no forward pass reads (every momentum is set)."""
    lost = [k for k in own if k.endswith(".num_batches_tracked") and k not in state]
    return {**state, **{k: torch.zeros((), dtype=torch.int64) for k in lost}}
