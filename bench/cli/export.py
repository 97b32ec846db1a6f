"""bench export KEY: a backbone of the store in the file format of another library."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli._complete import Key
from bench.cli._options import JSON
from bench.cli._table import print_json
from bench.core.errors import BadInput
from bench.launch.session import open_runtime

FORMATS = ("torchvision", "detectron2", "mmdet")


@click.command()
@click.argument("key", type=Key("pretrain", "weights", "evaluate"))
@click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    required=True,
    help="Library whose file format and key names are written.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write, for example backbone.pth.",
)
@JSON()
def command(key: str, style: str, out: Path, as_json: bool) -> None:
    """Write the backbone of stage KEY for torchvision, detectron2 or mmdet.

    KEY is the beginning of the key of a pretraining, of a stage of weights, or of a result, whose
    backbone is then written. For example:

    \b
    bench export 1a2b3c4d --format torchvision --out backbone.pth
    """
    from bench.api.networks import find_stored_backbone
    from bench.core.files import expand_path, write_atomically
    from bench.core.store import Store
    from bench.nn.export import whole_resnet, write_backbone

    folder, name = find_stored_backbone(Store(open_runtime().home), key)
    state = whole_resnet(folder / "backbone.pth", name)
    out = expand_path(out)
    if not out.parent.is_dir() or out.is_dir():
        raise BadInput(
            f"--out {out} is a folder, or its folder does not exist; try: --out backbone.pth"
        )
    with write_atomically(out) as partial:
        write_backbone(state, style, partial)
    if as_json:
        return print_json(
            {"file": str(out), "backbone": name, "tensors": len(state), "format": style}
        )
    click.echo(f"{out}: {name}, {len(state)} tensors, {style}'s keys")
    if style == "detectron2":
        click.echo(
            "config: INPUT.FORMAT RGB, PIXEL_MEAN [123.675, 116.28, 103.53], "
            "PIXEL_STD [58.395, 57.12, 57.375], RESNETS.STRIDE_IN_1X1 False"
        )
