"""Checkpoints in the key layouts of other libraries, each against the network that wrote it."""

from __future__ import annotations

import argparse
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from lightly.models import ResNetGenerator
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bench.core.errors import BadData, BadInput
from bench.nn.architectures import VITS
from bench.nn.backbones import build_backbone
from bench.nn.formats import to_detectron2
from bench.nn.weights import Found, find_backbone, read_checkpoint

State = dict[str, Any]


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with batch-norm statistics and affines unlike each other's, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for value, low in (
                (layer.weight, 0.5),
                (layer.bias, -0.2),
                (layer.running_mean, -0.2),
            ):
                value.data.copy_(torch.rand(len(value), generator=generator) * 0.5 + low)
            layer.running_var.copy_(torch.rand(len(layer.running_var), generator=generator) + 0.5)  # type: ignore[union-attr,arg-type]
    return net.eval()


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(0)
    return lively(torchvision.models.resnet18())


def copy(state: State, prefix: str, shift: float = 0.0) -> State:
    return {
        f"{prefix}{k}": v + shift if v.is_floating_point() else v.clone() for k, v in state.items()
    }


def load(content: Any, folder: Path, name: str = "file.pth") -> Found:
    torch.save(content, folder / name)
    return find_backbone(read_checkpoint(folder / name), name)


@torch.no_grad()
def pooled(net: nn.Module, images: Tensor) -> Tensor:
    """torchvision's features before the classifier."""
    net.fc = nn.Identity()  # type: ignore[assignment]
    return net(images)  # type: ignore[no-any-return]


@torch.no_grad()
def ours(found: Found, images: Tensor) -> Tensor:
    backbone = build_backbone(found.backbone)
    backbone.load_state_dict(found.state, strict=True)
    return backbone.eval()(images)  # type: ignore[no-any-return]


def plain(s: State) -> State:
    return s


def moco(s: State) -> State:
    state = {**copy(s, "module.encoder_q."), **copy(s, "module.encoder_k.", 1.0)}
    state |= {"module.queue": torch.zeros(128, 4), "module.queue_ptr": torch.zeros(1)}
    return {
        "epoch": 200,
        "arch": "resnet18",
        "state_dict": state,
        "optimizer": {"state": {0: {"m": torch.ones(3)}}},
    }


def densecl_training(s: State) -> State:
    """Its `backbone` is its `encoder_q[0]`."""
    state = {**copy(s, "encoder_q.0."), **copy(s, "encoder_k.0.", 1.0), **copy(s, "backbone.")}
    state |= {"encoder_q.1.mlp.0.weight": torch.ones(4, 4), "queue": torch.zeros(2, 2)}
    return {"meta": {"epoch": 200, "mmcv_version": "1.0"}, "state_dict": state}


def densecl_extracted(s: State) -> State:
    return {
        "state_dict": {k: v for k, v in s.items() if not k.startswith("fc.")},
        "author": "DenseCL",
    }


def orl(s: State) -> State:
    state = {**copy(s, "online_net.0."), **copy(s, "target_net.0.", 1.0), **copy(s, "backbone.")}
    return {"meta": {}, "state_dict": state | {"head.predictor.fc0.weight": torch.ones(2, 2)}}


def mm_parallel(s: State) -> State:
    return {"state_dict": copy(s, "module.backbone.") | {"module.neck.fc.weight": torch.ones(2)}}


def solo_learn(s: State) -> State:
    state = {
        **copy(s, "backbone."),
        **copy(s, "momentum_backbone.", 1.0),
        "classifier.weight": torch.ones(2),
    }
    return {"epoch": 1, "state_dict": state, "hyper_parameters": {"lr": 0.3}}


def solo_learn_old(s: State) -> State:
    return {"state_dict": copy(s, "encoder.") | {"projector.0.weight": torch.ones(2)}}


def simsiam(s: State) -> State:
    return {
        "state_dict": copy(s, "module.encoder.") | {"module.predictor.0.weight": torch.ones(2)}
    }


def swav(s: State) -> State:
    return copy(s, "module.") | {"module.prototypes.weight": torch.ones(3, 3)}


def byol_yaox(s: State) -> State:
    return {"online_backbone": copy(s, "module."), "target_backbone": copy(s, "module.", 1.0)}


