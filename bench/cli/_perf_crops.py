"""bench perf crops: the speed of crops and proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import Names, ScaleName, local_engine, open_runtime, settings
from bench.cli._perf_common import JSON, REPEATS, numbers, print_table, write_report
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.core.stage import Stage


@click.command()
@click.option(
    "--proposals",
    "-p",
    type=Names("proposals"),
    default="all",
    show_default=True,
    help="Generators to run in 1, 2, ... processes; all: those that need nothing trained or annotated.",
)
@click.option("--processes", default="1,2,4", show_default=True, help="Numbers of processes.")
@click.option(
    "--images",
    default=32,
    show_default=True,
    type=click.IntRange(2, 100_000),
    help="Generated scenes.",
)
@click.option("--size", default="320x240", show_default=True, help="Of the scenes, WIDTHxHEIGHT.")
@click.option(
    "--scale",
    "-s",
    type=ScaleName(),
    default="paper",
    show_default=True,
    help="Of the generators.",
)
@click.option(
    "--repeats", default=3, show_default=True, type=click.IntRange(1, 1000), help=REPEATS
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@JSON
def crops(
    proposals: str,
    processes: str,
    images: int,
    size: str,
    scale: str,
    repeats: int,
    sets: tuple[str, ...],
    json_file: str | None,
) -> None:
    """Anchor scores against a mean per anchor; proposals in several processes against one."""
    from bench.measure.perf import machine
    from bench.measure.perf_crops import race, races

    counts = numbers("--processes", processes)
    runtime = open_runtime()
    stages = _stages(proposals, images, size, scale, sets, runtime)
    where = machine()
    report = {
        "machine": where,
        "repeats": repeats,
        "races": [race(one, max(repeats, 5)) for one in races()],
        "scaling": _scaling(stages, counts, repeats, runtime),
    }
    report["load_after"] = machine()["load"]
    write_report(report, json_file, _crops_tables)


def _stages(
    proposals: str, images: int, size: str, scale: str, sets: tuple[str, ...], runtime: Runtime
) -> dict[str, Stage]:
    """The proposals stages of generated scenes."""
    from bench.contracts import registry
    from bench.plan.cell import Cell
    from bench.plan.options import PRETRAIN_DATA, check_scale, match
    from bench.plan.planner import plan_each

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise BadInput(f"--size is WIDTHxHEIGHT, got {size!r}; try: --size 320x240")
    names = match("proposals", "*" if proposals == "all" else proposals)
    data = PRETRAIN_DATA["tiny"]
    scenes = {"n_train": images, "n_val": 1, "width": width, "height": height}
    given = tuple((f"{data}.{name}", str(value)) for name, value in scenes.items())
    cell = Cell("", "", "", data, data, check_scale(scale), 0, (*given, *settings(sets)))
    [(_, stages)] = plan_each(
        [cell], runtime, {}, lambda p: {n: p.proposals(n, p.data(data)) for n in names}
    )
    if proposals != "all":
        return stages
    supervised = {n for n in names if registry.load("proposals", n).supervised}  # type: ignore[attr-defined]
    return {n: s for n, s in stages.items() if set(s.inputs) == {"data"} and n not in supervised}


def _scaling(
    stages: dict[str, Stage], counts: list[int], repeats: int, runtime: Runtime
) -> list[dict[str, Any]]:
    from bench.measure.perf_crops import Scaling

    rows: list[dict[str, Any]] = []
    with local_engine(runtime) as (engine, _):
        for stage in stages.values():
            inputs = {role: engine.ensure(one) for role, one in stage.inputs.items()}
            rows += Scaling(stage, inputs, runtime).rows(counts, repeats)
    return rows


def _crops_tables(report: dict[str, Any]) -> None:
    def ms(one: dict[str, Any]) -> str:
        return f"{1000 * one['median']:.3g}"

    print_table(
        "Scores of all anchors on an activation map, one thread, ms",
        ("work", "mean per anchor", "ours", "ratio", "repeats"),
        [
            (
                r["race"],
                ms(r["plain"]),
                ms(r["ours"]),
                f"{r['ours']['ratio']:.0f}x",
                str(r["ours"]["repeats"]),
            )
            for r in report["races"]
        ],
    )
    scaling = [
        (
            r["proposals"],
            str(r["images"]),
            str(r["processes"]),
            f"{r['ms_per_image']:.3g}",
            f"{r['ratio']:.2f}x",
            f"{r['possible']:.2f}x",
            f"{100 * r['serial']:.2f}",
            f"{100 * r['busy']:.0f}",
            str(r["repeats"]),
        )
        for r in report["scaling"]
    ]
    heads = (
        "proposals",
        "images",
        "processes",
        "ms per image",
        "speed-up",
        "possible",
        "serial %",
        "busy %",
    )
    print_table("Proposals of generated scenes: the whole stage", (*heads, "repeats"), scaling)
    click.echo(
        "possible: the speed-up by CPU time, on free cores; serial: CPU time of the process that "
        "hands out\n"
        "work; busy: CPU time over wall time x processes, below 100 where others had the cores.\n"
        "Generators under 5 ms an image are timed once."
    )
