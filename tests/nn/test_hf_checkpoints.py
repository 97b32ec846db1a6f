"""Checkpoints of Hugging Face's transformers against what transformers computes with them
(`tests/fixtures/make_hf.py`), and timm's own folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from bench.core.errors import BadData, BadInput
from bench.nn.backbones import build_backbone
from bench.nn.found import Found
from bench.nn.given import Given, find_files, parse_given, read_given
from bench.views.augment import normalise
from tests.fixtures.make_hf import CASES, fill, pixels

HF = Path(__file__).parents[1] / "fixtures" / "hf"


def write(name: str, folder: Path, prefix: str = "") -> Path:
    """The checkpoint as a user has it: a folder with three files."""
    for file in ("config.json", "preprocessor_config.json"):
        shutil.copy(HF / name / file, folder)
    state = fill(json.loads((HF / name / "shapes.json").read_text()))
    save_file({prefix + k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    return folder


def read(text: str) -> Found:
    given = parse_given(text)
    return read_given(given.network, find_files(given))


def check(found: Found, name: str) -> None:
    network = build_backbone(found.backbone)
    network.load_state_dict(found.state, strict=True)
    images = normalise(torch.from_numpy(pixels(CASES[name][3])).float() / 255)
    reference = np.load(HF / name / "reference.npz")
    with torch.no_grad():
        pooled, last = network.eval()(images), network.maps(images)
    np.testing.assert_allclose(pooled.numpy(), reference["pooled"], rtol=1e-4, atol=1e-5)
    if "map" in reference:
        # single places of a map differ by 1.4e-5 between processors
        np.testing.assert_allclose(last.numpy(), reference["map"], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("name", CASES)
def test_features_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    found = read(str(write(name, tmp_path)))
    check(found, name)
    assert found.matched == found.tensors >= 30


@pytest.mark.parametrize("prefix", ["dinov2.", "model.backbone."])
def test_a_model_with_a_head_holds_the_same_backbone(prefix: str, tmp_path: Path) -> None:
    write("dinov2", tmp_path, prefix)
    found = read(str(tmp_path))
    check(found, "dinov2")
    assert found.prefix == prefix


def test_halves_and_parts_are_read(tmp_path: Path) -> None:
    """float16, in two files with an index, as large checkpoints are."""
    write("vit", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = fill(json.loads((HF / "vit" / "shapes.json").read_text()))
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[:20]}
    parts["model-00002-of-00002.safetensors"] = names[20:]
    for file, keys in parts.items():
        save_file({k: state[k].half() for k in keys}, tmp_path / file)
    index = {"weight_map": {k: file for file, keys in parts.items() for k in keys}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read(str(tmp_path))
    halves = build_backbone(found.backbone)
    halves.load_state_dict(found.state)
    assert {v.dtype for v in found.state.values()} == {torch.float32}
    assert torch.equal(found.state["net.norm.weight"], state["layernorm.weight"].half().float())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BadInput, match=r"has not model-00002-of-00002.safetensors; download"):
        read(str(tmp_path))


def test_a_folder_of_timms_hub(tmp_path: Path) -> None:
    """config.json as timm's `save_for_hf` writes it, with its mean and deviation."""
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=7).eval()
    timm.models.save_for_hf(net, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.5, 0.5, 0.5]
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read(str(tmp_path))
    assert found.backbone.startswith("timm:test_vit")
    assert found.left == {"head": 2}
    network = build_backbone(found.backbone)
    network.load_state_dict(found.state)
    images = torch.rand(1, 3, 160, 160)
    net.reset_classifier(0)
    std = torch.tensor(config["pretrained_cfg"]["std"]).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(
            network.eval()(normalise(images)), net((images - 0.5) / std), rtol=1e-4, atol=1e-5
        )


def test_what_a_folder_lacks_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no config.json.*weights=FILE"):
        read(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"none of model.safetensors and pytorch_model.bin"):
        read(str(tmp_path))
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadData, match=r"config.json cannot be read"):
        read(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "dinov9"}')
    with pytest.raises(BadInput, match=r"unknown model_type in config.json 'dinov9'.*dinov2"):
        read(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(BadInput, match=r"does not hold the dinov2 that config.json describes"):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("vit", {"hidden_act": "sin"}, "activation 'sin', which is not known"),
        ("swin", {"use_absolute_embeddings": True}, "absolute positions, which timm lacks"),
        ("dinov3", {"key_bias": True}, "other biases"),
        ("resnet18", {"downsample_in_bottleneck": True}, "strides in its 1x1 convolutions"),
        ("vit", {"num_hidden_layers": 3}, r"12 missing, 0 unexpected"),
    ],
)
def test_what_timm_lacks_is_one_line(
    name: str, change: dict[str, object], message: str, tmp_path: Path
) -> None:
    write(name, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=message) as caught:
        read(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_given_is_read_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "a=b.pth"
    for text in (str(file), f"timm:test_vit,depth=2={file}", f"vit_s12={file}", "timm:test_vit"):
        assert parse_given(text).text() == text
    assert parse_given(f"timm:test_vit,depth=2={file}") == Given("timm:test_vit,depth=2", file)
