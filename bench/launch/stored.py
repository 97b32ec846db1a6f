"""Which stages of the store a figure is made from, and which images it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import registry
from bench.core.errors import BadInput, Unavailable
from bench.core.stage import Stage, StageRecord

if TYPE_CHECKING:
    from bench.contracts.component import Component
    from bench.contracts.data import Data
    from bench.contracts.images import ImageSet
    from bench.launch.local import LocalEngine

EXAMPLE = "bench run --method orl --task coco_det"  # a command that leaves something to draw
BACKBONES = ("pretrain", "weights")  # kinds of stages that have a backbone
LOOSE_FILES = "images"  # the data set of image files that belong to no other


@dataclass(frozen=True, eq=False)
class StoredStage(Stage):
    """A committed stage, from its record. Inputs that are no longer kept are missing, so that its
    key is the recorded one."""

    recorded_key: str = ""

    @cached_property
    def key(self) -> str:
        return self.recorded_key


@dataclass
class Selection:
    """Which stages and images a figure is made from: the options of `bench figure`, and the engine
    whose store they are in. An option that was not given is empty.

    backbones, cell: keys of stages, or how they begin. images: what --image names, one file or ids
    of one data set. count: how many images are chosen where none is named.
    """

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
    def records(self) -> dict[str, StageRecord]:
        """The record of every committed stage by its key, the newest first."""
        committed = [
            ((folder / "done").stat().st_mtime_ns, record)
            for folder, record in self.engine.store.committed()
        ]
        committed.sort(key=lambda pair: -pair[0])
        return {record["key"]: record for _, record in committed}

    def stage(self, key: str) -> Stage:
        """The committed stage `key`, with those of its inputs that are still kept."""
        record = self.records[key]
        inputs = {
            role: self.stage(child)
            for role, child in record["inputs"].items()
            if child in self.records
        }
        return StoredStage(
            record["kind"],
            record["name"],
            record["version"],
            record["params"],
            record["runner"],
            inputs,
            key,
        )

    def latest(self, accept: Callable[[StageRecord], bool]) -> Stage | None:
        """The newest committed stage whose record `accept` takes."""
        return next((self.stage(key) for key, r in self.records.items() if accept(r)), None)

    def find_stage(self, prefix: str, kinds: Sequence[str]) -> Stage:
        """The stage of one of `kinds` whose key begins with `prefix`; the key of a result stands
        for its backbone."""
        record = self.engine.store.find(prefix)[1]
        backbone = self.records.get(record["inputs"].get("backbone", ""))
        if record["kind"] not in kinds and backbone:
            record = backbone
        if record["kind"] not in kinds:
            raise BadInput(
                f"{record['kind']}/{record['name']} {record['key'][:12]} is no "
                f"{' or '.join(kinds)} stage; try: bench leaderboard --json, whose cells are keys"
            )
        return self.stage(record["key"])

    def backbone_stages(self, count: int) -> list[Stage]:
        """The stages that --backbone names, or else the `count` newest ones, of as many methods as
        there are."""
        if self.backbones:
            return [self.find_stage(key, BACKBONES) for key in self.backbones]
        records = [r for r in self.records.values() if r["kind"] in BACKBONES]
        newest = list({r["name"]: r for r in reversed(records)}.values())[::-1]  # of each method
        others = [r for r in records if r not in newest]
        stages = [self.stage(r["key"]) for r in [*newest, *others][:count]]
        if not stages:
            raise BadInput(f"the store has no backbone yet; run first: {EXAMPLE}")
        return stages

    def stage_of_component(self, figure: str, kind: str, stage_kind: str, prefix: str) -> Stage:
        """The stage whose key begins with `prefix`, or without one the newest, of a component of
        `kind` that can make `figure`."""
        if prefix:
            stage: Stage | None = self.find_stage(prefix, (stage_kind,))
        else:
            stage = self.latest(
                lambda r: r["kind"] == stage_kind and figure in figures_of(kind, r["name"])
            )
        if stage is None or figure not in figures_of(kind, stage.name):
            raise _cannot_show(figure, kind, stage)
        return stage

    @property
    def image_file(self) -> Path | None:
        """The file that --image names; None where it names ids, or was not given."""
        file = next((Path(name) for name in self.images if Path(name).is_file()), None)
        if file and len(self.images) > 1:
            raise BadInput(
                f"--image is one file or ids of one data set, got {len(self.images)} of them"
            )
        return file

    def data_stage(self, default: Stage | None) -> Stage:
        """The data that --data names, or a file that --image names, or else `default`; it is made
        if need be, and its folder is known to the runtime."""
        from bench.data.contents import identify
        from bench.plan.cell import Cell
        from bench.plan.options import parse_data
        from bench.plan.planner import Planner

        name, path, _, named = parse_data(self.data or None)
        if self.image_file:
            name, path = LOOSE_FILES, self.image_file.absolute()
        runtime = self.engine.runtime
        if default is not None and name in (None, default.name) and not named:
            stage = identify(_data_of(default), path, runtime)
            if stage.key != default.key and name is None:
                raise BadInput(
                    f"{default.name} is not the data any more that the networks learned from; "
                    f"try: --data {default.name}=PATH"
                )
        elif name is None:
            raise BadInput(
                "a file of weights knows no images; try: --data scenes, or --image FILE"
            )
        else:
            cell = Cell("", "", "", name, name, self.scale, 0, (*named, *self.sets))
            stage = Planner(cell, runtime, {name: path}).data(name)
        self.engine.ensure(stage)
        return stage

    def open_split(self, data: Stage, split: str) -> ImageSet:
        """A split of a data stage from `data_stage`."""
        runtime = self.engine.runtime
        return _data_of(data).load(self.engine.store.folder(data), runtime.roots[data.key], split)

    def choose_images(self, data: Stage, split: str = "", least: int = 0) -> tuple[str, list[int]]:
        """(split, image ids): those that --image names, else `count` of them, evenly spaced.

        split: where --split was not given; by default the last of the data, "val" where there is
        one. least: how many objects an image must have to be chosen.
        """
        split = self.split or split or _data_of(data).splits[-1]
        if data.name == LOOSE_FILES:
            split = "train"
        images = self.open_split(data, split)
        if self.images and not self.image_file:
            return split, [_parse_id(images, name) for name in self.images]
        usable = _with_objects(images, least, self.count)
        places = np.linspace(0, len(usable) - 1, min(self.count, len(usable))).round().astype(int)
        return split, [int(images.ids[usable[i]]) for i in dict.fromkeys(places.tolist())]


def _cannot_show(figure: str, kind: str, stage: Stage | None) -> BadInput:
    """The error where `stage`, or (None) no stage of the store, can show `figure`."""
    able = [name for name in registry.names(kind) if figure in figures_of(kind, name)]
    if not able:
        return BadInput(f"no {kind} can show {figure}")
    rule = f"{stage} cannot show {figure}" if stage else f"no stage of the store shows {figure}"
    other = "--task knn" if kind == "method" else "--method byol"
    return BadInput(
        f"{rule}; {', '.join(able)} can; run first: bench run --{kind} {able[0]} {other}"
    )


def _with_objects(images: ImageSet, least: int, count: int) -> list[int]:
    """Positions of images with at least `least` objects; of a large set, as far as the first few
    hundred."""
    if not least:
        return list(range(len(images)))
    step = max(1, len(images) // max(400, 4 * count))
    usable = [i for i in range(0, len(images), step) if len(images.objects(i).boxes) >= least]
    if not usable:
        raise BadInput(
            f"{images.name}/{images.split} has no annotated objects; try: --data scenes"
        )
    return usable


def _parse_id(images: ImageSet, name: str) -> int:
    """The id of an image of `images`."""
    if not (name.isdigit() and int(name) in images.ids):
        some = ", ".join(str(i) for i in images.ids[:3])
        raise BadInput(
            f"no file and no image id of {images.name}/{images.split}: {name!r}; ids are like "
            f"{some}"
        )
    return int(name)


def _data_of(data: Stage) -> Data:
    """The component that made the stage."""
    return registry.load("data", data.name).from_identity(dict(data.params["params"]))  # type: ignore[return-value]


def figures_of(kind: str, name: str) -> dict[str, str]:
    """The figures that a component makes; none where it is unavailable or the name is no
    component's, as that of a file of weights is not."""
    if (kind, name) not in registry.entries():
        return {}
    try:
        component: type[Component] = registry.load(kind, name)
    except Unavailable:
        return {}
    return component.figures()
