"""bench export KEY: a backbone of the store in the file format of another library."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import open_runtime
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from bench.core.store import Store

FORMATS = ("torchvision", "detectron2", "mmdet")


@click.command()
@click.argument("key")
@click.option(
    "--format", "style", type=click.Choice(FORMATS), required=True, help="Whose key names."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
def command(key: str, style: str, out: Path) -> None:
    """Write the backbone of stage KEY for torchvision, detectron2 or mmdet.

    KEY is the beginning of the key of a pretraining, of a weights file's stage, or of a result,
    whose backbone it then is.
    """
    from bench.core.files import write_atomically
    from bench.core.store import Store

    folder, name = find_backbone(Store(open_runtime().home), key)
    state = whole_resnet(folder / "backbone.pth", name)
    out = out.expanduser().absolute()
    if not out.parent.is_dir() or out.is_dir():
        raise BadInput(f"--out {out} is no place for a file; try: --out backbone.pth")
    with write_atomically(out) as partial:
        write(state, style, partial)
    click.echo(f"{out}: {name}, {len(state)} tensors, {style}'s keys")
    if style == "detectron2":
        click.echo(
            "config: INPUT.FORMAT RGB, PIXEL_MEAN [123.675, 116.28, 103.53], "
            "PIXEL_STD [58.395, 57.12, 57.375], RESNETS.STRIDE_IN_1X1 False"
        )


def find_backbone(store: Store, key: str) -> tuple[Path, str]:
    """The folder that holds `backbone.pth`, and the backbone's name."""
    folder, record = store.find(key)
    if "backbone" in record["inputs"]:
        folder, record = store.find(record["inputs"]["backbone"])
    if not (folder / "backbone.pth").is_file():
        raise BadInput(
            f"stage {record['kind']}/{record['name']} {record['key'][:12]} has no backbone; try: "
            "bench "
            "leaderboard --json, whose cells are keys"
        )
    return folder, str(record["params"]["method"]["params"]["backbone"])


def whole_resnet(path: Path, name: str) -> dict[str, Tensor]:
    """The state dict in `path`, which has exactly torchvision's keys and shapes without `fc.*`;
    BadInput names what is missing or too much, or says that this backbone is not torchvision's."""
    import torch

    from bench.nn.architectures import architecture
    from bench.nn.backbones import build_backbone
    from bench.nn.formats import check_fit

    found = architecture(name)
    if found.family != "resnet" or found.options & {"half", "cifar"}:
        raise BadInput(
            f"{name} is no ResNet of torchvision's shape, so no other library would load it; its "
            "own file is "
            f"{path}"
        )
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        own = build_backbone(found.base).state_dict()
    check_fit(own, state, str(path))
    return state


def write(state: dict[str, Tensor], style: str, path: Path) -> None:
    """Write a whole ResNet. torchvision: the state dict. mmdet: the same under "state_dict".
    detectron2: a pickle of {"model": NumPy arrays under its names, "__author__",
    "matching_heuristics"}."""
    import torch

    from bench.nn.formats import to_detectron2

    if style == "detectron2":
        arrays = {k: v.numpy() for k, v in to_detectron2(state).items()}
        with open(path, "wb") as f:
            pickle.dump({"model": arrays, "__author__": "bench", "matching_heuristics": True}, f)
    else:
        torch.save({"state_dict": state} if style == "mmdet" else state, path)
