"""bench perf crops: the speed of crops and proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bench.cli._engine import open_engine
from bench.cli._options import PROPOSALS, SCALE, SET, say_left_out
from bench.cli._table import Column, echo_prose, print_table
from bench.cli.perf._report import REPEATS, REPORT, parse_numbers, write_report
from bench.core.errors import BadInput
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.core.stage import Stage
    from bench.measure.proposal_speed import ScalingRow
    from bench.measure.timing import Summary


@click.command()
@PROPOSALS(
    help="Proposal generators, as names or globs separated by commas; all means those that need "
    "nothing trained or annotated."
)
@click.option(
    "--processes",
    default="1,2,4",
    show_default=True,
    help="Numbers of processes to make proposals with.",
)
@click.option(
    "--images",
    default=32,
    show_default=True,
    type=click.IntRange(2, 100_000),
    help="Number of generated scenes.",
)
@click.option(
    "--size",
    default="320x240",
    show_default=True,
    help="Width and height of the scenes in pixels.",
)
@SCALE(default="paper", help="Scale of the generators' settings: tiny, small or paper.")
@REPEATS()
@SET()
@REPORT()
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
    """Time anchor scores beside a mean for each anchor, and proposals in several processes.

    Proposals in several processes are compared with those in one.
    """
    from bench.measure.proposal_speed import list_races, run_race
    from bench.measure.timing import machine

    counts = parse_numbers("--processes", processes)
    runtime = open_runtime()
    stages = _stages(proposals, images, size, scale, sets, runtime)
    report = {
        "machine": machine(),
        "repeats": repeats,
        "races": [run_race(one, max(repeats, 5)) for one in list_races()],
        "scaling": _scaling(stages, counts, repeats, runtime),
    }
    report["load_after"] = machine()["load"]
    write_report(report, json_file, _print)


def _stages(
    proposals: str, images: int, size: str, scale: str, sets: tuple[str, ...], runtime: Runtime
) -> dict[str, Stage]:
    """The proposals stages of generated scenes."""
    from bench.contracts import registry
    from bench.plan.cell import Cell
    from bench.plan.options import PRETRAIN_DATA, check_scale, match, parse_settings
    from bench.plan.planner import plan_each

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise BadInput(f"--size is WIDTHxHEIGHT, got {size!r}; try: --size 320x240")
    names = match("proposals", "*" if proposals == "all" else proposals, say_left_out)
    data = PRETRAIN_DATA["tiny"]
    scenes = {"n_train": images, "n_val": 1, "width": width, "height": height}
    settings = tuple((f"{data}.{name}", str(value)) for name, value in scenes.items())
    settings = (*settings, *parse_settings(sets))
    cell = Cell("", "", "", data, data, check_scale(scale), 0, settings)
    [(_, stages)] = plan_each(
        [cell], runtime, {}, lambda p: {n: p.proposals(n, p.data(data)) for n in names}
    )
    if proposals != "all":
        return stages
    supervised = {n for n in names if registry.load("proposals", n).supervised}  # type: ignore[attr-defined]
    return {n: s for n, s in stages.items() if set(s.inputs) == {"data"} and n not in supervised}


def _scaling(
    stages: dict[str, Stage], counts: list[int], repeats: int, runtime: Runtime
) -> list[ScalingRow]:
    from bench.measure.proposal_speed import Scaling

    rows: list[ScalingRow] = []
    with open_engine(runtime) as (engine, _):
        for stage in stages.values():
            inputs = {role: engine.ensure(one) for role, one in stage.inputs.items()}
            rows += Scaling(stage, inputs, runtime).rows(counts, repeats)
    return rows


def _print(report: dict[str, Any]) -> None:
    def ms(timing: Summary) -> str:
        return f"{1000 * timing['median']:.3g}"

    heads: tuple[str, ...] = ("mean per anchor", "ours", "ratio", "repeats")
    print_table(
        [Column("work", key=True, wrap=True), *(Column(head, right=True) for head in heads)],
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
        "Scores of all anchors on an activation map, one thread, ms",
    )
    click.echo()
    heads = ("images", "processes", "ms per image", "speed-up", "possible", "serial %", "busy %")
    print_table(
        [
            Column("proposals", key=True),
            *(Column(head, right=True) for head in (*heads, "repeats")),
        ],
        [
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
        ],
        "Proposals of generated scenes: the whole stage",
    )
    echo_prose(
        "possible: the speed-up on free cores, from CPU time. serial: the share of CPU time "
        "of the process that hands out work. busy: CPU time over wall time x processes, which is "
        "below 100 where other programs had the cores. Generators that take less than 5 ms for an "
        "image are timed once."
    )
