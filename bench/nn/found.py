"""A backbone that was found in a checkpoint, and which of several is meant."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from bench.core.errors import BadInput
from bench.nn.checkpoint import Flat

COPIES = {"k", "key", "momentum", "target", "ema", "old", "prev"}  # names of slowly moving copies


@dataclass(frozen=True)
class Found:
    """backbone: its name here. prefix: where the file has it. state: under our keys, complete.
    filled: how many batch-norm counters the file lacks. left: tensors of the file that are no part
    of it, by place. added: tensors of `state` that no file has (the normalisation of the input).
    remarks: what else a user should know."""

    backbone: str
    prefix: str
    state: Flat
    filled: int
    left: dict[str, int]
    added: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def tensors(self) -> int:
        """Of the backbone, as a file has them."""
        return len(self.state) - self.added

    @property
    def matched(self) -> int:
        """Of them those that the file had."""
        return self.tensors - self.filled

    def report(self) -> str:
        """One line: how many tensors matched, where they were, what was left."""
        rest = ", ".join(f"{place} {n}" for place, n in self.left.items())
        where = f" under {self.prefix!r}" if self.prefix else ""
        lost = f", {self.filled} batch-norm counters set to 0" if self.filled else ""
        return (
            f"{self.backbone}: {self.matched} of {self.tensors} tensors match{where}{lost}; "
            f"left out: {rest or 'nothing'}"
            + "".join(f"; {c}" for c in (*self.remarks, *self.cautions()))
        )

    def cautions(self) -> list[str]:
        """What no tensor tells, and may make its features wrong."""
        if self.backbone.endswith("_cifar"):
            return [
                "its 3x3 stem is taken to pad by 1 pixel (solo-learn's pads by 2, which no tensor "
                "tells)"
            ]
        if self.backbone == "vit_s" and has_fixed_places(self.state["pos_embed"]):
            return [
                "caution: its position embedding is the fixed sine-cosine table, as MoCo v3's, "
                "whose ViT-S has 12 attention heads; it is read with the 6 of vit_s (DINO's and "
                "DeiT's learn theirs), and if it is MoCo v3's, its features are wrong; then: "
                "--backbone vit_s12=FILE"
            ]
        return []


def has_fixed_places(places: torch.Tensor) -> bool:
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


def rank(prefix: str, places: Iterable[str]) -> int:
    """0 for what is evaluated, 1 for a student beside a teacher, 2 for a slowly moving copy."""
    words = set(re.split(r"[._]", prefix.lower()))
    if words & COPIES:
        return 2
    teachers = any("teacher" in re.split(r"[._]", p.lower()) for p in places)
    return 1 if "student" in words and teachers else 0


def place_of(key: str, prefix: str) -> str:
    """The key up to where it leaves `prefix`, and one word more."""
    words, path = key.split("."), prefix.split(".")
    same = next(
        (i for i, (a, b) in enumerate(zip(words, path, strict=False)) if a != b), len(path)
    )
    return ".".join(words[: same + 1])


def choose_prefix(
    flat: Flat, prefixes: Iterable[str], collect: Callable[[str], Flat], source: str
) -> str:
    """The prefix of the backbone that is meant: the trained one, not its moving average. Copies
    under two names are one; BadInput where two of a rank differ. `collect`: the tensors below a
    prefix."""
    every = list(prefixes)
    best = min(rank(p, every) for p in every)
    chosen = sorted((p for p in every if rank(p, every) == best), key=len)
    first = collect(chosen[0])
    for other in chosen[1:]:
        second = collect(other)
        if first.keys() != second.keys() or not all(
            torch.equal(first[k], second[k]) for k in first
        ):
            raise BadInput(
                f"{source} holds two backbones, under {chosen[0]!r} and {other!r}; "
                "save the one that is meant in a file of its own"
            )
    return chosen[0]
