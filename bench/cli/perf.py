"""bench perf: ratios to the plain way of doing the same, timed in turns in one run; what trainings learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import Names, ScaleName, local_engine, open_runtime, settings
from bench.cli._learning import learning
from bench.cli._planning import planning
from bench.errors import BadInput, unknown

if TYPE_CHECKING:
    from bench.params import Runtime
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


command.add_command(learning)
command.add_command(planning, "plan")


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
@click.option(
    "--scale", "-s", type=ScaleName(), default="paper", show_default=True, help="Of the generators."
)
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1, 1000), help=REPEATS)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@JSON
def crops(
    proposals: str, processes: str, images: int, size: str, scale: str, repeats: int,
    sets: tuple[str, ...], json_file: str | None,
) -> None:  # fmt: skip
    """Anchor scores against a mean per anchor; proposals in several processes against one."""
    from bench.engine.perf import machine
    from bench.engine.perf_crops import race, races

    counts = _numbers("--processes", processes)
    runtime = open_runtime()
    stages = _stages(proposals, images, size, scale, sets, runtime)
    where = machine()
    report = {
        "machine": where, "repeats": repeats,
        "races": [race(one, max(repeats, 5)) for one in races()],
        "scaling": _scaling(stages, counts, repeats, runtime),
    }  # fmt: skip
    report["load_after"] = machine()["load"]
    _give(report, json_file, _crops_tables)


def _stages(
    proposals: str, images: int, size: str, scale: str, sets: tuple[str, ...], runtime: Runtime
) -> dict[str, Stage]:
    """The proposals stages of generated scenes."""
    from bench import registry
    from bench.cell import PRETRAIN_DATA, Cell, check_scale, match, plan_each

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise BadInput(f"--size is WIDTHxHEIGHT, got {size!r}; try: --size 320x240")
    names = match("proposals", "*" if proposals == "all" else proposals)
    data = PRETRAIN_DATA["tiny"]
    scenes = {"n_train": images, "n_val": 1, "width": width, "height": height}
    given = tuple((f"{data}.{name}", str(value)) for name, value in scenes.items())
    cell = Cell("", "", "", data, data, check_scale(scale), 0, (*given, *settings(sets)))
    [(_, stages)] = plan_each([cell], runtime, {}, lambda p: {n: p.proposals(n, p.data(data)) for n in names})
    if proposals != "all":
        return stages
    supervised = {n for n in names if registry.load("proposals", n).supervised}  # type: ignore[attr-defined]
    return {n: s for n, s in stages.items() if set(s.inputs) == {"data"} and n not in supervised}


def _scaling(
    stages: dict[str, Stage], counts: list[int], repeats: int, runtime: Runtime
) -> list[dict[str, Any]]:
    from bench.engine.perf_crops import Scaling

    rows: list[dict[str, Any]] = []
    with local_engine(runtime) as (engine, _):
        for stage in stages.values():
            inputs = {role: engine.ensure(one) for role, one in stage.inputs.items()}
            rows += Scaling(stage, inputs, runtime).rows(counts, repeats)
    return rows


@command.command()
@click.option(
    "--method", "-m", type=Names("method"), default="all", show_default=True,
    help="Names or globs; all: those that lightly has too.",
)  # fmt: skip
@click.option(
    "--size", default=64, show_default=True, type=click.IntRange(32, 1024), help="Of a view, pixels."
)
@click.option("--batch", default=64, show_default=True, type=click.IntRange(2, 4096), help="Images a step.")
@click.option("--threads", help="Numbers of threads, like 1,4; by default 1 and every core.")
@click.option("--precision", help="Of ours, like fp32,bf16; by default bf16 too where the processor has it.")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1, 1000), help=REPEATS)
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="METHOD.FIELD=VALUE, above scale tiny."
)
@JSON
def train(
    method: str, size: int, batch: int, threads: str | None, precision: str | None, repeats: int,
    sets: tuple[str, ...], json_file: str | None,
) -> None:  # fmt: skip
    """A training step on the CPU against the same step in lightly's modules (pip install lightly).

    Equal weights and images; float32 for lightly, as its examples train. Loading and augmenting images is in
    neither. solo-learn is left out: it pins another release of Lightning (docs/design/perf.md).
    """
    from bench.engine.perf import machine
    from bench.engine.perf_train import Settings, make, measure

    kinds = _with_peer(method)
    where = machine()
    chosen = Settings(
        batch, size, _threads(threads, where["cores"]), _precisions(precision, where["bf16"]), repeats
    )
    made = [make(kind, chosen, given) for kind, given in _overridden(kinds, settings(sets))]
    rows = [row for one in made for row in measure(one, chosen)]
    report = {"machine": where, "repeats": repeats, "rows": rows, "load_after": machine()["load"]}
    _give(report, json_file, _train_table)


@command.command(name="eval")
@click.option(
    "--task", "-t", type=Names("task"), default="all", show_default=True,
    help="Names or globs; all: those whose evaluation has a plain way to compare with.",
)  # fmt: skip
@click.option(
    "--scale", "-s", type=ScaleName(), default="paper", show_default=True, help="How much is evaluated."
)
@click.option(
    "--data", type=Names("data"), help="Images for the loaders, NAME or NAME=PATH; by default 500x375 scenes."
)
@click.option("--split", default="train", show_default=True, help="Of those images.")
@click.option("--images", type=click.IntRange(2, 100_000), help="Generated scenes, by default by scale.")
@click.option("--workers", default="0,2", show_default=True, help="Numbers of the loaders' processes.")
@click.option("--loaders/--no-loaders", default=True, show_default=True, help="Time the loaders, too.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1, 1000), help=REPEATS)
@JSON
def evaluation(
    task: str, scale: str, data: str | None, split: str, images: int | None, workers: str, loaders: bool,
    repeats: int, json_file: str | None,
) -> None:  # fmt: skip
    """COCO's metrics, SVM protocols and loaders of frozen features against the libraries' plain ways.

    On made-up detections and features, one thread. Both ways must find the same, else nothing is timed. The
    plain SVMs are solved for some classes only, once, and their time is scaled up. At scale paper this
    takes minutes.
    """
    from bench import registry
    from bench.cell import check_scale, match
    from bench.engine.perf import machine
    from bench.engine.perf_eval import loading, measure, works

    counts = _numbers("--workers", workers, least=0)
    kinds = [registry.load("task", n) for n in match("task", "*" if task == "all" else task)]
    if not any(kind.peer for kind in kinds):
        raise BadInput(f"nothing to compare {task}'s evaluation with; try: bench perf eval --task all")
    todo = works(kinds, check_scale(scale))
    where = machine()
    rows = [measure(work, repeats) for work in todo]
    if loaders:
        many = images or {"tiny": 8, "small": 64}.get(scale, 250)
        found = _images(data, split, many, open_runtime())
        passes = 1 if scale == "tiny" else max(1, -(-2000 // len(found)))
        rows += [measure(work, repeats) for work in loading(found, counts, passes)]
    report = {"machine": where, "repeats": repeats, "rows": rows, "load_after": machine()["load"]}
    _give(report, json_file, _eval_table)


def _images(data: str | None, split: str, count: int, runtime: Runtime) -> Any:
    """The images the loaders are timed on: those of --data, or generated ones."""
    from bench import registry
    from bench.cell import PRETRAIN_DATA, Cell, parse_data, plan_each

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


def _with_peer(method: str) -> dict[str, Any]:
    """The methods named that have a peer, loaded; its library must be there."""
    from bench import registry
    from bench.cell import match
    from bench.engine.perf import peer

    kinds = {n: registry.load("method", n) for n in match("method", "*" if method == "all" else method)}
    lacking = [n for n, kind in kinds.items() if not kind.peer]
    if method != "all" and lacking:
        raise BadInput(f"lightly has no modules for {lacking[0]}; try: bench perf train --method all")
    found = {n: kind for n, kind in kinds.items() if kind.peer}
    for kind in found.values():
        peer(kind.peer)
    return found


def _overridden(kinds: dict[str, Any], sets: tuple[tuple[str, str], ...]) -> list[tuple[Any, dict[str, str]]]:
    """Every method with its settings; a bare FIELD, or method.FIELD, is for all of them."""
    given: dict[str, dict[str, str]] = {name: {} for name in kinds}
    for key, value in sets:
        owner, _, field = key.rpartition(".")
        if owner not in (*kinds, "", "method"):
            raise unknown("method to time", owner, kinds, "bench perf train --help")
        for name in [owner] if owner in kinds else kinds:
            given[name][field] = value
    return [(kinds[name], fields) for name, fields in given.items()]


def _threads(text: str | None, cores: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_numbers("--threads", text) if text else (1, cores)))


def _precisions(text: str | None, has_bf16: bool) -> tuple[str, ...]:
    if text is None:
        return ("fp32", "bf16") if has_bf16 else ("fp32",)
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if set(found) - {"fp32", "bf16"}:
        raise BadInput(f"--precision is a list of fp32 and bf16, got {text!r}; try: --precision fp32,bf16")
    return found


def _numbers(option: str, text: str, least: int = 1) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < least:
        kind = "positive numbers" if least else "numbers from 0"
        raise BadInput(f"{option} is a list of {kind}, got {text!r}; try: {option} {least},2")
    return found


def _give(report: dict[str, Any], json_file: str | None, table: Callable[[dict[str, Any]], None]) -> None:
    """The report as JSON to stdout, or as a table and, if asked, as JSON to a file."""
    text = json.dumps(report, indent=1, allow_nan=False)
    if json_file == "-":
        click.echo(text)
        return
    where = report["machine"]
    versions = ", ".join(f"{name} {found}" for name, found in where["versions"].items())
    click.echo(f"{where['cpu']}, {where['cores']} cores, bf16 {'yes' if where['bf16'] else 'no'}; {versions}")
    click.echo(
        f"load average {where['load']:.1f} before, {report['load_after']:.1f} after: others may have had the "
        "cores; trust ratios"
    )
    table(report)
    if json_file:
        try:
            Path(json_file).write_text(text + "\n")
        except OSError as error:
            raise BadInput(f"--json {json_file} cannot be written: {error.strerror}") from None


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], left: int = 1) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)


def _crops_tables(report: dict[str, Any]) -> None:
    def ms(one: dict[str, Any]) -> str:
        return f"{1000 * one['median']:.3g}"

    _table(
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
            r["proposals"], str(r["images"]), str(r["processes"]), f"{r['ms_per_image']:.3g}",
            f"{r['ratio']:.2f}x", f"{r['possible']:.2f}x", f"{100 * r['serial']:.2f}",
            f"{100 * r['busy']:.0f}", str(r["repeats"]),
        )
        for r in report["scaling"]
    ]  # fmt: skip
    heads = ("proposals", "images", "processes", "ms per image", "speed-up", "possible", "serial %", "busy %")
    _table("Proposals of generated scenes: the whole stage", (*heads, "repeats"), scaling)
    click.echo(
        "possible: the speed-up by CPU time, on free cores; serial: CPU time of the process that hands out\n"
        "work; busy: CPU time over wall time x processes, below 100 where others had the cores.\n"
        "Generators under 5 ms an image are timed once."
    )


def _train_table(report: dict[str, Any]) -> None:
    _table(
        "Training steps, images/s (median)",
        ("method", "who", "precision", "threads", "batch", "px", "images/s", "ratio", "CPU ratio", "repeats"),
        [
            (
                r["method"], "lightly" if r["who"] == "peer" else "bench", r["precision"], str(r["threads"]),
                str(r["batch"]), str(r["size"]), f"{r['images_per_second']:.1f}", f"{r['ratio']:.2f}x",
                f"{r['cpu_ratio']:.2f}x", str(r["repeats"]),
            )
            for r in report["rows"]
        ],
        left=3,
    )  # fmt: skip
    click.echo(
        "CPU ratio: of the CPU seconds of all threads, the better figure where one thread shares its core.\n"
        "A step is forward, loss, backward, optimizer and moving averages."
    )


def _eval_table(report: dict[str, Any]) -> None:
    def seconds(one: dict[str, Any]) -> str:
        return f"{one['median']:.3g} ({one['cpu']:.3g})"

    rows = report["rows"]
    heads = ("work", "plain", "ours", "ratio", "CPU ratio", "difference", "repeats")
    lines = [
        (
            r["work"], seconds(r["plain"]), seconds(r["ours"]), f"{r['ours']['ratio']:.2f}x",
            f"{r['ours']['cpu_ratio']:.2f}x", f"{r['difference']:.2g}", str(r["ours"]["repeats"]),
        )
        for r in rows
    ]  # fmt: skip
    _table("Evaluation, wall (CPU) seconds", heads, lines)
    for r in rows:
        facts = "; ".join(f"{name} {value:.4g}" for name, value in r["facts"].items())
        click.echo(f"{r['work']}: {r['what']}" + (f"; {facts}" if facts else ""))
    click.echo(
        "difference: the largest between what both found, in the unit of the result. CPU ratio: of the CPU "
        "seconds\nof all threads and processes."
    )
