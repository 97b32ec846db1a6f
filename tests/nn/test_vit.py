"""Vision transformers against timm's; half-width,
small-stem and Lab ResNets; what the names mean."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import torchvision
from lightly.models import utils as lightly_utils
from timm.models.vision_transformer import VisionTransformer as TimmViT

from bench.contracts import registry
from bench.core.errors import BadInput
from bench.nn.architectures import RESNET_NAMES, VITS, architecture
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from bench.nn.lab import rgb_to_lab, to_normalised_lab
from bench.nn.vit import sincos_2d
from bench.views.augment import normalise


def timms(name: str) -> TimmViT:
    shape = VITS[name]
    return TimmViT(
        shape.side,
        shape.patch,
        3,
        0,
        "avg",
        shape.dim,
        shape.depth,
        shape.heads,
        fc_norm=False,
        dynamic_img_size=True,
    ).eval()


def test_position_embedding_by_hand() -> None:
    """dim 8, 2 rows x 3 columns: two frequencies, 1 and 1/100; the patch in row 1, column 2."""
    row, column = [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)], 2.0
    found = sincos_2d(8, 2, 3)
    assert found.shape == (6, 8)
    want = [math.sin(column), math.sin(0.02), math.cos(column), math.cos(0.02), *row]
    assert found[5].tolist() == pytest.approx(want, abs=1e-6)
    assert found[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(("dim", "side"), [(192, 8), (768, 14)])
def test_position_embedding_is_lightlys(dim: int, side: int) -> None:
    want = lightly_utils.get_2d_sine_cosine_positional_embedding(dim, side, cls_token=False)
    np.testing.assert_allclose(sincos_2d(dim, side, side).numpy(), want, atol=1e-5)


def test_position_embedding_needs_a_multiple_of_four() -> None:
    with pytest.raises(BadInput, match="multiple of 4, got 6"):
        sincos_2d(6, 2, 2)


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_vit_computes_what_timms_does(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, theirs = build_backbone("vit_tiny").eval(), timms("vit_tiny")
    with torch.no_grad():
        ours.norm.weight.uniform_(0.5, 2)
        theirs.load_state_dict(ours.state_dict(), strict=True)
        images = torch.randn(2, 3, *size)
        want = theirs.forward_features(images)[:, 1:]
        maps = ours.maps(images)
        torch.testing.assert_close(maps.flatten(2).transpose(1, 2), want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    assert maps.shape == (2, ours.feature_dim, size[0] // 8, size[1] // 8)


@pytest.mark.parametrize(
    ("name", "published"),
    [("vit_b", "vit_base_patch16_224.mae"), ("vit_s", "deit_small_patch16_224")],
)
def test_keys_and_shapes_are_the_published_models(name: str, published: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(published, num_classes=0).state_dict()
        ours = build_backbone(name).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_vit_loads_what_it_saved_and_positions_stay_fixed(tmp_path: Path) -> None:
    source, other = build_backbone("vit_tiny"), build_backbone("vit_tiny")
    save_backbone(tmp_path / "b.pth", source)
    assert load_backbone(tmp_path / "b.pth", other) == len(source.state_dict()) == 4 * 12 + 6
    assert torch.equal(source.cls_token, other.cls_token)
    source(torch.randn(1, 3, 64, 64)).sum().backward()
    assert [n for n, p in source.named_parameters() if p.grad is None] == ["pos_embed"]


def test_vit_refuses_a_part_of_a_patch() -> None:
    with pytest.raises(BadInput, match="multiples of 8, got 60 x 64"):
        build_backbone("vit_tiny").maps(torch.zeros(1, 3, 64, 60))


def test_half_width_is_half_of_every_stage() -> None:
    for name in ("resnet18", "resnet50"):
        half = build_backbone(f"{name}_half").eval()
        whole = getattr(torchvision.models, name)().state_dict()
        assert half.feature_dim * 2 == whole["fc.weight"].shape[1]
        for key, value in half.state_dict().items():
            if not key.startswith("layer"):
                assert value.shape == whole[key].shape, f"the stem is as wide: {key}"
            elif value.ndim and key in whole:
                assert value.shape[0] * 2 == whole[key].shape[0], key
        extra = {k.rpartition(".downsample.")[0] for k in half.state_dict().keys() - whole.keys()}
        assert extra == ({"layer1.0"} if name == "resnet18" else set()), "from 64 to 32 channels"
        assert half.maps(torch.randn(1, 3, 64, 64)).shape == (1, half.feature_dim, 2, 2)


def test_quarter_width_is_a_quarter_of_everything() -> None:
    for name in ("resnet18", "resnet50"):
        quarter = build_backbone(f"{name}_quarter").eval()
        whole = getattr(torchvision.models, name)().state_dict()
        state = quarter.state_dict()
        assert {*state, "fc.weight", "fc.bias"} == {*whole}, "no projection is added"
        for key, value in state.items():
            assert not value.ndim or value.shape[0] * 4 == whole[key].shape[0], key
        assert quarter.feature_dim * 4 == whole["fc.weight"].shape[1]
        assert quarter.maps(torch.randn(1, 3, 64, 64)).shape == (1, quarter.feature_dim, 2, 2)
        spread = float(quarter.conv1.weight.detach().std())
        assert spread == pytest.approx((2 / (16 * 49)) ** 0.5, rel=0.1), "Kaiming, over fan-out"


def test_cifar_stem_keeps_the_resolution() -> None:
    net = build_backbone("resnet18_cifar").eval()
    assert net.conv1.weight.shape == (64, 3, 3, 3)
    assert net.maps(torch.randn(1, 3, 32, 32)).shape == (1, 512, 4, 4)
    assert net.state_dict().keys() == build_backbone("resnet18").state_dict().keys()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_init_makes_every_block_pass_its_input_on(name: str) -> None:
    torch.manual_seed(0)
    ours = build_backbone(f"{name}_zeroinit")
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(zero_init_residual=True).state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.state_dict().items())
    x = torch.rand(2, ours.layer1[1].conv1.in_channels, 8, 8)
    torch.testing.assert_close(ours.layer1[1](x), x)


def test_options_combine_in_any_order() -> None:
    both = build_backbone("resnet18_zeroinit_half_cifar")
    assert both.state_dict().keys() == build_backbone("resnet18_half").state_dict().keys()
    assert (both.feature_dim, both.conv1.stride) == (256, (1, 1))
    assert float(both.layer4[1].bn2.weight.detach().abs().sum()) == 0


def test_lab_is_opencvs() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.random((40, 50, 3), dtype=np.float32)
    rgb[:8] *= 0.05  # the linear parts
    lab = rgb_to_lab(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(lab - cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)).mean() < 0.1, (
        "its table is coarse in the dark"
    )
    assert np.abs(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB) - rgb).max() < 1e-3, "its inverse is exact"


def test_lab_of_known_colours() -> None:
    """White, black and sRGB red, green and blue under D65 (published values, two decimals)."""
    rgb = torch.tensor(
        [[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float32
    )
    found = rgb_to_lab(rgb.T.reshape(1, 3, 1, 5))[0, :, 0].T
    want = [
        [100, 0, 0],
        [0, 0, 0],
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
    ]
    torch.testing.assert_close(found, torch.tensor(want), rtol=0, atol=0.012)


def test_normalised_lab_undoes_the_rgb_normalisation() -> None:
    rgb = torch.rand(2, 3, 4, 5)
    lab = to_normalised_lab(normalise(rgb))
    plain = rgb_to_lab(rgb)
    torch.testing.assert_close(lab[:, 0] * 50 + 50, plain[:, 0], rtol=0, atol=1e-3)
    torch.testing.assert_close(lab[:, 1] * 92.208 + 6.025, plain[:, 1], rtol=0, atol=1e-3)
    torch.testing.assert_close(lab[:, 2] * 101.1675 - 6.6895, plain[:, 2], rtol=0, atol=1e-3)
    primaries = torch.tensor(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=torch.float32
    )
    assert (
        float(to_normalised_lab(normalise(primaries.T.reshape(1, 3, 1, 5))).abs().max()) <= 1.001
    )


def test_lab_backbone_sees_lightness_and_colour_apart() -> None:
    torch.manual_seed(0)
    net = build_backbone("lab_resnet18").eval()
    assert (net.feature_dim, net.l.conv1.in_channels, net.ab.conv1.in_channels) == (512, 1, 2)
    grey = torch.rand(2, 1, 64, 64).expand(-1, 3, -1, -1)
    with torch.no_grad():
        one, two = net(normalise(grey[:1])), net(normalise(grey[1:]))
        assert torch.allclose(one[:, 256:], two[:, 256:], atol=1e-4), "grey images have no colour"
        assert not torch.allclose(one[:, :256], two[:, :256], atol=1e-2)
        maps = net.maps(normalise(torch.rand(1, 3, 64, 64)))
    assert maps.shape == (1, 512, 2, 2)


def test_every_name_builds_and_pools_its_map() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    for name in (
        "resnet18",
        "resnet18_half",
        "resnet18_quarter",
        "resnet18_cifar",
        "lab_resnet18_cifar",
        "vit_tiny",
    ):
        net = build_backbone(name).eval()
        with torch.no_grad():
            found = net(images)
            torch.testing.assert_close(found, net.maps(images).mean((2, 3)), rtol=1e-4, atol=1e-5)
        assert found.shape == (2, net.feature_dim)


@pytest.mark.parametrize(
    "name",
    [
        "vit_g",
        "resnet18_",
        "resnet18_half_half",
        "resnet18_half_quarter",
        "lab_vit_s",
        "lab_resnet18_half",
        "lab_resnet18_quarter",
    ],
)
def test_unknown_names_are_one_line(name: str) -> None:
    with pytest.raises(BadInput, match="unknown backbone"):
        architecture(name)


def test_detection_says_what_it_cannot_use() -> None:
    task = registry.load("task", "coco_det").resolve("tiny")
    usable = [*RESNET_NAMES, "resnet50_half", "resnet18_zeroinit"]
    assert [task.supports(n) for n in usable] == [None] * len(usable)  # type: ignore[attr-defined]
    for name in (*VITS, "lab_resnet50", "resnet18_cifar"):
        assert 10 <= len(task.supports(name)) <= 200  # type: ignore[attr-defined]
