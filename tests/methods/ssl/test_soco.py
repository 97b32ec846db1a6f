"""SoCo: correspondence, loss, cut-out, and the network with its pyramid levels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from bench.nn.fpn import level_of, pool_rois, stage_maps
from methods.ssl.soco.branch import whole_pixels
from methods.ssl.soco.cutout import cutout
from methods.ssl.soco.losses import correspondence, own_level, soco_loss
from methods.ssl.soco.network import SocoNetwork
from tests.methods.ssl.soco import VIEW_OF, soco

Paired = type("Paired", (), {"style": "paired"})


def test_correspondence_by_hand() -> None:
    ids1, ids2 = torch.tensor([[0, 1, 2, 0]]), torch.tensor([[0, 1, 2, 1]])
    levels1, levels2 = torch.tensor([[0, 1, 3, 0]]), torch.tensor([[0, 2, 3, 1]])
    same = correspondence(ids1, ids2, levels1, levels2, True)
    assert same[0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]
    anyhow = correspondence(ids1, ids2, levels1, levels2, False)
    assert anyhow[0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_levels_follow_whole_pixels_with_the_last_one_inside() -> None:
    """A box of 47.2 x 47.2 pixels from (10.9, 10.9) has corners 10 and 58: 49 pixels, so p3."""
    boxes = torch.tensor([[10.9, 10.9, 58.1, 58.1], [10.0, 10.0, 57.9, 57.9]])
    assert whole_pixels(boxes).tolist() == [[10, 10, 59, 59], [10, 10, 58, 58]]
    assert level_of(boxes, 224).tolist() == [0, 0]
    assert level_of(whole_pixels(boxes), 224).tolist() == [1, 0]
    network = soco(image_size=224).network(10)
    assert network._levels(boxes[None]).tolist() == [[1, 0]]


@pytest.mark.parametrize("heads", [1, 2])
def test_heads_have_biases_and_pytorchs_initialisation(heads: int) -> None:
    """U(-1 / sqrt(n), 1 / sqrt(n)), n the layer's inputs, for weights and biases of all layers."""
    torch.manual_seed(0)
    network = soco(hidden=256, out=64, fc=128).network(10, heads)
    linear = [
        m
        for head in (network.branch.projector, network.predictor)
        for m in head.modules()
        if isinstance(m, nn.Linear)
    ]
    assert len(linear) == 2 * heads + 2
    for layer in linear:
        bound = layer.in_features**-0.5
        for values in (layer.weight, layer.bias):
            assert 0.9 * bound < float(values.detach().abs().max()) <= bound


def test_default_pairs_count_on_any_level() -> None:
    """Two boxes of one proposal, of 11 pixels in view 1 and of 31 in the others."""
    assert registry.load("method", "soco").resolve("paper").params.levels == "any"
    b = batch()
    b.extra["ids"][:] = torch.arange(4)
    b.extra["boxes"][:, [0, 2]] = torch.tensor([4.0, 4.0, 14.0, 14.0])
    b.extra["boxes"][:, [1, 3]] = torch.tensor([1.0, 1.0, 31.0, 31.0])
    for settings, share in (({}, 1.0), ({"levels": "same"}, 0.0)):
        parts = soco(**settings).network(10).loss(b)
        assert float(parts["matched12"]) == float(parts["matched13"]) == share


def test_loss_against_a_loop() -> None:
    torch.manual_seed(0)
    p, z = torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    corr = (torch.rand(3, 4, 4) < 0.3).float()
    corr[1] = 0
    a, b, total = p.double().numpy(), z.double().numpy(), 0.0
    for n in range(3):
        above = below = 0.0
        for i in range(4):
            for j in range(4):
                norms = math.sqrt(a[n, i] @ a[n, i]) * math.sqrt(b[n, j] @ b[n, j])
                above += float(corr[n, i, j]) * float(a[n, i] @ b[n, j]) / norms
                below += float(corr[n, i, j])
        total += above / (below + 1e-6)
    assert float(soco_loss(p, z, corr)) == pytest.approx(-2 * total / 3, abs=1e-5)
    diagonal = torch.eye(4).expand(3, 4, 4)
    assert float(soco_loss(p, 3 * p, diagonal)) == pytest.approx(-2, abs=1e-5), "its minimum"
    shuffle = [2, 0, 1]
    assert float(soco_loss(p[shuffle], z[shuffle], corr[shuffle])) == pytest.approx(
        -2 * total / 3, abs=1e-5
    )


