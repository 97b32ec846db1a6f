"""bench perf train: the speed of training steps."""

from __future__ import annotations

from typing import Any

import click

from bench.cli._options import METHOD, SET, say_left_out
from bench.cli._table import Column, echo_prose, print_table
from bench.cli.perf._report import REPEATS, REPORT, parse_numbers, write_report
from bench.core.errors import BadInput, unknown


@click.command()
@METHOD(
    default="all",
    show_default=True,
    help="Methods, as names or globs separated by commas; all means those that lightly has too.",
)
@click.option(
    "--size",
    default=64,
    show_default=True,
    type=click.IntRange(32, 1024),
    help="Side of a view in pixels.",
)
@click.option(
    "--batch",
    default=64,
    show_default=True,
    type=click.IntRange(2, 4096),
    help="Images of a step.",
)
@click.option(
    "--threads",
    help="Numbers of threads to train with, for example 1,4. The default is 1 and every core.",
)
@click.option(
    "--precision",
    help="Numbers to train our methods with, for example fp32,bf16. The default has bf16 where "
    "the processor multiplies it.",
)
@REPEATS(default=5)
@SET()
@REPORT()
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
    """Time a training step on the CPU beside the same step in lightly's modules.

    It needs pip install lightly. Both steps have equal weights and images; lightly trains in
    float32, as its examples do. Loading and augmenting images is in neither step. solo-learn is
    left out: it pins another release of Lightning (docs/design/perf.md).
    """
    from bench.measure.timing import machine
    from bench.measure.training_speed import Settings, make, measure
    from bench.plan.options import parse_settings

    kinds = _with_peer(method)
    before = machine()
    settings = Settings(
        batch,
        size,
        _threads(threads, before["cores"]),
        _precisions(precision, before["bf16"]),
        repeats,
    )
    overrides = _settings_of_each(kinds, parse_settings(sets))
    methods = [make(kind, settings, fields) for kind, fields in overrides]
    rows = [row for each in methods for row in measure(each, settings)]
    report = {"machine": before, "repeats": repeats, "rows": rows, "load_after": machine()["load"]}
    write_report(report, json_file, _print)


def _with_peer(method: str) -> dict[str, Any]:
    """The methods named that have a peer, loaded; its library must be there."""
    from bench.contracts import registry
    from bench.plan.options import match

    names = match("method", "*" if method == "all" else method, say_left_out)
    kinds = {n: registry.load("method", n) for n in names}
    lacking = [n for n, kind in kinds.items() if kind.peer() is None]
    if method != "all" and lacking:
        raise BadInput(
            f"lightly has no modules for {lacking[0]}; try: bench perf train --method all"
        )
    return {n: kind for n, kind in kinds.items() if n not in lacking}


def _settings_of_each(
    kinds: dict[str, Any], sets: tuple[tuple[str, str], ...]
) -> list[tuple[Any, dict[str, str]]]:
    """Every method with its settings; a bare FIELD, or method.FIELD, is for all of them."""
    fields: dict[str, dict[str, str]] = {name: {} for name in kinds}
    for key, value in sets:
        owner, _, field = key.rpartition(".")
        if owner not in (*kinds, "", "method"):
            raise unknown("method to time", owner, kinds, "bench perf train --help")
        for name in [owner] if owner in kinds else kinds:
            fields[name][field] = value
    return [(kinds[name], values) for name, values in fields.items()]


def _threads(text: str | None, cores: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(parse_numbers("--threads", text) if text else (1, cores)))


def _precisions(text: str | None, has_bf16: bool) -> tuple[str, ...]:
    if text is None:
        return ("fp32", "bf16") if has_bf16 else ("fp32",)
    precisions = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if set(precisions) - {"fp32", "bf16"}:
        raise BadInput(
            f"--precision is a list of fp32 and bf16, got {text!r}; try: --precision fp32,bf16"
        )
    return precisions


def _print(report: dict[str, Any]) -> None:
    numbers = ("threads", "batch", "px", "images/s", "ratio", "CPU ratio", "repeats")
    print_table(
        [
            *(Column(head, key=True) for head in ("method", "who", "precision")),
            *(Column(head, right=True) for head in numbers),
        ],
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
        "Training steps, images/s (median)",
    )
    echo_prose(
        "CPU ratio: the ratio of the CPU seconds of all threads, which says more where one thread "
        "shares its core. A step is forward, loss, backward, optimizer and moving averages."
    )
