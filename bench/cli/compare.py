"""bench compare KEY KEY...: whether results differ, by resampling their test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import Names, local_engine, open_runtime, print_json
from bench.core.errors import BadInput, nearest

if TYPE_CHECKING:
    from bench.measure.resampling import Finished


@click.command()
@click.argument("keys", nargs=-1, metavar="KEY KEY...")
@click.option(
    "--metric", default=None, metavar="NAME[,NAME...]", help="Or all; the headline unless told."
)
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(100, 1_000_000))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the draws.")
@click.option("--data", type=Names("data"), help="NAME=PATH, where the task's data lies now.")
@click.option("--json", "as_json", is_flag=True)
def command(
    keys: tuple[str, ...],
    metric: str | None,
    resamples: int,
    seed: int,
    data: str | None,
    as_json: bool,
) -> None:
    """Compare results of one task with the first: the difference, and its 95 % interval over test
    images.

    KEYs are of evaluations: the end of what bench run prints as `files:`, or the cells of bench
    leaderboard --json. Test images are drawn with replacement, the same for all; nothing is
    trained. The interval says
    what other images would have changed, not what another seed of the training would: for that,
    run several seeds and see bench leaderboard.
    """
    from bench.launch.stored import Selection
    from bench.measure.resampling import comparable, differences, load_finished

    if len(keys) < 2:
        raise BadInput(
            f"two or more results are compared, got {len(keys)} KEY; try: bench leaderboard --json"
        )
    with local_engine(open_runtime(devices="cpu")) as (engine, _):
        ask = Selection(engine, data=data or "")
        stages = [ask.find_stage(key, ("evaluate",)) for key in keys]
        comparable(stages)
        members = [load_finished(ask, stage) for stage in stages]
        names = _metrics(members, metric)
        advance = engine.progress.task("resample", resamples + 1)
        rows = differences(members, names, resamples, seed, advance)
    if as_json:
        print_json(
            {
                "images": len(members[0].scored.ids),
                "resamples": resamples,
                "seed": seed,
                "rows": rows,
            }
        )
    else:
        _print(members, rows, resamples)


def _metrics(members: Sequence[Finished], given: str | None) -> list[str]:
    """The metrics asked for; BadInput for a name that not every member has."""
    known = [n for n in members[0].scored.metrics if all(n in m.scored.metrics for m in members)]
    if given == "all":
        return known
    names = given.split(",") if given else [members[0].headline]
    for name in names:
        if name not in known:
            guess = nearest(name, known)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise BadInput(
                f"no metric {name!r} to compare by; {hint}try: --metric {','.join(known)}"
            )
    return names


def _print(members: Sequence[Finished], rows: list[dict[str, Any]], resamples: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from bench.measure.resampling import differing

    console = Console()
    if not console.is_terminal:
        console.width = 160
    first = members[0]
    labels = {m.stage.key: m.label for m in members}
    images = len(first.scored.ids)
    table = Table(title=f"{first.stage.name}, beside {first.label}", title_justify="left")
    for name in ("metric", "result"):
        table.add_column(name, no_wrap=True)
    for name in ("first", "this", "difference", "95 % interval", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in rows:
        figures = f"{row['first']:.2f}", f"{row['other']:.2f}", f"{row['difference']:+.2f}"
        between = f"{row['low']:+.2f} to {row['high']:+.2f}"
        table.add_row(row["metric"], labels[row["key"]], *figures, between, _verdict(row))
    console.print(table, markup=False)
    for member in members[1:]:
        if changed := differing(first, member):
            click.echo(
                f"{member.stage.short} was not scored with the same settings: {', '.join(changed)}"
            )
    click.echo(
        f"Interval: {resamples} draws of the {images} test images; it does not cover other seeds."
    )


def _verdict(row: dict[str, Any]) -> str:
    """In the words of `bench.results.views.compare.verdict`."""
    if row["low"] <= 0 <= row["high"]:
        return "not distinguishable"
    return "better" if row["difference"] > 0 else "worse"
