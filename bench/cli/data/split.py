"""bench data split: train and val of a set that has one list."""

from __future__ import annotations

import shlex

import click

from bench.cli._options import JSON, SET, Names
from bench.cli._table import echo_prose, print_json
from bench.cli.data._sets import open_component
from bench.contracts import registry
from bench.core.errors import BadInput
from bench.core.params import Params, format_setting
from bench.launch.session import open_runtime


@click.command()
@click.argument("data", type=Names("data"), metavar="NAME[=PATH]")
@click.option(
    "--val",
    "share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    required=True,
    help="Share of the images that goes to val, for example .2.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of the choice; the same images, share and seed give the same lists.",
)
@click.option(
    "--group",
    metavar="REGEX",
    help="Keep images together whose names have the same text in the first parenthesis of this "
    r"regular expression, for example --group '(.*)_frame\d+' for the frames of a video.",
)
@click.option(
    "--out",
    metavar="FOLDER",
    help="Folder of the lists, relative to the folder of the set. The default names the share and "
    "the seed.",
)
@SET()
@JSON()
def split(
    data: str,
    share: float,
    seed: int,
    group: str | None,
    out: str | None,
    sets: tuple[str, ...],
    as_json: bool,
) -> None:
    """Divide a set that has one list: write lists of train and val, and say how to use them.

    Images are not read, moved or changed. Sets with lists of their own can be divided: coco_json,
    voc_layout and yolo. For example:

    bench data split coco_json=/data/boxes --val .2 --seed 0
    """
    from bench.data.divide import Divisible, divide, group_names, save_lists
    from bench.data.layouts.own import clean_setting

    component, path = open_component(data, "paper", sets)
    if not isinstance(component, Divisible):
        able = [
            n for n, cls in registry.load_all("data")[0].items() if hasattr(cls, "write_lists")
        ]
        raise BadInput(
            f"data {component.name!r} cannot be divided, only {', '.join(able)} can; methods and "
            "tasks that need a validation part take one of train: --set TASK.holdout=.2"
        )
    root = component.place(path)
    component.stage(root, open_runtime())  # everything is checked before anything is written
    splits = component.split_names(root)
    if "val" in splits:
        raise BadInput(
            f"{root} has a val of {len(splits['val']):,} images; to divide another list, name it: "
            f"--set {component.name}.train=LIST"
        )
    folder = clean_setting("--out", out or f"splits/val{share:g}-seed{seed}")
    groups = group_names(splits["train"], group)
    parts = divide(groups, share, seed)
    lists = component.write_lists(root, folder, parts)
    save_lists(root / folder, lists.files)
    settings = {**_changed(component.params), **lists.settings}
    report = {
        "folder": str(root / folder),
        "groups": len(groups),
        "images": {split: len(names) for split, names in parts.items()},
        "settings": {f"{component.name}.{key}": value for key, value in settings.items()},
    }
    if as_json:
        print_json(report)
        return
    counts = ", ".join(f"{split} {len(names):,}" for split, names in parts.items())
    grouped = f" in {len(groups):,} groups" if group else ""
    echo_prose(f"{counts} images{grouped}; lists in {root / folder}", "  ", "")
    words = [w for key, value in settings.items() for w in ("--set", f"{key}={value}")]
    add = ["bench", "data", "add", "NAME", component.name, str(root), *words]
    click.echo(f"then: {shlex.join(add)}")


def _changed(params: Params) -> dict[str, str]:
    """The settings that are not at their default, as --set reads them."""
    defaults = type(params)()
    return {
        name: format_setting(value)
        for name, value in params.model_dump(mode="json").items()
        if getattr(params, name) != getattr(defaults, name)
    }