def byol_lucidrains(s: State) -> State:
    return {
        **copy(s, "net."),
        **copy(s, "online_encoder.net."),
        **copy(s, "target_encoder.net.", 1.0),
    }


def dino(s: State) -> State:
    return {
        "student": copy(s, "module.backbone.", 1.0),
        "teacher": copy(s, "backbone."),
        "epoch": 3,
    }


def vissl(s: State) -> State:
    trunk = copy(s, "_feature_blocks.")
    return {
        "classy_state_dict": {
            "base_model": {"model": {"trunk": trunk, "heads": {"0.weight": torch.ones(2)}}}
        }
    }


def timm_ema(s: State) -> State:
    return {"state_dict": s, "state_dict_ema": copy(s, "", 1.0)}


def our_network(s: State) -> State:
    return {
        **copy(s, "backbone."),
        **copy(s, "target_backbone.", 1.0),
        "projector.0.weight": torch.ones(2),
    }


def detectron2(s: State) -> State:
    bare = {k: v for k, v in s.items() if not k.startswith("fc.")}
    return {
        "model": copy(to_detectron2(bare), "backbone.bottom_up.")
        | {"roi_heads.box.weight": torch.ones(2)}
    }


LAYOUTS: list[tuple[Callable[[State], State], str]] = [
    (plain, ""),
    (moco, "state_dict.module.encoder_q."),
    (densecl_training, "state_dict.backbone."),
    (densecl_extracted, "state_dict."),
    (orl, "state_dict.backbone."),
    (mm_parallel, "state_dict.module.backbone."),
    (solo_learn, "state_dict.backbone."),
    (solo_learn_old, "state_dict.encoder."),
    (simsiam, "state_dict.module.encoder."),
    (swav, "module."),
    (byol_yaox, "online_backbone.module."),
    (byol_lucidrains, "net."),
    (dino, "teacher.backbone."),
    (vissl, "classy_state_dict.base_model.model.trunk._feature_blocks."),
    (timm_ema, "state_dict."),
    (our_network, "backbone."),
    (detectron2, "model.backbone.bottom_up."),
]


@pytest.mark.parametrize(("layout", "prefix"), LAYOUTS, ids=[f.__name__ for f, _ in LAYOUTS])
def test_a_layout_gives_the_network_that_wrote_it(
    layout: Callable[[State], State], prefix: str, theirs: nn.Module, tmp_path: Path
) -> None:
    state = torchvision.models.resnet18().state_dict() | dict(theirs.state_dict())
    found = load(layout(state), tmp_path)
    assert (found.backbone, found.prefix, found.filled, len(found.state)) == (
        "resnet18",
        prefix,
        0,
        120,
    )
    assert found.report().startswith("resnet18: 120 of 120 tensors match")
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(found, images), pooled(theirs, images))


def test_what_is_left_out_is_counted(theirs: nn.Module, tmp_path: Path) -> None:
    state = torchvision.models.resnet18().state_dict() | dict(theirs.state_dict())
    found = load(moco(state), tmp_path)
    assert found.left == {
        "state_dict.module.encoder_q.fc": 2,
        "state_dict.module.encoder_k": 122,
        "state_dict.module.queue": 1,
        "state_dict.module.queue_ptr": 1,
    }
    assert "state_dict.module.encoder_k 122" in found.report()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
