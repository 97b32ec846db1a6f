"""bench perf train: the speed of training steps."""

from __future__ import annotations

from typing import Any

import click

from bench.cli._common import Names, settings
from bench.cli._perf_common import JSON, REPEATS, numbers, print_table, write_report
from bench.core.errors import BadInput, unknown


@click.command()
@click.option(
    "--method",
    "-m",
    type=Names("method"),
    default="all",
    show_default=True,
    help="Names or globs; all: those that lightly has too.",
)
@click.option(
    "--size",
    default=64,
    show_default=True,
    type=click.IntRange(32, 1024),
    help="Of a view, pixels.",
)
@click.option(
    "--batch", default=64, show_default=True, type=click.IntRange(2, 4096), help="Images a step."
)
@click.option("--threads", help="Numbers of threads, like 1,4; by default 1 and every core.")
@click.option(
    "--precision", help="Of ours, like fp32,bf16; by default bf16 too where the processor has it."
)
@click.option(
    "--repeats", default=5, show_default=True, type=click.IntRange(1, 1000), help=REPEATS
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="METHOD.FIELD=VALUE, above scale tiny.",
)
@JSON
def train(
    method: str,
    size: int,
    batch: int,
    threads: str | None,
    precision: str | None,
    repeats: int,
    sets: tuple[str, ...],
    json_file: str | None,
) -> None:
    """A training step on the CPU against the same step in lightly's modules (pip install lightly).

    Equal weights and images; float32 for lightly, as its examples train. Loading and augmenting
    images is in neither. solo-learn is left out: it pins another release of Lightning
    (docs/design/perf.md).
    """
    from bench.measure.perf import machine
    from bench.measure.perf_train import Settings, make, measure

    kinds = _with_peer(method)
    where = machine()
    chosen = Settings(
        batch,
        size,
        _threads(threads, where["cores"]),
        _precisions(precision, where["bf16"]),
        repeats,
    )
    made = [make(kind, chosen, given) for kind, given in _overridden(kinds, settings(sets))]
    rows = [row for one in made for row in measure(one, chosen)]
    report = {"machine": where, "repeats": repeats, "rows": rows, "load_after": machine()["load"]}
    write_report(report, json_file, _train_table)


def _with_peer(method: str) -> dict[str, Any]:
    """The methods named that have a peer, loaded; its library must be there."""
    from bench.contracts import registry
    from bench.plan.options import match

    kinds = {
        n: registry.load("method", n) for n in match("method", "*" if method == "all" else method)
    }
    lacking = [n for n, kind in kinds.items() if kind.peer() is None]
    if method != "all" and lacking:
        raise BadInput(
            f"lightly has no modules for {lacking[0]}; try: bench perf train --method all"
        )
    return {n: kind for n, kind in kinds.items() if n not in lacking}


def _overridden(
    kinds: dict[str, Any], sets: tuple[tuple[str, str], ...]
) -> list[tuple[Any, dict[str, str]]]:
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
    return tuple(dict.fromkeys(numbers("--threads", text) if text else (1, cores)))


def _precisions(text: str | None, has_bf16: bool) -> tuple[str, ...]:
    if text is None:
        return ("fp32", "bf16") if has_bf16 else ("fp32",)
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if set(found) - {"fp32", "bf16"}:
        raise BadInput(
            f"--precision is a list of fp32 and bf16, got {text!r}; try: --precision fp32,bf16"
        )
    return found


def _train_table(report: dict[str, Any]) -> None:
    print_table(
        "Training steps, images/s (median)",
        (
            "method",
            "who",
            "precision",
            "threads",
            "batch",
            "px",
            "images/s",
            "ratio",
            "CPU ratio",
            "repeats",
        ),
        [
            (
                r["method"],
                "lightly" if r["who"] == "peer" else "bench",
                r["precision"],
                str(r["threads"]),
                str(r["batch"]),
                str(r["size"]),
                f"{r['images_per_second']:.1f}",
                f"{r['ratio']:.2f}x",
                f"{r['cpu_ratio']:.2f}x",
                str(r["repeats"]),
            )
            for r in report["rows"]
        ],
        left=3,
    )
    click.echo(
        "CPU ratio: of the CPU seconds of all threads, the better figure where one thread shares "
        "its core.\n"
        "A step is forward, loss, backward, optimizer and moving averages."
    )