def test_cutout_against_a_loop() -> None:
    torch.manual_seed(3)
    low = torch.rand(5, 4, 2) * 20
    boxes = torch.cat([low, low + 4 + torch.rand(5, 4, 2) * 20], -1)
    images = torch.ones(5, 3, 48, 48)
    torch.manual_seed(7)
    found = cutout(images, boxes, 0.5, (0.1, 0.3))
    torch.manual_seed(7)
    on, part, u, v = torch.rand(4, 5, 4).double()
    want, cut = images.clone(), 0
    for n in range(5):
        for k in range(4):
            x1, y1, x2, y2 = boxes[n, k].double().tolist()
            half = math.sqrt((0.1 + 0.2 * float(part[n, k])) * (x2 - x1) * (y2 - y1)) / 2
            cx, cy = x1 + float(u[n, k]) * (x2 - x1), y1 + float(v[n, k]) * (y2 - y1)
            if float(on[n, k]) >= 0.5:
                continue
            cut += 1
            for y in range(48):
                for x in range(48):
                    if abs(x + 0.5 - cx) < half and abs(y + 0.5 - cy) < half:
                        want[n, :, y, x] = 0
    assert torch.equal(found, want)
    assert 0 < cut < 20
    assert torch.equal(cutout(images, boxes, 0.0, (0.1, 0.3)), images)


