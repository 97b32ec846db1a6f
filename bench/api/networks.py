"""A backbone of the store, or of a file, as a PyTorch module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from bench.core.store import Store


def load_backbone(source: str | Path) -> nn.Module:
    """The network of a key or of a file, on the CPU, in evaluation mode, with all its weights.

    source: the beginning of the key of a pretraining, of a stage of weights, or of a result, whose
    backbone is then taken; or a checkpoint made elsewhere: a file, whose architecture is read from
    the shapes, a folder with config.json, "timm:NAME" or "NAME=FILE", as `--backbone` takes them.
    What is a file or folder is read as one.

    The module maps (B, 3, H, W) float32 images, normalised by ImageNet's mean and standard
    deviation, to features (B, feature_dim); `maps(images)` is its last feature map. Raises
    BadInput where no stage and no file fits, or a tensor is missing or too much.

    Examples:
        >>> import torch
        >>> torch.save(__import__("torchvision").models.resnet18().state_dict(), "backbone.pth")
        >>> bench.load_backbone("backbone.pth")(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 512])
    """
    from bench.core.files import expand_path
    from bench.nn.backbones import build_backbone, load_strictly, read_backbone
    from bench.nn.timm_names import TIMM

    path = expand_path(str(source))
    if path.exists() or "=" in str(source) or str(source).startswith(TIMM):
        from bench.nn.given import find_files, parse_given, read_given

        given = parse_given(str(source))
        weights = read_given(given.network, find_files(given))
        name, state, where = weights.backbone, weights.state, str(source)
    else:
        if isinstance(source, Path) or path.suffix or "/" in str(source):
            raise BadInput(
                f"there is no file {source}; try: bench leaderboard --json, whose cells are keys"
            )
        from bench.core.store import Store
        from bench.launch.session import open_runtime

        folder, name = find_stored_backbone(Store(open_runtime().home), str(source))
        state, where = read_backbone(folder / "backbone.pth"), str(folder)
    network: nn.Module = build_backbone(name)
    load_strictly(network, state, where)
    return network.eval()


def find_stored_backbone(store: Store, key: str) -> tuple[Path, str]:
    """The folder that holds `backbone.pth` of a stage, or of a result's backbone, and the
    backbone's name."""
    folder, record = store.find(key)
    if "backbone" in record["inputs"]:
        folder, record = store.find(record["inputs"]["backbone"])
    if not (folder / "backbone.pth").is_file():
        raise BadInput(
            f"stage {record['kind']}/{record['name']} {record['key'][:12]} has no backbone; "
            "try: bench leaderboard --json, whose cells are keys"
        )
    return folder, str(record["params"]["method"]["params"]["backbone"])