@pytest.mark.parametrize("kind", ["plain", "children"])
def test_the_architecture_comes_from_the_shapes(name: str, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = lively(getattr(torchvision.models, name)())
    state = net.state_dict()
    if kind == "children":  # lightly's and many others' way to cut the classifier off
        inside = nn.Sequential(*list(net.children())[:-1]).state_dict()
        state = {
            "state_dict": copy(inside, "backbone.")
            | {"projection_head.layers.0.weight": torch.ones(2)}
        }
    found = load(state, tmp_path)
    assert found.backbone == name
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(ours(found, images), pooled(net, images))


@pytest.mark.parametrize("name", ["resnet-18", "resnet-34", "resnet-50"])
def test_lightlys_own_resnet(name: str, tmp_path: Path) -> None:
    """Its blocks say `shortcut`, its children have no ReLU and no max-pool, its stem is 3x3."""
    torch.manual_seed(0)
    net = lively(ResNetGenerator(name))
    body = nn.Sequential(*list(net.children())[:-1], nn.AdaptiveAvgPool2d(1))
    state = {
        **copy(body.state_dict(), "backbone."),
        **copy(body.state_dict(), "backbone_momentum.", 1.0),
    }
    found = load({"state_dict": state}, tmp_path)
    assert found.backbone == name.replace("-", "") + "_cifar"
    assert found.prefix == "state_dict.backbone."
    assert "3x3 stem" in found.report()
    images = torch.randn(2, 3, 32, 32)
    net.linear = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(ours(found, images), net(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18_half",
        "resnet18_quarter",
        "resnet50_half_cifar",
        "lab_resnet18",
        "lab_resnet18_cifar",
    ],
)
def test_our_other_resnets(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = lively(build_backbone(name))
    found = load({**copy(net.state_dict(), "backbone."), "head_l.weight": torch.ones(2)}, tmp_path)
    assert (found.backbone, found.left) == (name, {"head_l": 1})
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ours(found, images), net(images))


def timms(name: str) -> VisionTransformer:
    shape = VITS[name]
    return VisionTransformer(
        shape.side, shape.patch, 3, 0, "avg", shape.dim, shape.depth, shape.heads, fc_norm=False
    ).eval()


def mae(state: State) -> State:
    extra = {"mask_token": torch.ones(1, 1, 4), "decoder_blocks.0.norm1.weight": torch.ones(4)}
    extra |= {"decoder_pos_embed": torch.ones(1, 65, 4), "decoder_norm.weight": torch.ones(4)}
    return {"model": {**state, **extra}, "args": argparse.Namespace(lr=0.1), "epoch": 799}


def dino_vit(state: State) -> State:
    return {"student": copy(state, "module.backbone.", 1.0), "teacher": copy(state, "backbone.")}


def classifier(state: State) -> State:
    return {**state, "head.weight": torch.ones(3, 3), "head.bias": torch.ones(3)}


@pytest.mark.parametrize("layout", [mae, dino_vit, classifier], ids=lambda f: f.__name__)
def test_vision_transformers(layout: Callable[[State], State], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = timms("vit_tiny")
    nn.init.normal_(net.pos_embed, std=0.2)
    found = load(layout(net.state_dict()), tmp_path)
    assert found.backbone == "vit_tiny"
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(found, images), net(images), rtol=1e-4, atol=1e-5)


def test_moco_v3s_small_vit_has_twelve_heads(tmp_path: Path) -> None:
    """Its prefix tells; without it the user does, with the name. Computed by timm's with 12."""
    torch.manual_seed(0)
    theirs = VisionTransformer(224, 16, 3, 0, "avg", 384, 12, 12, fc_norm=False).eval()
    for value in (theirs.pos_embed, theirs.cls_token):
        nn.init.normal_(value, std=0.2)
    state = theirs.state_dict()
    found = load({"state_dict": copy(state, "module.base_encoder.")}, tmp_path)
    assert found.backbone == "vit_s12"
    # another file: tensors of the first are mapped from it
    assert load({"model": state}, tmp_path, "bare.pth").backbone == "vit_s"
    named = find_backbone(read_checkpoint(tmp_path / "bare.pth"), "bare.pth", "vit_s12")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted = theirs(images)
        for each in (found, named):
            torch.testing.assert_close(ours(each, images), wanted, rtol=1e-4, atol=1e-5)


def test_every_key_must_match(theirs: nn.Module, tmp_path: Path) -> None:
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    lost = {k: v for k, v in state.items() if k != "layer3.1.bn2.running_var"}
    with pytest.raises(
        BadInput,
        match=r"file.pth \(resnet18\) .*'layer3.1.bn2.running_var' is missing \(1 missing",
    ):
        load(copy(lost, "module."), tmp_path)
    for extra in ("layer3.1.se.fc.weight", "layer5.0.conv1.weight", "conv2.weight", "bn0.weight"):
        with pytest.raises(BadInput, match=rf"'{extra}' is unexpected \(0 missing, 1 unexpected"):
            load({"state_dict": state | {extra: torch.ones(2)}}, tmp_path)
    wrong = state | {"layer2.0.conv1.weight": torch.ones(128, 64, 1, 1)}
    with pytest.raises(
        BadInput, match=r"'layer2.0.conv1.weight' is \(128, 64, 1, 1\), not \(128, 64, 3, 3\)"
    ):
        load(wrong, tmp_path)


def test_counters_that_old_files_lack_are_set(theirs: nn.Module, tmp_path: Path) -> None:
    state = {k: v for k, v in theirs.state_dict().items() if "num_batches" not in k}
    found = load(state, tmp_path)
    assert (found.filled, len(found.state)) == (20, 120)
    assert "100 of 120 tensors match, 20 batch-norm counters set to 0" in found.report()
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(ours(found, images), pooled(theirs, images))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg11", "holds no network that is known here.*--backbone timm:NAME=file.pth"),
        ("resnext101_64x4d", "3-4-23-3 bottleneck blocks, 256 channels wide"),
    ],
)
def test_other_networks_are_refused_by_name(name: str, message: str) -> None:
    with torch.device("meta"):
        state = dict(getattr(torchvision.models, name)().state_dict())
    with pytest.raises(BadInput, match=message) as caught:
        find_backbone(state, "file.pth")
    assert "\n" not in str(caught.value)