def batch(size: int = 64, equal: bool = False) -> Batch:
    torch.manual_seed(0)
    sizes = {"view1": size, "view2": size, "view3": size // 2}
    objects = torch.tensor([True, False, True, False])
    views = {
        r: Views(torch.randn(4, 3, s, s), torch.zeros(4, 4), objects, torch.arange(4), objects)
        for r, s in sizes.items()
    }
    low = torch.rand(4, 4, 4, 2) * size / 3
    boxes = torch.cat([low, low + size / 4 + torch.rand(4, 4, 4, 2) * size / 3], -1)
    boxes[:, 3] /= 2
    return Batch(views, {"boxes": boxes, "ids": torch.randint(0, 3, (4, 4, 4))})


def test_network_loss_is_four_directions_with_features_computed_apart() -> None:
    torch.manual_seed(0)
    network = soco(cutout_p=0.0, levels="any").network(10)
    assert isinstance(network, SocoNetwork)
    network.eval()  # batch norm by running statistics: rows are independent of one another
    b = batch()
    boxes, ids = b.extra["boxes"], b.extra["ids"]

    def features(row: int, target: bool) -> torch.Tensor:
        view = b.views[VIEW_OF[row]]
        backbone = network.target_backbone if target else network.backbone
        branch = network.target_branch if target else network.branch
        maps = list(branch.fpn(stage_maps(backbone, view.images)).values())
        levels = level_of(whole_pixels(boxes[:, row]), 64, (48, 96, 192)).flatten()
        rois = pool_rois(
            maps,
            boxes[:, row].flatten(0, 1),
            torch.arange(16) // 4,
            levels,
            len(view.images[0, 0]),
        )
        z = branch.projector(branch.head(rois))
        return (z if target else network.predictor(z)).view(4, 4, -1)

    want = 0.0
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        p, z = F.normalize(features(i, False), dim=-1), F.normalize(features(j, True), dim=-1)
        for n in range(4):
            pairs = [
                float((p[n, k] * z[n, m]).sum().detach())
                for k in range(4)
                for m in range(4)
                if ids[n, i, k] == ids[n, j, m]
            ]
            want += -2 / 4 * (sum(pairs) / (len(pairs) + 1e-6))
    parts = network.loss(b)
    assert float(parts["loss"].detach()) == pytest.approx(want, abs=1e-4)
    assert float((parts["loss12"] + parts["loss13"]).detach()) == pytest.approx(want, abs=1e-4)


def test_batch_norm_sees_one_level_at_a_time() -> None:
    """Every box on every level; head and projector take the boxes of one level at a time."""
    torch.manual_seed(0)
    network = soco().network(10).train()
    assert isinstance(network, SocoNetwork)
    images, boxes = torch.randn(4, 3, 64, 64), batch().extra["boxes"][:, 0]
    seen: list[torch.Tensor] = []
    hook = network.branch.head.register_forward_hook(
        lambda module, given, out: seen.append(given[0])
    )
    found = network.branch(network.backbone, images, boxes, None)
    hook.remove()
    assert found.shape == (4, 4, 4, 16)
    maps = list(network.branch.fpn(stage_maps(network.backbone, images)).values())
    assert len(seen) == 4
    for level, given in enumerate(seen):
        want = roi_align(maps[level], list(boxes), 7, 1 / (4 << level), aligned=True)
        assert torch.allclose(given, want, atol=1e-4), "all boxes, on this level"
        alone = network.branch.projector(network.branch.head(want)).view(4, 4, -1)
        assert torch.allclose(found[level], alone, atol=1e-3)
    levels = torch.randint(0, 4, (4, 4))
    own = own_level(found, levels)
    for n in range(4):
        for k in range(4):
            assert torch.equal(own[n, k], found[levels[n, k], n, k])


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_are_online_only_and_every_parameter_has_one(heads: int) -> None:
    torch.manual_seed(0)
    network = soco().network(10, heads)
    before = {n: p.clone() for n, p in network.named_parameters()}
    parts = network.loss(batch())
    assert 0 < float(parts["matched12"]) <= 1
    parts["loss"].backward()
    assert all((p.grad is None) == n.startswith("target_") for n, p in network.named_parameters())
    with torch.no_grad():
        for p in network.parameters():
            p += 1
    network.after_step(0, 10)
    for name, p in network.named_parameters():
        if name.startswith("target_"):
            online = dict(network.named_parameters())[name.removeprefix("target_")]
            assert torch.allclose(p, 0.9 * (before[name] + 1) + 0.1 * online, atol=1e-6)


def test_cutout_hits_view2_and_only_if_asked_view3() -> None:
    b = batch()
    for where, changed in (("view2", ["view2"]), ("both", ["view2", "view3"])):
        network = soco(cutout_p=1.0, cutout_views=where).network(10)
        shown = network._views(b)  # type: ignore[attr-defined]
        assert [r for r, v in b.views.items() if not torch.equal(shown[r], v.images)] == changed


def test_embedding_is_the_whole_images_box() -> None:
    torch.manual_seed(0)
    network = soco().network(10).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = network.embed(images)
        assert found.shape == (2, 16)
        assert torch.allclose(network.embed(images[1:]), found[1:], atol=1e-5)


def test_settings_of_the_published_script_and_which_crops() -> None:
    method = registry.load("method", "soco").resolve("paper")
    p = method.params
    assert (p.optimizer, p.lr, p.weight_decay, p.decay_norm_and_bias) == ("lars", 1.0, 1e-5, False)
    assert (p.batch_size, p.epochs, p.warmup_epochs, p.ema0) == (2048, 100, 10.0, 0.99)
    assert (p.boxes, p.jitter_p, p.jitter, p.min_scale) == (4, 0.5, 0.1, 0.5)
    multi = type("Multi", (), {"style": "multi"})
    assert method.supports(Paired) is None
    assert "small" in str(method.supports(multi))
