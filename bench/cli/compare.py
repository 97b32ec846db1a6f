"""bench compare KEY KEY...: whether results differ, by resampling their test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import click

from bench.cli._complete import Key
from bench.cli._engine import open_engine
from bench.cli._options import JSON, Names
from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.core.errors import BadInput, nearest
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.measure.resampling import Difference, Finished
    from bench.results.db.database import Database
    from bench.results.views.differences import PairedDifference


@click.command()
@click.argument("keys", nargs=-1, type=Key("evaluate"), metavar="KEY KEY...")
@click.option(
    "--metric",
    default=None,
    metavar="NAME[,NAME...]",
    help="Metrics to compare by, for example AP50,AP75, or all. The default is the task's "
    "headline metric.",
)
@click.option(
    "--resamples",
    default=1000,
    show_default=True,
    type=click.IntRange(100, 1_000_000),
    help="How often the test images are drawn again.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the draws."
)
@click.option(
    "--data",
    type=Names("data"),
    metavar="NAME=PATH",
    help="Where the data of the task is now, if it was moved, for example coco=/data/coco.",
)
@JSON()
def command(
    keys: tuple[str, ...],
    metric: str | None,
    resamples: int,
    seed: int,
    data: str | None,
    as_json: bool,
) -> None:
    """Compare results of one task with the first of them.

    For each: the difference, and its 95 % interval over test images. KEYs are those of
    evaluations: the end of what bench run prints after "files:", or the cells of bench leaderboard
    --json. Test images are drawn with replacement, the same for all results; nothing is trained.

    This interval says what other test images would have changed, not what another seed of the
    training would change. Beside it stands the difference over the seeds that both results have
    here, with an interval of its own. The interval over images is too narrow for fewer than 100
    test images, and where the test set holds copies of an image, which are
    drawn as if they were different ones. Detections of equal scores keep their order, those of an
    image that is drawn twice together, so ties are broken as in the evaluation itself.
    """
    from bench.launch.stored import Selection
    from bench.measure.resampling import ENOUGH, comparable, differences, load_finished
    from bench.results.db.database import open_database

    if len(keys) < 2:
        raise BadInput(
            f"compare takes two or more KEYs, got {len(keys)}; try: bench leaderboard --json"
        )
    with open_engine(open_runtime(devices="cpu")) as (engine, _):
        ask = Selection(engine, data=data or "")
        stages = [ask.find_stage(key, ("evaluate",)) for key in keys]
        comparable(stages)
        members = [load_finished(ask, stage) for stage in stages]
        names = _metrics(members, metric)
        advance = engine.progress.task("resample", resamples + 1)
        rows = differences(members, names, resamples, seed, advance)
        database = open_database(engine.runtime.database)
    over_seeds = _compare_seeds(database, [m.stage.key for m in members], names)
    if as_json:
        print_json(
            {
                "images": len(members[0].scored.ids),
                "too_few_images": len(members[0].scored.ids) < ENOUGH,
                "resamples": resamples,
                "seed": seed,
                "rows": [{**r, "over_seeds": over_seeds[r["metric"], r["key"]]} for r in rows],
            }
        )
    else:
        _print(members, rows, over_seeds, resamples)


def _metrics(members: Sequence[Finished], wanted: str | None) -> list[str]:
    """The metrics asked for; BadInput for a name that not every member has."""
    known = [n for n in members[0].scored.metrics if all(n in m.scored.metrics for m in members)]
    if wanted == "all":
        return known
    names = wanted.split(",") if wanted else [members[0].headline]
    for name in names:
        if name not in known:
            guess = nearest(name, known)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise BadInput(
                f"no metric {name!r} to compare by; {hint}try: --metric {','.join(known)}"
            )
    return names


def _compare_seeds(
    database: Database, keys: Sequence[str], names: Sequence[str]
) -> dict[tuple[str, str], PairedDifference | None]:
    """{(metric, key): the difference of the key's row of the leaderboard from that of the first
    key, over common seeds}; None where they share none, or are seeds of one row."""
    from bench.results.views.differences import paired_difference

    rows = {label: row for row in database.read_rows_of(keys) for label in row["cells"]}
    first, gaps = rows.get(keys[0]), dict.fromkeys(product(names, keys[1:]))
    for name, key in gaps:
        row = rows.get(key)
        if first and row and row is not first:
            one, other = (r["scores"].get(name, {}) for r in (first, row))
            gaps[name, key] = paired_difference(one, other)
    return gaps


def _format_seeds(gap: PairedDifference | None) -> str:
    """`+1.20 ± 0.40 better (seeds 0-2)`."""
    from bench.results.views.commands import compact_seeds
    from bench.results.views.differences import verdict

    if gap is None or gap["ci95"] is None:
        return "fewer than two common seeds"
    seeds = compact_seeds(gap["seeds"])
    return f"{gap['mean']:+.2f} ± {gap['ci95']:.2f} {verdict(gap)} (seeds {seeds})"


def _print(
    members: Sequence[Finished],
    rows: list[Difference],
    over_seeds: Mapping[tuple[str, str], PairedDifference | None],
    resamples: int,
) -> None:
    from bench.measure.resampling import ENOUGH, differing

    first = members[0]
    labels = {m.stage.key: m.label for m in members}
    seeds = [_format_seeds(over_seeds[row["metric"], row["key"]]) for row in rows]
    lines = [
        (
            row["metric"],
            labels[row["key"]],
            f"{row['first']:.2f}",
            f"{row['other']:.2f}",
            f"{row['difference']:+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
            _verdict(row),
            text,
        )
        for row, text in zip(rows, seeds, strict=True)
    ]
    numbers = ("first", "this", "difference", "interval over images")
    print_table(
        [
            Column("metric", key=True),
            Column("result", wrap=True, key=True),
            *(Column(name, right=True) for name in numbers),
            Column("over images", wrap=True),
            Column("over seeds", wrap=True),
        ],
        lines,
        f"{first.stage.name}, beside {first.label}",
    )
    for member in members[1:]:
        if changed := differing(first, member):
            echo_prose(
                f"{member.stage.short} was not scored with the same settings: {', '.join(changed)}"
            )
    images = len(first.scored.ids)
    echo_prose(
        f"The interval over images is of {resamples} draws of the {images} test images; it does "
        "not cover other seeds. That over seeds is of the differences of the seeds that both "
        "results have here; it does not cover other images. Each holds by itself with 95 %."
    )
    if images < ENOUGH:
        echo_prose(
            f"With fewer than {ENOUGH} test images the interval is too narrow: of 60 images it "
            "holds the true difference in 92 to 93 % of all comparisons, not in 95."
        )


def _verdict(row: Difference) -> str:
    """In the words of `bench.results.views.differences.verdict`."""
    if row["low"] <= 0 <= row["high"]:
        return "not distinguishable"
    return "better" if row["difference"] > 0 else "worse"
