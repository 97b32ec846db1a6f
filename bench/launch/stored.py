"""Which stages of the store a figure is made from, and which images it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts import registry
from bench.core.errors import BadInput
from bench.core.stage import RecordedStage, Stage

if TYPE_CHECKING:
    from bench.contracts.component import Component
    from bench.contracts.data import Data
    from bench.contracts.images import ImageSet
    from bench.launch.local import LocalEngine

FIRST = "bench run --method orl --task coco_det"  # a command that leaves something to draw
BACKBONES = ("pretrain", "weights")
IMAGES = "images"  # the data set of loose files
Record = dict[str, Any]


@dataclass
class Ask:
    """What the options of `bench figure` say, and the store they speak of. Options left out are
    empty."""

    engine: LocalEngine
    backbones: tuple[str, ...] = ()
    cell: str = ""
    images: tuple[str, ...] = ()
    data: str = ""
    split: str = ""
    count: int = 4
    crop: str = "*"
    scale: str = "tiny"
    sets: tuple[tuple[str, str], ...] = ()
    side: int = 0

    @cached_property
    def index(self) -> dict[str, tuple[Path, Record]]:
        """Every committed stage by key, the newest first."""
        found = [
            (f.joinpath("done").stat().st_mtime_ns, f, r) for f, r in self.engine.store.committed()
        ]
        return {r["key"]: (f, r) for _, f, r in sorted(found, key=lambda x: -x[0])}

    def stage(self, key: str) -> Stage:
        """The committed stage `key` again, from its record; inputs that are no longer kept are
        left out."""
        record = self.index[key][1]
        inputs = {
            role: self.stage(child)
            for role, child in record["inputs"].items()
            if child in self.index
        }
        parts = {k: record[k] for k in ("kind", "name", "version", "params", "runner")}
        return RecordedStage(**parts, inputs=inputs, recorded_key=key)

    def latest(self, accept: Callable[[Record], bool]) -> Stage | None:
        """The newest committed stage whose record `accept` takes."""
        return next((self.stage(key) for key, (_, r) in self.index.items() if accept(r)), None)

    def find_stage(self, prefix: str, kinds: Sequence[str]) -> Stage:
        """The stage of one of `kinds` that a key names; a result's key names its backbone."""
        record = self.engine.store.find(prefix)[1]
        if record["kind"] not in kinds and record["inputs"].get("backbone") in self.index:
            record = self.index[record["inputs"]["backbone"]][1]
        if record["kind"] not in kinds:
            raise BadInput(
                f"{record['kind']}/{record['name']} {record['key'][:12]} is no "
                f"{' or '.join(kinds)} stage; "
                "try: bench leaderboard --json, whose cells are keys"
            )
        return self.stage(record["key"])

    def backbone_stages(self, wanted: int) -> list[Stage]:
        """The stages --backbone names, or the newest ones, of different methods as far as there
        are any."""
        if self.backbones:
            return [self.find_stage(key, BACKBONES) for key in self.backbones]
        every = [r for _, r in self.index.values() if r["kind"] in BACKBONES]
        first = list({r["name"]: r for r in reversed(every)}.values())[::-1]
        rest = [r for r in every if r not in first]
        chosen = [self.stage(r["key"]) for r in [*first, *rest][:wanted]]
        if not chosen:
            raise BadInput(f"the store has no backbone yet; run first: {FIRST}")
        return chosen

    def stage_of_component(self, figure: str, kind: str, stage_kind: str, given: str) -> Stage:
        """The stage that `given` names, else the newest, of a component of `kind` that can make
        `figure`."""
        if given:
            found: Stage | None = self.find_stage(given, (stage_kind,))
        else:
            found = self.latest(
                lambda r: r["kind"] == stage_kind and figure in figures_of(kind, r["name"])
            )
        if found is None or figure not in figures_of(kind, found.name):
            able = [n for n in registry.names(kind) if figure in figures_of(kind, n)]
            what = (
                f"{found} cannot show {figure}"
                if found
                else f"the store has nothing to show {figure} of"
            )
            other = "--task knn" if kind == "method" else "--method byol"
            raise BadInput(
                f"{what}; {', '.join(able)} can; run first: bench run --{kind} {able[0]} {other}"
                if able
                else f"no {kind} can show {figure}"
            )
        return found

    def data_stage(self, default: Stage | None) -> Stage:
        """The data that --data or a file among --image names, else `default`; made, its place
        known."""
        from bench.plan.cell import Cell
        from bench.plan.options import parse_data
        from bench.plan.planner import Planner

        name, path = parse_data(self.data or None)
        file = next((Path(i) for i in self.images if Path(i).is_file()), None)
        if file is not None:
            if len(self.images) > 1:
                raise BadInput(
                    f"--image is one file or ids of one data set, got {len(self.images)} of them"
                )
            name, path = IMAGES, file.absolute()
        runtime = self.engine.runtime
        if default is not None and name in (None, default.name):
            made = _maker(default).stage(path, runtime)
            if made.key != default.key and name is None:
                raise BadInput(
                    f"{default.name} is not the data any more that the networks learned from; "
                    "try: "
                    f"--data {default.name}=PATH"
                )
        elif name is None:
            raise BadInput(
                "a file of weights knows no images; try: --data scenes, or --image FILE"
            )
        else:
            cell = Cell("", "", "", name, name, self.scale, 0, self.sets)
            made = Planner(cell, runtime, {name: path}).data(name)
        self.engine.ensure(made)
        return made

    def open_split(self, data: Stage, split: str) -> ImageSet:
        """A split of a data stage from `data_stage`."""
        runtime = self.engine.runtime
        return _maker(data).load(self.engine.store.folder(data), runtime.roots[data.key], split)

    def choose_images(self, data: Stage, split: str = "", least: int = 0) -> tuple[str, list[int]]:
        """(split, image ids): those that --image names, else `count` of them, evenly spaced.
        `split`: which one unless told, by default "val" where the data has one. `least`: images
        must have as many objects.
        """
        split = self.split or split or (_maker(data).splits[-1])
        if data.name == IMAGES:
            split = "train"
        images = self.open_split(data, split)
        if self.images and not Path(self.images[0]).is_file():
            return split, [_known(images, i) for i in self.images]
        usable = _with_objects(images, least, self.count)
        places = np.linspace(0, len(usable) - 1, min(self.count, len(usable))).round().astype(int)
        return split, [int(images.ids[usable[i]]) for i in dict.fromkeys(places.tolist())]


def _with_objects(images: ImageSet, least: int, count: int) -> list[int]:
    """Positions of images with at least `least` objects; of a large set, as far as the first few
    hundred."""
    if not least:
        return list(range(len(images)))
    step = max(1, len(images) // max(400, 4 * count))
    found = [i for i in range(0, len(images), step) if len(images.objects(i).boxes) >= least]
    if not found:
        raise BadInput(
            f"{images.name}/{images.split} has no annotated objects; try: --data scenes"
        )
    return found


def _known(images: ImageSet, wanted: str) -> int:
    if not (wanted.isdigit() and int(wanted) in images.ids):
        some = ", ".join(str(i) for i in images.ids[:3])
        raise BadInput(
            f"no file and no image id of {images.name}/{images.split}: {wanted!r}; ids are like "
            f"{some}"
        )
    return int(wanted)


def _maker(data: Stage) -> Data:
    return registry.load("data", data.name).from_identity(dict(data.params["params"]))  # type: ignore[return-value]


def figures_of(kind: str, name: str) -> dict[str, str]:
    """The figures that a component makes; none of a name that is no component (a file of weights)."""
    if (kind, name) not in registry.entries():
        return {}
    found: type[Component] = registry.load(kind, name)
    return found.figures
