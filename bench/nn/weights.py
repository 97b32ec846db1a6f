"""Backbones in checkpoints made elsewhere: read safely,
found by their keys, named by their shapes.

A checkpoint is read as one flat dict: nested dicts are joined with dots,
so a wrapping `state_dict`, `model` or `teacher` is a prefix like `module.` or `encoder_q.`.
A backbone is wherever a prefix leads to the keys of one:
torchvision's (also MoCo's, mm's, solo-learn's), detectron2's,
an `nn.Sequential` of a ResNet's children (lightly), or timm's vision transformer (MAE, DINO).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bench.core.errors import BadInput
from bench.nn.architectures import VITS
from bench.nn.checkpoint import Flat
from bench.nn.checkpoint import read_checkpoint as read_checkpoint
from bench.nn.formats import check_fit, fill_counters, find_not_finite, from_detectron2

BLOCKS: dict[tuple[bool, tuple[int, ...]], str] = {  # bottlenecks?, blocks of a stage
    (False, (1, 1, 1, 1)): "resnet10",
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
}
STEMS: dict[tuple[int, ...], str] = {(7, 7): "", (3, 3): "_cifar"}
COPIES = {"k", "key", "momentum", "target", "ema", "old", "prev"}  # names of slowly moving copies
PARTS = {  # style -> the first words of keys that belong to a backbone, wanted there or not
    "torchvision": re.compile(r"(conv|bn|norm|layer|res|stem)\d*"),
    "detectron2": re.compile(r"stem|res\d+"),
    "lab": re.compile(r"l|ab"),
    "vit": re.compile(
        r"cls_token|pos_embed|patch_embed|blocks|norm.*|fc_norm|reg_token|dist_token"
    ),
}


@dataclass(frozen=True)
class Found:
    """backbone: its name here. prefix: where the file has it. state: under our keys, complete.
    filled: how many batch-norm counters the file lacks. left: tensors of the file that are no part
    of it, by place."""

    backbone: str
    prefix: str
    state: Flat
    filled: int
    left: dict[str, int]

    def report(self) -> str:
        """One line: how many tensors matched, where they were, what was left."""
        rest = ", ".join(f"{place} {n}" for place, n in self.left.items())
        where = f" under {self.prefix!r}" if self.prefix else ""
        lost = f", {self.filled} batch-norm counters set to 0" if self.filled else ""
        loaded = len(self.state) - self.filled
        return (
            f"{self.backbone}: {loaded} of {len(self.state)} tensors match{where}{lost}; "
            f"left out: {rest or 'nothing'}" + "".join(f"; {c}" for c in self.cautions())
        )

    def cautions(self) -> list[str]:
        """What no tensor tells, and may make its features wrong."""
        if self.backbone.endswith("_cifar"):
            return [
                "its 3x3 stem is taken to pad by 1 pixel (solo-learn's pads by 2, which no tensor "
                "tells)"
            ]
        if self.backbone == "vit_s" and _has_fixed_places(self.state["pos_embed"]):
            return [
                "caution: its position embedding is the fixed sine-cosine table, as MoCo v3's, "
                "whose ViT-S has 12 attention heads; it is read with the 6 of vit_s (DINO's and "
                "DeiT's learn theirs), and if it is MoCo v3's, its features are wrong"
            ]
        return []


def _has_fixed_places(places: torch.Tensor) -> bool:
    """Whether a position embedding (1, 1 + g x g, D) is the table of `sincos_2d`, the row or the
    column first."""
    from bench.nn.vit import sincos_2d

    side = math.isqrt(places.shape[1] - 1)
    table = sincos_2d(places.shape[2], side, side)
    if len(table) != places.shape[1] - 1:
        return False
    turned = table.view(side, side, -1).transpose(0, 1).reshape(table.shape)
    own = places[0, 1:].float()
    return any(torch.allclose(own, t, atol=1e-3) for t in (table, turned))


def find_backbone(flat: Flat, source: str) -> Found:
    """The one backbone in a checkpoint, complete,
    or BadInput that says what is missing or too much.

    Of several the trained one is taken, not its moving average (key, momentum, target, ema); of
    `teacher` and `student` the teacher, as DINO evaluates it. Copies under two names are one.
    `source` names the file.
    """
    places = {prefix: style for prefix, style in _places(flat)}
    if not places:
        shown = ", ".join(repr(k) for k in list(flat)[:3])
        raise BadInput(
            f"{source} holds no ResNet or ViT that is known here: its keys are like {shown}; "
            "expected conv1, layer1, ... or patch_embed, blocks, ..."
        )
    prefix = _choose(flat, places, source)
    state, used = _collect(flat, prefix, places[prefix])
    backbone = _name(state, places[prefix], prefix, source)
    from bench.nn.backbones import build_backbone  # torchvision takes a second

    with torch.device("meta"):
        own = build_backbone(backbone).state_dict()
    whole = fill_counters(own, state)
    check_fit(own, whole, f"{source} ({backbone})")
    bad = find_not_finite(whole)
    if bad:
        raise BadInput(
            f"{source} ({backbone}) has numbers that are infinite or not a number, in {bad}; try "
            "an earlier checkpoint of the same training"
        )
    left = Counter(_place(k, prefix) for k in flat if k not in used)
    return Found(backbone, prefix, whole, len(whole) - len(state), dict(left))


def _place(key: str, prefix: str) -> str:
    """The key up to where it leaves `prefix`, and one word more."""
    words, path = key.split("."), prefix.split(".")
    same = next(
        (i for i, (a, b) in enumerate(zip(words, path, strict=False)) if a != b), len(path)
    )
    return ".".join(words[: same + 1])


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
            if prefix != key and (not prefix or prefix.endswith(".")):
                yield prefix, style
        m = re.fullmatch(r"(|.*\.)(\d+)\.0\.conv1\.weight", key)
        if m and f"{m[1]}0.weight" in flat and f"{m[1]}1.running_mean" in flat:
            yield m[1], "sequential"


def _choose(flat: Flat, places: dict[str, str], source: str) -> str:
    lab = _lab_prefix(places)
    if lab is not None:
        places[lab] = "lab"
        return lab
    best = min(_rank(p, places) for p in places)
    prefixes = sorted((p for p in places if _rank(p, places) == best), key=len)
    first = _collect(flat, prefixes[0], places[prefixes[0]])[0]
    for other in prefixes[1:]:
        second = _collect(flat, other, places[other])[0]
        if first.keys() != second.keys() or not all(
            torch.equal(first[k], second[k]) for k in first
        ):
            raise BadInput(
                f"{source} holds two backbones, under {prefixes[0]!r} and {other!r}; "
                "save the one that is meant in a file of its own"
            )
    return prefixes[0]


def _rank(prefix: str, places: dict[str, str]) -> int:
    """0 for what is evaluated, 1 for a student beside a teacher, 2 for a slowly moving copy."""
    words = set(re.split(r"[._]", prefix.lower()))
    if words & COPIES:
        return 2
    teachers = any("teacher" in re.split(r"[._]", p.lower()) for p in places)
    return 1 if "student" in words and teachers else 0


def _lab_prefix(places: dict[str, str]) -> str | None:
    """Where the two encoders of `bench.nn.lab` are, side by side; None where they are not."""
    best = [p for p in places if _rank(p, places) == min(_rank(q, places) for q in places)]
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
    if base is None or None in options:
        kind = "bottleneck" if deep else "basic"
        raise BadInput(
            f"{source} holds a ResNet that is not known here: {'-'.join(map(str, counts))} "
            f"{kind} blocks, {width} channels wide, stem {'x'.join(map(str, stem))}; known: "
            f"{', '.join(BLOCKS.values())} of width 64, 32 or 16, stem 7x7 or 3x3"
        )
    return f"{base}{options[0]}{options[1]}"


def _vit_name(state: Flat, prefix: str, source: str) -> str:
    dim, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = len({k.split(".")[1] for k in state if k.startswith("blocks.")})
    names = [n for n, s in VITS.items() if (s.dim, s.patch, s.depth) == (dim, patch, depth)]
    if not names:
        known = ", ".join(f"{n} ({s.dim}, {s.patch}, {s.depth})" for n, s in VITS.items())
        raise BadInput(
            f"{source} holds a ViT that is not known here: "
            f"width {dim}, patch {patch}, depth {depth}; known (width, patch, depth): {known}"
        )
    if names[0] == "vit_s" and "base_encoder" in prefix:
        raise BadInput(
            f"{source} holds MoCo v3's ViT-S, whose 12 attention heads are not those of vit_s "
            "(6): the tensors fit, the features would be wrong; try: another checkpoint"
        )
    return names[0]
