"""bench export: what other libraries would load is bit by bit what the store holds."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner

from bench.cli.export import command
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.nn.backbones import build_backbone
from bench.nn.formats import from_detectron2
from bench.nn.weights import find_backbone, read_checkpoint
from bench.stages.weights import weights_stage
from tests.core.test_store import Heard


def stored(home: Path, state: dict[str, Any], name: str = "file.pth") -> tuple[Stage, Path]:
    """A committed weights stage of `state`."""
    home.mkdir(exist_ok=True)
    torch.save(state, home / name)
    runtime = Runtime(home=home, database="sqlite://", tracker="none", devices="cpu", workers=0)
    stage = weights_stage(str(home / name), runtime)
    return stage, LocalEngine(runtime, Store(home), Heard()).ensure(stage)


def export(key: str, style: str, out: Path) -> str:
    found = CliRunner().invoke(command, [key, "--format", style, "--out", str(out)])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture
def fifty(home: Path) -> tuple[Stage, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    net = torchvision.models.resnet50()
    net.bn1.running_mean.normal_()  # type: ignore[union-attr]
    net.bn1.num_batches_tracked.fill_(9)  # type: ignore[union-attr,operator]
    stage, _ = stored(home, net.state_dict())
    return stage, {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}


def test_three_formats(fifty: tuple[Stage, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    stage, state = fifty
    out = tmp_path / "out.pth"
    assert "resnet50, 318 tensors" in export(stage.short, "torchvision", out)
    found = torch.load(out, weights_only=True)
    difference = torchvision.models.resnet50().load_state_dict(found, strict=False)
    assert (difference.missing_keys, difference.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    assert all(torch.equal(v, state[k]) for k, v in found.items())

    export(stage.key, "mmdet", out)
    inside = torch.load(out, weights_only=True)
    assert list(inside) == ["state_dict"]
    assert all(torch.equal(v, state[k]) for k, v in inside["state_dict"].items())
    assert list(inside["state_dict"]) == list(state)
    assert find_backbone(read_checkpoint(out), "out.pth").backbone == "resnet50"

    assert "STRIDE_IN_1X1 False" in export(stage.short, "detectron2", out)
    content = pickle.loads(out.read_bytes())
    assert (content["__author__"], content["matching_heuristics"]) == ("bench", True)
    assert all(isinstance(v, np.ndarray) for v in content["model"].values())
    back = from_detectron2({k: torch.from_numpy(v) for k, v in content["model"].items()})
    assert list(back) == list(state)
    assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in state.items())
    assert not list(tmp_path.glob("*.part"))


def test_a_result_stands_for_its_backbone(home: Path, tmp_path: Path) -> None:
    stage, folder = stored(home, build_backbone("resnet18").state_dict())
    store = Store(home)
    result = Stage("evaluate", "any", 1, {}, "x:y", {"backbone": stage})
    store.work(result)
    store.commit(result, {})
    export(result.short, "torchvision", tmp_path / "a")
    assert all(
        torch.equal(v, torch.load(tmp_path / "a", weights_only=True)[k])
        for k, v in torch.load(folder / "backbone.pth", weights_only=True).items()
    )
    with pytest.raises(BadInput, match="has no backbone"):
        export(stage.inputs["file"].short, "torchvision", tmp_path / "b")
    with pytest.raises(BadInput, match="no stage has key"):
        export("0123456789ab", "torchvision", tmp_path / "b")


@pytest.mark.parametrize("style", ["torchvision", "detectron2", "mmdet"])
def test_a_missing_or_extra_key_is_named(style: str, home: Path, tmp_path: Path) -> None:
    stage, folder = stored(home, build_backbone("resnet18").state_dict())
    whole = torch.load(folder / "backbone.pth", weights_only=True)
    torch.save(
        {k: v for k, v in whole.items() if k != "layer2.0.bn1.bias"}, folder / "backbone.pth"
    )
    with pytest.raises(BadInput, match=r"'layer2\.0\.bn1\.bias' is missing"):
        export(stage.short, style, tmp_path / "out")
    torch.save(whole | {"layer9.weight": torch.ones(1)}, folder / "backbone.pth")
    with pytest.raises(BadInput, match=r"'layer9\.weight' is unexpected"):
        export(stage.short, style, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", ["resnet18_half", "resnet18_cifar", "lab_resnet18", "vit_tiny"])
def test_what_no_other_library_has_is_refused(name: str, home: Path, tmp_path: Path) -> None:
    stage, _ = stored(home, build_backbone(name).state_dict())
    with pytest.raises(BadInput, match=f"{name} is not a ResNet of torchvision's shape"):
        export(stage.short, "torchvision", tmp_path / "out")


def test_no_place_for_the_file(
    fifty: tuple[Stage, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    for out in (tmp_path, tmp_path / "no" / "folder.pth"):
        with pytest.raises(BadInput, match="is a folder, or its folder does not exist"):
            export(fifty[0].short, "torchvision", out)
