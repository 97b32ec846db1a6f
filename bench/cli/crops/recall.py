"""bench crops recall: how many objects every proposer finds."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bench.cli._engine import open_engine
from bench.cli._options import (
    IMAGES_DATA,
    JSON,
    PROPOSALS,
    SCALE,
    SET,
    SPLIT,
    device_options,
    say_left_out,
)
from bench.cli._table import Column, print_json, print_table
from bench.cli._verb import renamed_options
from bench.core.errors import BadInput
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from pathlib import Path

    from bench.core.stage import Stage
    from bench.launch.local import LocalEngine
    from bench.plan.cell import Cell


@click.command(cls=renamed_options(seeds="repeats"))
@PROPOSALS()
@IMAGES_DATA()
@SPLIT()
@click.option(
    "--boxes",
    default="10,100,1000",
    show_default=True,
    help="Numbers of first boxes that recall is measured among.",
)
@click.option(
    "--iou",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Overlap with an object at which a box finds it.",
)
@click.option(
    "--repeats",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Number of times that the proposals are made, each with another seed.",
)
@SCALE()
@SET()
@device_options
@JSON()
def recall(
    proposals: str,
    data: str,
    split: str,
    boxes: str,
    iou: float,
    repeats: int,
    scale: str,
    sets: tuple[str, ...],
    devices: int | str,
    workers: int,
    as_json: bool,
) -> None:
    """Measure the share of annotated objects that the first boxes of every generator find.

    Numbers are percent of the objects of all images together, with the half-width of the 95 %
    interval over images. Proposals are ordinary stages, made once. A generator whose setting
    "top" keeps fewer boxes than the largest number asked for keeps as many as that, unless --set
    says otherwise.
    """
    from bench.plan.cell import Cell
    from bench.plan.options import check_scale, match, parse_data, parse_settings
    from bench.plan.planner import plan_each

    counts = _counts(boxes)
    runtime = open_runtime(devices=devices, workers=workers)
    names = match("proposals", "*" if proposals == "all" else proposals, say_left_out)
    name, path, _, named = parse_data(data)
    if name is None:
        raise BadInput("--data is empty; try: --data scenes")
    settings = (*named, *parse_settings(sets))
    cell = _keep_boxes(
        max(counts), names, Cell("", "", "", name, name, check_scale(scale), 0, settings)
    )
    paths: dict[str, Path | None] = {name: path}
    [(_, stages)] = plan_each(
        [cell],
        runtime,
        paths,
        lambda p: {n: p.proposals(n, p.data(name)) for n in names},
        split=split,
    )
    rows, failed = [], {}
    with open_engine(runtime) as (engine, _):
        for proposer, stage in stages.items():
            try:
                rows.append(_row(engine, proposer, stage, counts, iou, repeats))
            except BadInput as error:
                failed[proposer] = str(error)
    if as_json:
        print_json(rows)
    else:
        _print(rows, counts, f"{name} {split}, recall at IoU {iou:g}, %")
    for proposer, reason in failed.items():
        click.echo(f"bench: {proposer}: {reason}", err=True)
    sys.exit(2 if failed else 0)


def _counts(text: str) -> list[int]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 1:
        raise BadInput(
            f"--boxes is a list of positive numbers, got {text!r}; try: --boxes 10,100,1000"
        )
    return counts


def _keep_boxes(most: int, names: list[str], cell: Cell) -> Cell:
    """The cell with a setting for each generator whose `top` is below `most` to keep `most` boxes,
    unless the cell sets it."""
    from bench.contracts import registry

    changed = {key for key, _ in cell.overrides}
    if changed & {"top", "proposals.top"}:
        return cell
    lacking = [
        n
        for n in names
        if f"{n}.top" not in changed
        and getattr(registry.load("proposals", n).resolve(cell.scale).params, "top", most) < most
    ]
    return replace(cell, overrides=(*((f"{n}.top", str(most)) for n in lacking), *cell.overrides))


def _row(
    engine: LocalEngine, proposer: str, stage: Stage, counts: list[int], iou: float, seeds: int
) -> dict[str, Any]:
    from bench.contracts.context import StageContext
    from bench.measure.recall import recalls
    from bench.stages.proposals import load_proposals, proposals_info

    folders = [
        engine.ensure(replace(stage, params={**stage.params, "seed": s})) for s in range(seeds)
    ]
    inputs = {"data": engine.ensure(stage.inputs["data"])}
    images = StageContext(stage, folders[0], inputs, engine.runtime).images(
        "data", stage.params["split"]
    )
    measured = recalls(images, [load_proposals(folder) for folder in folders], counts, iou)
    about = {
        "proposals": proposer,
        "data": images.name,
        "split": images.split,
        "iou": iou,
        "seeds": seeds,
    }
    settings = proposals_info(folders[0])["proposals"]["params"]
    return {**about, "params": settings, "stage": stage.key, **measured}


def _print(rows: list[dict[str, Any]], counts: list[int], title: str) -> None:
    heads = ("images", "objects", "boxes", *(f"at {count}" for count in counts))
    print_table(
        [Column("proposals", key=True), *(Column(head, right=True) for head in heads)],
        [
            (
                row["proposals"],
                str(row["images"]),
                str(row["objects"]),
                f"{row['boxes_per_image']:.0f}",
                *(_percent(row["recall"][str(count)]) for count in counts),
            )
            for row in rows
        ],
        title,
    )


def _percent(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    spread = "" if value["ci95"] is None else f" ±{100 * value['ci95']:.1f}"
    return f"{100 * value['mean']:.1f}{spread}"
