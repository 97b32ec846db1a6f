"""bench perf eval: the speed of evaluations and of the loader of frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import Names, ScaleName, local_engine, open_runtime
from bench.cli._perf_common import JSON, REPEATS, numbers, print_table, write_report
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from bench.core.params import Runtime


@click.command(name="eval")
@click.option(
    "--task",
    "-t",
    type=Names("task"),
    default="all",
    show_default=True,
    help="Names or globs; all: those whose evaluation has a plain way to compare with.",
)
@click.option(
    "--scale",
    "-s",
    type=ScaleName(),
    default="paper",
    show_default=True,
    help="How much is evaluated.",
)
@click.option(
    "--data",
    type=Names("data"),
    help="Images for the loaders, NAME or NAME=PATH; by default 500x375 scenes.",
)
@click.option("--split", default="train", show_default=True, help="Of those images.")
@click.option(
    "--images", type=click.IntRange(2, 100_000), help="Generated scenes, by default by scale."
)
@click.option(
    "--workers", default="0,2", show_default=True, help="Numbers of the loaders' processes."
)
@click.option(
    "--loaders/--no-loaders",
    default=True,
    show_default=True,
    help="Time loaders, and a network behind them.",
)
@click.option(
    "--repeats", default=3, show_default=True, type=click.IntRange(1, 1000), help=REPEATS
)
@JSON
def evaluation(
    task: str,
    scale: str,
    data: str | None,
    split: str,
    images: int | None,
    workers: str,
    loaders: bool,
    repeats: int,
    json_file: str | None,
) -> None:
    """COCO's metrics, SVM protocols and loaders of frozen features against the libraries' plain
    ways.

    On made-up detections and features, one thread. Both ways must find the same, else nothing is
    timed. The plain SVMs are solved for some classes only, once, and their time is scaled up. At
    scale paper this takes minutes.
    """
    from bench.contracts import registry
    from bench.measure.perf import machine
    from bench.measure.perf_eval import measure, peer_works, time_loading
    from bench.plan.options import check_scale, match

    counts = numbers("--workers", workers, least=0)
    kinds = [registry.load("task", n) for n in match("task", "*" if task == "all" else task)]
    if not any(kind.peer() for kind in kinds):
        raise BadInput(
            f"nothing to compare {task}'s evaluation with; try: bench perf eval --task all"
        )
    todo = peer_works(kinds, check_scale(scale))
    where = machine()
    rows = [measure(work, repeats) for work in todo]
    if loaders:
        many = images or {"tiny": 8, "small": 64}.get(scale, 250)
        found = _images(data, split, many, open_runtime())
        passes = 1 if scale == "tiny" else max(1, -(-2000 // len(found)))
        rows += [measure(work, repeats) for work in time_loading(found, counts, passes)]
    report = {"machine": where, "repeats": repeats, "rows": rows, "load_after": machine()["load"]}
    write_report(report, json_file, _eval_table)


def _images(data: str | None, split: str, count: int, runtime: Runtime) -> Any:
    """The images the loaders are timed on: those of --data, or generated ones."""
    from bench.contracts import registry
    from bench.plan.cell import Cell
    from bench.plan.options import PRETRAIN_DATA, parse_data
    from bench.plan.planner import plan_each

    name, path = parse_data(data)
    sets: tuple[tuple[str, str], ...] = ()
    if name is None:
        name = PRETRAIN_DATA["tiny"]
        scenes = {"n_train": count, "n_val": 1, "width": 500, "height": 375}
        sets = tuple((f"{name}.{field}", str(value)) for field, value in scenes.items())
    cell = Cell("", "", "", name, name, "paper", 0, sets)
    [(_, stage)] = plan_each([cell], runtime, {name: path}, lambda p: p.data(name))
    with local_engine(runtime) as (engine, _):
        folder = engine.ensure(stage)
    opened = registry.load("data", name).from_identity(dict(stage.params["params"]))
    return opened.load(folder, runtime.roots[stage.key], split)  # type: ignore[attr-defined]


def _eval_table(report: dict[str, Any]) -> None:
    def seconds(one: dict[str, Any]) -> str:
        return f"{one['median']:.3g} ({one['cpu']:.3g})"

    rows = report["rows"]
    heads = ("work", "plain", "ours", "ratio", "CPU ratio", "difference", "repeats")
    lines = [
        (
            r["work"],
            seconds(r["plain"]),
            seconds(r["ours"]),
            f"{r['ours']['ratio']:.2f}x",
            f"{r['ours']['cpu_ratio']:.2f}x",
            f"{r['difference']:.2g}",
            str(r["ours"]["repeats"]),
        )
        for r in rows
    ]
    print_table("Evaluation, wall (CPU) seconds", heads, lines)
    for r in rows:
        facts = "; ".join(f"{name} {value:.4g}" for name, value in r["facts"].items())
        click.echo(f"{r['work']}: {r['what']}" + (f"; {facts}" if facts else ""))
    click.echo(
        "difference: the largest between what both found, in the unit of the result. CPU ratio: "
        "of the CPU "
        "seconds\nof all threads and processes."
    )