def test_two_different_backbones_are_not_guessed_between(
    theirs: nn.Module, tmp_path: Path
) -> None:
    state = theirs.state_dict()
    with pytest.raises(BadInput, match=r"two backbones, under 'one\.' and 'other\.'"):
        load({**copy(state, "one."), **copy(state, "other.", 1.0)}, tmp_path)
    assert load({**copy(state, "one."), **copy(state, "other.")}, tmp_path).prefix == "one."


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_nothing_in_a_file_is_executed(theirs: nn.Module, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": theirs.state_dict(), "x": Bomb(tmp_path / "exploded")}, tmp_path / "bad.pth"
    )
    with pytest.raises(
        BadInput, match=r"bad.pth is not loaded: it holds Python objects .*mkdir.*run code"
    ) as caught:
        read_checkpoint(tmp_path / "bad.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()
    torch.save(theirs, tmp_path / "module.pth")
    with pytest.raises(BadInput, match="it holds Python objects"):
        read_checkpoint(tmp_path / "module.pth")


def test_arguments_and_numpy_scalars_are_plain_data(theirs: nn.Module, tmp_path: Path) -> None:
    more = {
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
        "acc": np.float32(1),
        "n": np.int32(3),
    }
    assert load({"state_dict": theirs.state_dict(), **more}, tmp_path).backbone == "resnet18"


def test_scalars_of_numpy_1(tmp_path: Path) -> None:
    """NumPy 1 wrote `numpy.core`, which NumPy 2 calls `numpy._core`."""
    torch.save({"a.weight": torch.arange(3.0), "best": np.float64(0.5)}, tmp_path / "new.pth")
    with (
        zipfile.ZipFile(tmp_path / "new.pth") as new,
        zipfile.ZipFile(tmp_path / "old.pth", "w") as old,
    ):
        for entry in new.infolist():
            old.writestr(entry, new.read(entry).replace(b"numpy._core.", b"numpy.core."))
    assert b"numpy.core.multiarray" in (tmp_path / "old.pth").read_bytes()
    assert read_checkpoint(tmp_path / "old.pth")["a.weight"].tolist() == [0, 1, 2]


def test_old_and_other_file_formats(theirs: nn.Module, tmp_path: Path) -> None:
    state = {k: v.contiguous() for k, v in theirs.state_dict().items()}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "new.safetensors")
    for name in ("old.pth", "new.safetensors"):
        found = find_backbone(read_checkpoint(tmp_path / name), name)
        assert all(torch.equal(v, state[k]) for k, v in found.state.items())


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no weights file at"):
        read_checkpoint(tmp_path / "nowhere.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(BadInput, match="no named tensor"):
        read_checkpoint(tmp_path / "list.pth")
    torch.save({"conv1.weight": torch.ones(300, 300)}, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    (tmp_path / "text.pth").write_text("not found\n" * 50)
    (tmp_path / "text.safetensors").write_text("not found\n" * 50)
    for name in ("cut.pth", "text.pth", "text.safetensors"):
        with pytest.raises(BadData, match=f"{name} is not a readable") as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
