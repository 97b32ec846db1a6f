"""What a component needs of a data set, and whether a set has it: planning asks, before anything
runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

ANNOTATIONS = {
    "objects": "annotated objects or classes",
    "masks": "masks of objects",
    "keypoints": "keypoints",
    "semantic": "semantic masks",
}


class Provides(Protocol):
    """What is asked of a `bench.contracts.data.Data` class."""

    name: str
    splits: tuple[str, ...]

    @classmethod
    def annotations(cls) -> frozenset[str] | None: ...


@dataclass(frozen=True)
class Needs:
    """splits: those that are opened. annotations: some of `ANNOTATIONS`. Crops, methods and
    proposals work on whatever split they are given and name none."""

    splits: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()

    def find_lack(self, data: type[Provides], cut: Collection[str] = ()) -> str | None:
        """Why a set lacks what is needed, or None. made: splits that planning makes of others (a
        validation part)."""
        missing = [s for s in self.splits if s not in (*data.splits, *cut)]
        if missing:
            more = "s" if len(data.splits) > 1 else ""
            has = f"the split{more} {' and '.join(data.splits)}{'' if more else ' only'}"
            return f"the split {missing[0]} is needed, and data {data.name!r} has {has}"
        known = data.annotations()
        for name in self.annotations:
            if known is not None and name not in known:
                return f"{ANNOTATIONS[name]} are needed, and data {data.name!r} has none"
        return None
