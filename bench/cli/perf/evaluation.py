"""bench perf eval: the speed of evaluations and of the loader of frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bench.cli._engine import open_engine
from bench.cli._options import IMAGES_DATA, SCALE, SPLIT, TASK, say_left_out
from bench.cli._table import Column, echo_prose, print_table
from bench.cli.perf._report import REPEATS, REPORT, parse_numbers, write_report
from bench.core.errors import BadInput
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.core.params import Runtime
    from bench.measure.timing import Summary


@click.command(name="eval")
@TASK(
    default="all",
    show_default=True,
    help="Tasks, as names or globs separated by commas; all means those whose evaluation has a "
    "usual way to compare with.",
)
@SCALE(default="paper", help="How much is evaluated: as much as at scale tiny, small or paper.")
@IMAGES_DATA(
    default=None,
    show_default=False,
    help="Data whose images are loaded, for example coco=/data/coco. The default is generated "
    "scenes of 500 x 375 pixels.",
)
@SPLIT()
@click.option(
    "--images",
    type=click.IntRange(2, 100_000),
    help="Number of generated scenes. The scale sets the default.",
)
@click.option(
    "--workers",
    default="0,2",
    show_default=True,
    help="Numbers of processes to load images with.",
)
@click.option(
    "--loaders/--no-loaders",
    default=True,
    show_default=True,
    help="Time loaders too, and a network that they feed.",
)
@REPEATS()
@REPORT()
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
    """Time COCO's metrics, SVM protocols and loaders of frozen features beside the usual ways.

    The usual ways are those of other libraries. Detections and features are made up, and one
    thread computes. Both ways must give the same result, otherwise nothing is timed. The usual
    SVMs are solved once, for some classes only, and their time is scaled up. At scale paper this
    takes minutes.
    """
    from bench.contracts import registry
    from bench.measure.evaluation_speed import measure, peer_works, time_loading
    from bench.measure.timing import machine
    from bench.plan.options import check_scale, match

    counts = parse_numbers("--workers", workers, least=0)
    names = match("task", "*" if task == "all" else task, say_left_out)
    kinds = [registry.load("task", n) for n in names]
    if not any(kind.peer() for kind in kinds):
        raise BadInput(
            f"there is nothing to compare the evaluation of {task} with; "
            "try: bench perf eval --task all"
        )
    works = peer_works(kinds, check_scale(scale))
    before = machine()
    rows = [measure(work, repeats) for work in works]
    if loaders:
        many = images or {"tiny": 8, "small": 64}.get(scale, 250)
        shown = _open_images(data, split, many, open_runtime())
        passes = 1 if scale == "tiny" else max(1, -(-2000 // len(shown)))
        rows += [measure(work, repeats) for work in time_loading(shown, counts, passes)]
    report = {"machine": before, "repeats": repeats, "rows": rows, "load_after": machine()["load"]}
    write_report(report, json_file, _print)


def _open_images(data: str | None, split: str, count: int, runtime: Runtime) -> ImageSet:
    """The images the loaders are timed on: those of --data, or generated ones."""
    from bench.contracts import registry
    from bench.plan.cell import Cell
    from bench.plan.options import PRETRAIN_DATA, parse_data
    from bench.plan.planner import plan_each

    name, path, _, sets = parse_data(data)
    if name is None:
        name = PRETRAIN_DATA["tiny"]
        scenes = {"n_train": count, "n_val": 1, "width": 500, "height": 375}
        sets = tuple((f"{name}.{field}", str(value)) for field, value in scenes.items())
    cell = Cell("", "", "", name, name, "paper", 0, sets)
    [(_, stage)] = plan_each([cell], runtime, {name: path}, lambda p: p.data(name))
    with open_engine(runtime) as (engine, _):
        folder = engine.ensure(stage)
    component: Any = registry.load("data", name).from_identity(dict(stage.params["params"]))
    images: ImageSet = component.load(folder, runtime.roots[stage.key], split)
    return images


def _print(report: dict[str, Any]) -> None:
    def seconds(timing: Summary) -> str:
        return f"{timing['median']:.3g} ({timing['cpu']:.3g})"

    rows = report["rows"]
    numbers = ("plain", "ours", "ratio", "CPU ratio", "difference", "repeats")
    print_table(
        [Column("work", key=True, wrap=True), *(Column(head, right=True) for head in numbers)],
        [
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
        ],
        "Evaluation, wall (CPU) seconds",
    )
    for r in rows:
        facts = "; ".join(f"{name} {value:.4g}" for name, value in r["facts"].items())
        echo_prose(f"{r['work']}: {r['what']}" + (f"; {facts}" if facts else ""), "  ", "")
    echo_prose(
        "difference: the largest difference of the two results, in their unit. CPU ratio: the "
        "ratio of the CPU seconds of all threads and processes."
    )
