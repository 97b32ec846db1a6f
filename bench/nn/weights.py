"""Backbones in checkpoints made elsewhere: read safely,
found by their keys, named by their shapes.

A checkpoint is read as one flat dict: nested dicts are joined with dots,
so a wrapping `state_dict`, `model` or `teacher` is a prefix like `module.` or `encoder_q.`.
A backbone is wherever a prefix leads to the keys of one:
torchvision's (also MoCo's, mm's, solo-learn's), detectron2's,
an `nn.Sequential` of a ResNet's children (lightly), or timm's vision transformer (MAE, DINO,
DINOv2, DINOv3). Further layouts are in `bench.nn.layouts`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import torch

from bench.core.errors import BadInput
from bench.nn.architectures import VITS
from bench.nn.checkpoint import Flat
from bench.nn.checkpoint import read_checkpoint as read_checkpoint
from bench.nn.formats import check_finite, check_fit, fill_counters, from_detectron2
from bench.nn.found import Found as Found
from bench.nn.found import choose_prefix, place_of, rank
from bench.nn.timm_guess import name_timm_resnet, name_timm_vit
from bench.nn.timm_names import TIMM

BLOCKS: dict[tuple[bool, tuple[int, ...]], str] = {  # bottlenecks?, blocks of a stage
    (False, (1, 1, 1, 1)): "resnet10",
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
}
STEMS: dict[tuple[int, ...], str] = {(7, 7): "", (3, 3): "_cifar"}
PARTS = {  # style -> the first words of keys that belong to a backbone, wanted there or not
    "torchvision": re.compile(r"(conv|bn|norm|layer|res|stem)\d*"),
    "detectron2": re.compile(r"stem|res\d+"),
    "lab": re.compile(r"l|ab"),
    "vit": re.compile(
        r"cls_token|pos_embed|patch_embed|blocks|norm.*|fc_norm|reg_token|dist_token"
        r"|register_tokens|storage_tokens"
    ),
}


def find_backbone(flat: Flat, source: str, network: str = "") -> Found:
    """The one backbone in a checkpoint, complete,
    or BadInput that says what is missing or too much.

    Of several the trained one is taken, not its moving average (key, momentum, target, ema); of
    `teacher` and `student` the teacher, as DINO evaluates it. Copies under two names are one.
    `source` names the file. `network` is its name where the user gives it, which tells what no
    tensor does (a transformer's heads).
    """
    places = {prefix: style for prefix, style in _places(flat)}
    if not places:
        return _find_other(flat, source)
    prefix = _choose(flat, places, source)
    state, used = _collect(flat, prefix, places[prefix])
    backbone = network or _name(state, places[prefix], prefix, source)
    left = dict(Counter(place_of(k, prefix) for k in flat if k not in used))
    if backbone.startswith(TIMM):
        from bench.nn.timm_weights import IMAGENET, fit_timm, take_below

        # timm's filter tells authors apart by tensors that are no part of the network
        given = take_below(flat, prefix) if places[prefix] == "vit" else state
        return replace(fit_timm(given, backbone, source, IMAGENET), prefix=prefix, left=left)
    from bench.nn.backbones import build_backbone  # torchvision takes a second

    with torch.device("meta"):
        own = build_backbone(backbone).state_dict()
    whole = fill_counters(own, state)
    check_fit(own, whole, f"{source} ({backbone})")
    check_finite(whole, f"{source} ({backbone})")
    return Found(backbone, prefix, whole, len(whole) - len(state), left)


def _find_other(flat: Flat, source: str) -> Found:
    """A backbone that timm builds and whose layout is neither a ResNet's nor a ViT's."""
    from bench.nn.layouts import find_layout

    layout = find_layout(flat, source)
    if layout is not None:
        return layout
    shown = ", ".join(repr(k) for k in list(flat)[:3])
    raise BadInput(
        f"{source} holds no network that is known here: its keys are like {shown}; expected "
        "conv1, layer1, ... or patch_embed, blocks, ...; try: --backbone timm:NAME="
        f"{source}, or the folder of the checkpoint with its config.json: --backbone "
        "weights=FOLDER"
    )


def _places(flat: Flat) -> Iterator[tuple[str, str]]:
    """(prefix, style) of everything that looks like a backbone."""
    ends = {
        "layer1.0.conv1.weight": "torchvision",
        "res2.0.conv1.weight": "detectron2",
        "patch_embed.proj.weight": "vit",
    }
    for key in flat:
        for end, style in ends.items():
            prefix = key.removesuffix(end)
            swin = style == "vit" and f"{prefix}blocks.0.norm1.weight" not in flat
            if prefix != key and (not prefix or prefix.endswith(".")) and not swin:
                yield prefix, style
        m = re.fullmatch(r"(|.*\.)(\d+)\.0\.conv1\.weight", key)
        if m and f"{m[1]}0.weight" in flat and f"{m[1]}1.running_mean" in flat:
            yield m[1], "sequential"


def _choose(flat: Flat, places: dict[str, str], source: str) -> str:
    lab = _lab_prefix(places)
    if lab is not None:
        places[lab] = "lab"
        return lab
    return choose_prefix(flat, places, lambda p: _collect(flat, p, places[p])[0], source)


def _lab_prefix(places: dict[str, str]) -> str | None:
    """Where the two encoders of `bench.nn.lab` are, side by side; None where they are not."""
    best = [p for p in places if rank(p, places) == min(rank(q, places) for q in places)]
    for prefix in best:
        base = prefix.removesuffix("l.")
        if base != prefix and (not base or base.endswith(".")) and f"{base}ab." in best:
            return base
    return None


def _collect(flat: Flat, prefix: str, style: str) -> tuple[Flat, set[str]]:
    """The backbone's tensors under our keys, and their keys in the file. Whatever else looks like
    a layer of a backbone is kept too, under its own name, so that it is found to be too much."""
    names = _names([k.removeprefix(prefix) for k in flat if k.startswith(prefix)], style)
    return {new: flat[prefix + old] for old, new in names.items()}, {prefix + old for old in names}


def _names(keys: list[str], style: str) -> dict[str, str]:
    """The file's name -> our name of each tensor of the backbone."""
    if style == "sequential":
        first = min(
            int(k.split(".")[0]) for k in keys if re.fullmatch(r"\d+\.0\.conv1\.weight", k)
        )
        names = {0: "conv1", 1: "bn1"} | {first + i: f"layer{i + 1}" for i in range(4)}
        split = [(k, *k.split(".", 1)) for k in keys if re.match(r"\d+\.", k)]
        mine = {k: f"{names.get(int(n), n)}.{rest}" for k, n, rest in split if int(n) <= first + 3}
    else:
        mine = {k: k for k in keys if PARTS[style].fullmatch(k.split(".")[0])}
    if style == "detectron2":
        # the official converter's, unused
        mine = {k: k for k in mine if not k.startswith("stem.fc.")}
        return {old: new for new, old in from_detectron2(mine).items()}
    if "stem.7.weight" in mine:  # mm's ResNet-D
        stem = {"0": "conv1.0", "1": "conv1.1", "3": "conv1.3", "4": "conv1.4", "6": "conv1.6"}
        stem["7"] = "bn1"
        mine = {
            k: re.sub(r"^stem\.(\d)\.", lambda m: f"{stem.get(m[1], m[0])}.", v)
            for k, v in mine.items()
        }
    return {k: re.sub(r"\.shortcut\.([01])\.", r".downsample.\1.", v) for k, v in mine.items()}


def _name(state: Flat, style: str, prefix: str, source: str) -> str:
    """The backbone's name, from which keys there are and their shapes."""
    if style == "vit":
        return _vit_name(state, prefix, source)
    if style == "lab":
        halves = {k.removeprefix("l."): v for k, v in state.items() if k.startswith("l.")}
        return "lab_" + _resnet_name(halves, source).replace("_half", "")
    return _resnet_name(state, source)


def _resnet_name(state: Flat, source: str) -> str:
    counts: tuple[int, ...] = tuple(
        1
        + max(
            (int(k.split(".")[1]) for k in state if re.match(rf"layer{n}\.\d+\.", k)), default=-1
        )
        for n in range(1, 5)
    )
    deep = "layer1.0.conv3.weight" in state
    base = BLOCKS.get((deep, counts))
    width = state["layer1.0.conv1.weight"].shape[0]
    stem = tuple(state["conv1.weight"].shape[2:]) if "conv1.weight" in state else (7, 7)
    options = {64: "", 32: "_half", 16: "_quarter"}.get(width), STEMS.get(stem)
    other = name_timm_resnet(state, deep, counts)
    if other:
        return other
    if base is None or None in options:
        kind = "bottleneck" if deep else "basic"
        raise BadInput(
            f"{source} holds a ResNet that is not known here: {'-'.join(map(str, counts))} "
            f"{kind} blocks, {width} channels wide, stem {'x'.join(map(str, stem))}; known: "
            f"{', '.join(BLOCKS.values())} of width 64, 32 or 16, stem 7x7 or 3x3, and timm's: "
            f"--backbone timm:NAME={source}"
        )
    return f"{base}{options[0]}{options[1]}"


def _vit_name(state: Flat, prefix: str, source: str) -> str:
    dim, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = len({k.split(".")[1] for k in state if k.startswith("blocks.")})
    names = [n for n, s in VITS.items() if (s.dim, s.patch, s.depth) == (dim, patch, depth)]
    other = name_timm_vit(state, source, known=bool(names))
    if other:
        return other
    # MoCo v3's ViT-S has 12 heads, and its checkpoints this prefix
    twelve = names[0] == "vit_s" and "base_encoder" in prefix
    return "vit_s12" if twelve else names[0]
