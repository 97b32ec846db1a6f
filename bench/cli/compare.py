"""bench compare KEY KEY...: whether results differ, by resampling their test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bench.cli._engine import open_engine
from bench.cli._options import JSON, Names
from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.core.errors import BadInput, nearest
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.measure.resampling import Difference, Finished


@click.command()
@click.argument("keys", nargs=-1, metavar="KEY KEY...")
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

    The interval says what other test images would have changed, not what another seed of the
    training would change: for that, run several seeds and see bench leaderboard. It is too narrow
    for fewer than 100 test images, and where the test set holds copies of an image, which are
    drawn as if they were different ones. Detections of equal scores keep their order, those of an
    image that is drawn twice together, so ties are broken as in the evaluation itself.
    """
    from bench.launch.stored import Selection
    from bench.measure.resampling import ENOUGH, comparable, differences, load_finished

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
    if as_json:
        print_json(
            {
                "images": len(members[0].scored.ids),
                "too_few_images": len(members[0].scored.ids) < ENOUGH,
                "resamples": resamples,
                "seed": seed,
                "rows": rows,
            }
        )
    else:
        _print(members, rows, resamples)


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


def _print(members: Sequence[Finished], rows: list[Difference], resamples: int) -> None:
    from bench.measure.resampling import ENOUGH, differing

    first = members[0]
    labels = {m.stage.key: m.label for m in members}
    lines = [
        (
            row["metric"],
            labels[row["key"]],
            f"{row['first']:.2f}",
            f"{row['other']:.2f}",
            f"{row['difference']:+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
            _verdict(row),
        )
        for row in rows
    ]
    numbers = ("first", "this", "difference", "95 % interval")
    print_table(
        [
            Column("metric", key=True),
            Column("result", wrap=True, key=True),
            *(Column(name, right=True) for name in numbers),
            Column("", wrap=True),
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
        f"The interval is over {resamples} draws of the {images} test images; it does not cover "
        "other seeds."
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
