"""Checkpoint files as people have them: read where their numbers are plain, else said what they
are."""

from __future__ import annotations

import gzip
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from bench.core.errors import BadData, BadInput
from bench.nn.backbones import build_backbone
from bench.nn.export import write_backbone
from bench.nn.weights import find_backbone, read_checkpoint


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {k: v for k, v in resnet18().state_dict().items() if not k.startswith("fc.")}


def arrays(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in state.items()}


def dump(content: Any, path: Path, protocol: int | None = None) -> None:
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=protocol)


WRITERS: dict[str, Callable[[dict[str, torch.Tensor], Path], None]] = {
    "detectron2's pickle": lambda s, p: dump(
        {"model": arrays(s), "__author__": "x", "matching_heuristics": True}, p
    ),
    "our export for detectron2": lambda s, p: write_backbone(s, "detectron2", p),
    "protocol 2": lambda s, p: dump(arrays(s), p, 2),
    "protocol 5": lambda s, p: dump(arrays(s), p, 5),
    "other byte order": lambda s, p: dump(
        {k: v.astype(v.dtype.newbyteorder(">")) for k, v in arrays(s).items()}, p
    ),
    "ordered": lambda s, p: dump(OrderedDict(state_dict=OrderedDict(arrays(s))), p),
    "torch.save of arrays": lambda s, p: torch.save({"state_dict": arrays(s)}, p),
    "torch.save of old": lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("name", WRITERS)
def test_numbers_in_any_wrapping_are_read(
    state: dict[str, torch.Tensor], tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "file.pkl"
    WRITERS[name](state, path)
    found = find_backbone(read_checkpoint(path), path.name)
    assert found.backbone == "resnet18"
    assert set(found.state) == set(state)
    assert all(torch.equal(found.state[k], v) for k, v in state.items())
    assert not [w for w in recwarn if "pickle protocol" in str(w.message)]


class Bomb:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_no_pickle_is_executed(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "bad.pkl"
    dump({"model": {"conv1.weight": np.ones(3)}, "x": Bomb(tmp_path / "exploded")}, path, protocol)
    with pytest.raises(BadInput, match=r"it holds Python objects \(\w+\.mkdir\)"):
        read_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: {"state_dict": net.state_dict(), "x": Path("a")}]
)
def test_the_advice_for_python_objects_works(
    tmp_path: Path, wrap: Callable[[torch.nn.Module], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(wrap(resnet18()), tmp_path / "whole.pth")
    with pytest.raises(BadInput) as error:
        read_checkpoint(tmp_path / "whole.pth")
    monkeypatch.chdir(tmp_path)
    advice = str(error.value).partition("save its tensors alone: ")[2]
    exec(advice, {"torch": torch, "FILE": "whole.pth"})
    assert find_backbone(read_checkpoint(Path("plain.pth")), "plain.pth").backbone == "resnet18"


@pytest.mark.parametrize(
    ("data", "words", "download"),
    [
        (b"", "it is empty", True),
        (b"<!DOCTYPE html><html>not found</html>", "it is a web page", True),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs pull", False),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5", False),
        (gzip.compress(b"weights"), "unpack it first", False),
        (b"PK\x03\x04" + b"\0" * 200, "cut off", True),
        (b"Access denied\n" * 9, "a text that begins with 'Access denied", True),
    ],
    ids=["empty", "page", "lfs", "keras", "gzip", "cut zip", "text"],
)
def test_other_files_are_said_what_they_are(
    tmp_path: Path, data: bytes, words: str, download: bool
) -> None:
    (tmp_path / "file.pth").write_bytes(data)
    with pytest.raises(BadData, match=r"file\.pth is not a readable") as error:
        read_checkpoint(tmp_path / "file.pth")
    assert words in str(error.value)
    assert ("download" in str(error.value)) == download
    assert "\n" not in str(error.value)


def moco_v3_places(side: int, dim: int) -> torch.Tensor:
    """MoCo v3's `build_2d_sincos_position_embedding`, transcribed from its vits.py."""
    grid_w, grid_h = torch.meshgrid(
        torch.arange(side, dtype=torch.float32),
        torch.arange(side, dtype=torch.float32),
        indexing="ij",
    )
    omega = 1.0 / (10000.0 ** (torch.arange(dim // 4, dtype=torch.float32) / (dim // 4)))
    out_w = torch.einsum("m,d->md", [grid_w.flatten(), omega])
    out_h = torch.einsum("m,d->md", [grid_h.flatten(), omega])
    places = torch.cat([out_w.sin(), out_w.cos(), out_h.sin(), out_h.cos()], dim=1)[None]
    return torch.cat([torch.zeros(1, 1, dim), places], dim=1)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.module.", "student."])
@pytest.mark.parametrize("half", [False, True])
def test_a_fixed_position_embedding_is_cautioned_under_any_prefix(
    tmp_path: Path, prefix: str, half: bool
) -> None:
    own = build_backbone("vit_s").state_dict()
    own["pos_embed"] = moco_v3_places(14, 384)
    given = {prefix + k: v.half() if half else v for k, v in own.items()}
    torch.save({"state_dict": given}, tmp_path / "a.pth")
    found = find_backbone(read_checkpoint(tmp_path / "a.pth"), "a.pth")
    assert "12 attention heads" in found.report()


def test_learned_position_embeddings_are_not_cautioned(tmp_path: Path) -> None:
    own = build_backbone("vit_s").state_dict()
    own["pos_embed"] = own["pos_embed"] + 0.02 * torch.randn_like(own["pos_embed"])
    torch.save(own, tmp_path / "a.pth")
    assert "caution" not in find_backbone(read_checkpoint(tmp_path / "a.pth"), "a.pth").report()
