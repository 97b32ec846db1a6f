"""bench perf: ratios to the plain way of doing the same, timed in turns in one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import Names, local_engine, open_runtime, settings
from bench.errors import BadInput

if TYPE_CHECKING:
    from bench.stage import Stage

JSON = click.option(
    "--json", "json_file", metavar="FILE|-", help="Write the figures as JSON; -: to stdout, no table."
)
REPEATS = "Timings of each way, in turns; the table shows medians."


@click.group()
def command() -> None:
    """Measure speed as a ratio to the plain way, in one run.

    Ratios within a table can be trusted, absolute figures depend on what else the machine does.
    """


@command.command()
@click.option(
    "--proposals", "-p", type=Names("proposals"), default="all", show_default=True,
    help="Generators to run in 1, 2, ... processes; all: those that need nothing trained or annotated.",
)  # fmt: skip
@click.option("--processes", default="1,2,4", show_default=True, help="Numbers of processes.")
@click.option(
    "--images", default=32, show_default=True, type=click.IntRange(2, 100_000), help="Generated scenes."
)
@click.option("--size", default="320x240", show_default=True, help="Of the scenes, WIDTHxHEIGHT.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1, 1000), help=REPEATS)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@JSON
def crops(
    proposals: str, processes: str, images: int, size: str, repeats: int, sets: tuple[str, ...],
    json_file: str | None,
) -> None:  # fmt: skip
    """Anchor scores against a mean per anchor; proposals in several processes against one."""
    from bench.engine.perf import machine
    from bench.engine.perf_crops import race, races

    counts = _numbers("--processes", processes)
    where = machine()
    stages = _stages(proposals, images, size, sets)
    report = {
        "machine": where, "repeats": repeats,
        "races": [race(one, max(repeats, 5)) for one in races()],
        "scaling": _scaling(stages, counts, repeats),
    }  # fmt: skip
    report["load_after"] = machine()["load"]
    _give(report, json_file, _crops_tables)


def _stages(proposals: str, images: int, size: str, sets: tuple[str, ...]) -> dict[str, Stage]:
    """The proposals stages of generated scenes, at the generators' full settings."""
    from bench import registry
    from bench.cell import PRETRAIN_DATA, Cell, match, plan_each

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise BadInput(f"--size is WIDTHxHEIGHT, got {size!r}; try: --size 320x240")
    if proposals == "all":
        kinds = ((n, registry.load("proposals", n)) for n in registry.names("proposals"))
        names = [n for n, kind in kinds if not (_needs_more(kind) or kind.supervised)]  # type: ignore[attr-defined]
    else:
        names = match("proposals", proposals)
    data = PRETRAIN_DATA["tiny"]
    scenes = {"n_train": images, "n_val": 1, "width": width, "height": height}
    given = tuple((f"{data}.{name}", str(value)) for name, value in scenes.items())
    cell = Cell("", "", "", data, data, "paper", 0, (*given, *settings(sets)))
    runtime = open_runtime()
    [(_, stages)] = plan_each(
        [cell], runtime, {}, lambda p: {n: p.proposals(n, p.data(data)) for n in names}
    )
    return stages


def _needs_more(kind: Any) -> bool:
    """Does the generator name input stages at its default settings?"""
    from bench.proposals import Proposals

    return kind.stages is not Proposals.stages and kind.on_device or "boxes" in ""


def _scaling(stages: dict[str, Stage], counts: list[int], repeats: int) -> list[dict[str, Any]]:
    from bench.engine.perf_crops import Scaling

    runtime = open_runtime()
    rows: list[dict[str, Any]] = []
    with local_engine(runtime) as (engine, _):
        for stage in stages.values():
            inputs = {role: engine.ensure(one) for role, one in stage.inputs.items()}
            rows += Scaling(stage, inputs, runtime).rows(counts, repeats)
    return rows
