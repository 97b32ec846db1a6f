"""Checkpoint files as flat dicts of tensors; nothing in them is executed.

PyTorch's files are read with `weights_only=True`, plain pickles (detectron2's, and what
`bench export --format detectron2` writes) with an unpickler that knows NumPy's arrays and nothing
else.
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import BadData, BadInput

Flat = dict[str, Tensor]
ARRAYS = {  # all that a pickle of NumPy arrays names; NumPy 1 has numpy.core, NumPy 2 numpy._core
    ("collections", "OrderedDict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
# what people have under the name of weights, by how it begins; each with what to do
STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with git lfs pull"),
    (b"\x89HDF", "an HDF5 file, as Keras writes; save the weights with torch.save"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"PK\x03\x04", "a PyTorch file that is cut off or damaged; download it again"),
    (b"<", "a web page; download the file that it links to"),
)


class _ArrayUnpickler(pickle.Unpickler):
    """Python's, which would execute what a file names, allowed to name NumPy arrays only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_checkpoint(path: Path) -> Flat:
    """Every tensor of the file under its dotted path; nothing in it is executed.

    Raises BadInput where there is no such file or it needs objects that are not plain data,
    BadData where it cannot be read.
    """
    if not path.is_file():
        raise BadInput(f"no weights file at {path}; try: --backbone weights=FILE")
    try:
        content = _load(path)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if name is None:
            raise _unreadable(path, error) from None
        raise BadInput(
            f"{path} is not loaded: it holds Python objects ({name[1]}), "
            "and unpickling those can run code; if you trust it, save its tensors alone: "
            "x = torch.load(FILE, weights_only=False); torch.save(x.state_dict() if "
            "hasattr(x, 'state_dict') else x['state_dict'], 'plain.pth')"
        ) from None
    except Exception as error:
        raise _unreadable(path, error) from None
    flat = dict(_flatten(content))
    if not flat:
        raise BadInput(f"{path} holds no named tensor; try: a file with a state dict")
    return flat


def _unreadable(path: Path, error: Exception) -> BadData:
    """Says what the file is, as far as its first bytes tell, and what helps then."""
    with open(path, "rb") as file:
        head = file.read(512)
    strange = next((text for start, text in STRANGERS if head.lstrip().startswith(start)), None)
    if not head:
        strange = "empty; download it again"
    elif strange is None and re.fullmatch(rb"[\t\n\r\x20-\x7e]+", head):
        start = " ".join(head.decode().split())[:40]
        strange = f"a text that begins with {start!r}; download the file again"
    why = f"it is {strange}" if strange else f"{type(error).__name__}; save it with torch.save"
    return BadData(f"{path} is not a readable PyTorch or safetensors file: {why}")


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file  # timm's dependency

        return load_file(path)
    arrays = None if zipfile.is_zipfile(path) else _load_pickle(path)
    if arrays is not None:
        return arrays
    # What training scripts store beside tensors and what is plain data: arguments, NumPy scalars
    # and arrays.
    plain: list[Any] = [
        argparse.Namespace,
        np.dtype,
        np.ndarray,
        *(type(np.dtype(code)) for code in np.typecodes["AllInteger"] + "?efd"),
    ]
    for name, maker in (
        ("scalar", np.float64(0).__reduce__()[0]),
        ("_reconstruct", np.zeros(1).__reduce__()[0]),
    ):
        # NumPy 1 and 2
        plain += [(maker, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core")]
    with torch.serialization.safe_globals(plain):
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )


def _load_pickle(path: Path) -> dict[Any, Any] | None:
    """The dict that a plain pickle holds; None for another file. PyTorch's old format is several
    pickles, of which the first is a number."""
    with open(path, "rb") as file:
        if file.read(1) != b"\x80":
            return None
        file.seek(0)
        content = _ArrayUnpickler(io.BufferedReader(file), encoding="latin1").load()
    return content if isinstance(content, dict) else None


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value.detach()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        yield prefix, torch.from_numpy(value.astype(value.dtype.newbyteorder("="), copy=True))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str):
                yield from _flatten(inner, f"{prefix}.{key}" if prefix else key)
