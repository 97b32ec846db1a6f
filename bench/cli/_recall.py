"""bench crops recall: how many objects every proposer finds."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import (
    Names,
    ScaleName,
    devices_option,
    local_engine,
    open_runtime,
    print_json,
    settings,
)
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from bench.core.stage import Stage
    from bench.launch.local import LocalEngine
    from bench.plan.cell import Cell


@click.command()
@click.option(
    "--proposals",
    "-p",
    type=Names("proposals"),
    default="all",
    show_default=True,
    help="Names, globs or all.",
)
@click.option(
    "--data", type=Names("data"), default="scenes", show_default=True, help="NAME or NAME=PATH."
)
@click.option("--split", default="train", show_default=True)
@click.option(
    "--boxes", default="10,100,1000", show_default=True, help="Recall among so many first boxes."
)
@click.option("--iou", default=0.5, show_default=True, type=click.FloatRange(0, 1, min_open=True))
@click.option(
    "--seeds", default=1, show_default=True, type=click.IntRange(1, 100), help="Of the proposers."
)
@click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@click.option("--devices", default="auto", show_default=True)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 256))
@click.option("--json", "as_json", is_flag=True)
def recall(
    proposals: str,
    data: str,
    split: str,
    boxes: str,
    iou: float,
    seeds: int,
    scale: str,
    sets: tuple[str, ...],
    devices: str,
    workers: int,
    as_json: bool,
) -> None:
    """Share of annotated objects that the first boxes of every proposer find.

    Percent of objects, those of all images together, with the half-width of the 95 % interval over
    images. Proposals are ordinary stages, made once. A proposer that keeps fewer boxes than asked
    for (its setting `top`) is asked for as many as the largest count, unless --set says otherwise.
    """
    from bench.plan.cell import Cell
    from bench.plan.options import check_scale, match, parse_data
    from bench.plan.planner import plan_each

    counts = _counts(boxes)
    runtime = open_runtime(devices=devices_option(devices), workers=workers)
    names = match("proposals", "*" if proposals == "all" else proposals)
    name, path = parse_data(data)
    assert name is not None
    cell = _asking_for(
        max(counts), names, Cell("", "", "", name, name, check_scale(scale), 0, settings(sets))
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
    with local_engine(runtime) as (engine, _):
        for proposer, stage in stages.items():
            try:
                rows.append(_row(engine, proposer, stage, counts, iou, seeds))
            except BadInput as error:
                failed[proposer] = str(error)
    if as_json:
        print_json(rows)
    else:
        _table(rows, counts, f"{name} {split}, recall at IoU {iou:g}, %")
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


def _asking_for(most: int, names: list[str], cell: Cell) -> Cell:
    """The cell, told that generators with a `top` below `most` keep `most` boxes, unless it says
    itself."""
    from bench.contracts import registry

    said = {key for key, _ in cell.overrides}
    if said & {"top", "proposals.top"}:
        return cell
    lacking = [
        n
        for n in names
        if f"{n}.top" not in said
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
    found = recalls(images, [load_proposals(folder) for folder in folders], counts, iou)
    about = {
        "proposals": proposer,
        "data": images.name,
        "split": images.split,
        "iou": iou,
        "seeds": seeds,
    }
    settings = proposals_info(folders[0])["proposals"]["params"]
    return {**about, "params": settings, "stage": stage.key, **found}


def _table(rows: list[dict[str, Any]], counts: list[int], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, name in enumerate(
        ("proposals", "images", "objects", "boxes", *(f"at {c}" for c in counts))
    ):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(
            row["proposals"],
            str(row["images"]),
            str(row["objects"]),
            f"{row['boxes_per_image']:.0f}",
            *(_percent(row["recall"][str(c)]) for c in counts),
        )
    console = Console()
    if not console.is_terminal:
        console.width = 110
    console.print(table)


def _percent(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    spread = "" if value["ci95"] is None else f" ±{100 * value['ci95']:.1f}"
    return f"{100 * value['mean']:.1f}{spread}"
