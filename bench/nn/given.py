"""Weights that a user gives, in the words of `--backbone`.

FILE: a checkpoint whose network its tensors tell. FOLDER: one of Hugging Face's or timm's, with
config.json. timm:NAME: timm's own weights on this machine. NAME=FILE: a checkpoint of the network
that is named, `timm:...` or one of `bench.nn.architectures`. Nothing heavy is imported before the
weights are read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BadData, BadInput
from bench.core.files import expand_path
from bench.nn.timm_names import TIMM

if TYPE_CHECKING:
    from bench.nn.checkpoint import Flat
    from bench.nn.found import Found

NETWORK = re.compile(r"(timm:[^,=]+(?:,\w+=[^,=]*)*|\w+)(?:=(.*))?", re.S)
CONFIG = "config.json"
BESIDE = ("preprocessor_config.json",)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Given:
    """network: the name of the network, "" where the checkpoint tells it. path: of the file or
    folder; None where timm's own are meant."""

    network: str
    path: Path | None

    def text(self) -> str:
        """As `parse_given` reads it, whatever folder it is read in."""
        if not self.network:
            return str(self.path)
        return self.network if self.path is None else f"{self.network}={self.path}"


def parse_given(text: str) -> Given:
    """What `Given.text` or a path says; BadInput for a network that is not known."""
    match = NETWORK.fullmatch(text)
    if match is None or (match[2] is None and not text.startswith(TIMM)):
        return Given("", expand_path(text))
    return parse_network(text)


def parse_network(text: str) -> Given:
    """`NAME` or `NAME=FILE`; BadInput for a network that is not known, with the nearest name."""
    match = NETWORK.fullmatch(text)
    name = match[1] if match else text.partition("=")[0]
    from bench.nn.architectures import architecture

    try:
        architecture(name)
    except BadInput:
        if match is None or match[2] is None or name.startswith(TIMM):
            raise
        raise BadInput(
            f"--backbone is NAME, weights=FILE, timm:NAME or NAME=FILE, got {text!r}; try: "
            f"--backbone weights={match[2]}"
        ) from None
    if name.startswith(TIMM):
        from bench.nn.timm_names import parse_timm

        name = parse_timm(name).text()
    if match and match[2] == "":
        raise BadInput(f"the file is missing after {name}=; try: --backbone {name}=FILE")
    return Given(name, expand_path(match[2]) if match and match[2] else None)


def find_files(given: Given) -> list[Path]:
    """The file, or those of the folder that belong to its checkpoint, sorted; BadInput where there
    are none."""
    if given.path is None:
        from bench.nn.timm_weights import find_cached

        return [find_cached(given.network)]
    return checkpoint_files(given.path) if given.path.is_dir() else [given.path]


def checkpoint_files(folder: Path) -> list[Path]:
    """config.json, what stands beside it, and the weights, in one file or in parts."""
    if not (folder / CONFIG).is_file():
        raise BadInput(
            f"{folder} has no {CONFIG}, which says what the weights are of; give a file: "
            "--backbone weights=FILE, or timm:NAME=FILE"
        )
    names = [name for name in WEIGHTS if (folder / name).is_file()][:1]
    for index in INDEX if not names else ():
        if (folder / index).is_file():
            parts = _read_json(folder / index).get("weight_map", {})
            names = sorted({str(part) for part in parts.values()})
            break
    lost = [name for name in names if not (folder / name).is_file() or "/" in name]
    if not names or lost:
        raise BadInput(
            f"{folder} has {'not ' + lost[0] if lost else 'none of ' + ' and '.join(WEIGHTS)}; "
            "download the checkpoint again, or save it there: model.save_pretrained(FOLDER)"
        )
    beside = [name for name in BESIDE if (folder / name).is_file()]
    return sorted(folder / name for name in (CONFIG, *beside, *names))


def read_given(network: str, files: list[Path]) -> Found:
    """The backbone in the files of a checkpoint (`find_files`), complete; BadInput or BadData
    where it is not."""
    from bench.nn.weights import find_backbone, read_checkpoint

    config = next((file for file in files if file.name == CONFIG), None)
    weights = [file for file in files if file.name not in (CONFIG, *BESIDE)]
    flat: Flat = {}
    for file in weights:
        flat |= read_checkpoint(file)
    if config is not None:
        from bench.nn.hf import read_described

        beside = next((_read_json(file) for file in files if file.name in BESIDE), {})
        return read_described(flat, _read_json(config), beside, network, weights[0].name)
    if network.startswith(TIMM):
        from bench.nn.timm_weights import fit_timm

        return fit_timm(flat, network, weights[0].name)
    return find_backbone(flat, weights[0].name, network)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{file} cannot be read ({brief_error(error)})") from None
    if not isinstance(content, dict):
        raise BadData(f"{file} holds a {type(content).__name__}, not an object")
    return content


def brief_error(error: Exception) -> str:
    """The error in one line."""
    return " ".join(str(error).split())[:100]
