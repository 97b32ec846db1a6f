"""LEWEL: alignment maps against a loop, the loss against lightly, EMAN, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from bench.core.errors import BadInput
from methods.ssl.lewel.network import AlignedNeck, LewelNetwork


def lewel(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "lewel").resolve("tiny", {"hidden": 32, "out": 16, **settings})


def batch(sizes: dict[str, int]) -> Batch:
    torch.manual_seed(1)
    objects, index = torch.tensor([True, False, False, True]), torch.arange(4)
    images = {r: torch.randn(4, 3, s, s) for r, s in sizes.items()}
    return Batch(
        {r: Views(x, torch.zeros(4, 4), objects, index, objects) for r, x in images.items()}
    )


TWO = {"view1": 64, "view2": 64}


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_alignment_against_a_loop(groups: int) -> None:
    """o_j, channel c of group h: sum_l x_lc exp(d_l,hj / t) / sum_l' exp(d_l',hj / t), d of unit
    length."""
    torch.manual_seed(0)
    x, dense, t = torch.randn(2, 6, 8), torch.randn(2, 6, 12), 0.3
    neck = AlignedNeck(8, 5, 12, groups, t, 1)
    found = neck.align(x, dense)
    n, per = 12 // groups, 8 // groups
    assert found.shape == (2, n, 8)
    for b in range(2):
        unit = [[float(v) for v in d / d.norm()] for d in dense[b].double()]
        for j in range(n):
            for c in range(8):
                k = (c // per) * n + j
                weights = [math.exp(unit[i][k] / t) for i in range(6)]
                want = sum(w * float(x[b, i, c]) for i, w in enumerate(weights)) / sum(weights)
                assert float(found[b, j, c]) == pytest.approx(want, abs=1e-5)


def test_a_flat_map_is_the_mean_and_a_sharp_one_picks_a_location() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 9, 4)
    same = torch.randn(2, 1, 4).expand(-1, 9, -1)
    found = AlignedNeck(4, 5, 4, 1, 1.0, 1).align(x, same)
    assert torch.allclose(found, x.mean(1, keepdim=True).expand(-1, 4, -1), atol=1e-6)
    dense = F.one_hot(torch.arange(9).remainder(4), 4)[None].expand(2, -1, -1).float().clone()
    dense[:, 4:] = -1.0
    sharp = AlignedNeck(4, 5, 4, 1, 1e-3, 1).align(x, dense)
    assert torch.allclose(sharp, x[:, :4], atol=1e-4)


def test_neck_shares_its_projector_between_the_pooled_feature_and_the_locations() -> None:
    torch.manual_seed(0)
    neck = AlignedNeck(8, 5, 12, 2, 1.0, 1).eval()
    maps = torch.randn(3, 8, 2, 3)
    with torch.no_grad():
        instance, aligned = neck(maps)
        assert torch.allclose(instance, neck.projector(maps.mean((2, 3))), atol=1e-6)
        x = maps.permute(0, 2, 3, 1).reshape(3, 6, 8)
        dense = neck.projector(x.reshape(-1, 8)).view(3, 6, 12)
        want = neck.projector_object(neck.align(x, dense).reshape(-1, 8)).view(3, 6, 12)
        assert torch.allclose(aligned, want, atol=1e-6)
        order = torch.randperm(6)
        shuffled = maps.flatten(2)[..., order].view(3, 8, 2, 3)
        again = neck(shuffled)
    assert torch.allclose(again[1], aligned, atol=1e-5), "pooling does not see where a location is"


def test_loss_is_half_instance_half_aligned_as_lightly_computes_it() -> None:
    torch.manual_seed(0)
    network = lewel().network(10).train()
    b = batch(TWO)
    images = [b.views[r].images for r in TWO]
    with torch.no_grad():
        online = [network.neck(network.backbone.maps(x)) for x in images]
        target = [network.target_neck(network.target_backbone.maps(x)) for x in images]
        p = [network.predictor(z) for z, _ in online]
        q = [network.predictor_object(o.flatten(0, 1)) for _, o in online]
    negative = NegativeCosineSimilarity()
    instance = (
        4 + 2 * float(negative(p[0], target[1][0])) + 2 * float(negative(p[1], target[0][0]))
    )
    objects = 4 + 2 * sum(float(negative(q[i], target[1 - i][1].flatten(0, 1))) for i in (0, 1))
    parts = network.loss(b)
    assert float(parts["instance"].detach()) == pytest.approx(instance, abs=1e-4)
    assert float(parts["object"].detach()) == pytest.approx(objects, abs=1e-4)
    assert float(parts["loss"].detach()) == pytest.approx(0.5 * instance + 0.5 * objects, abs=1e-4)
    network.params_ = network.params_.model_copy(update={"object_weight": 0.25})
    weighted = float(network.loss(b)["loss"].detach())
    assert weighted == pytest.approx(0.75 * instance + 0.25 * objects, abs=1e-4)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("sizes", [TWO, {**TWO, "small1": 32}])
def test_gradients_are_online_only(heads: int, sizes: dict[str, int]) -> None:
    network = lewel().network(10, heads)
    network.loss(batch(sizes))["loss"].backward()
    assert all((p.grad is None) == n.startswith("target_") for n, p in network.named_parameters())


def test_two_heads_project_each_row_by_its_kind() -> None:
    torch.manual_seed(0)
    network = lewel().network(10, 2).eval()
    view = batch(TWO).views["view1"]
    with torch.no_grad():
        maps = network.backbone.maps(view.images)
        mixed = network.neck(maps, view.objects)
        alone = [network.neck(maps, torch.full((4,), kind)) for kind in (False, True)]
    for part in (0, 1):
        for row, kind in enumerate(view.objects.tolist()):
            assert torch.allclose(mixed[part][row], alone[kind][part][row], atol=1e-6)
            assert not torch.allclose(mixed[part][row], alone[not kind][part][row], atol=1e-3)


def statistics(network: LewelNetwork) -> dict[str, torch.Tensor]:
    return {n: b.clone() for n, b in network.named_buffers() if n.startswith("target_")}


def test_eman_averages_statistics_and_uses_them() -> None:
    torch.manual_seed(0)
    network = lewel(ema0=0.9).network(10).train()
    network.loss(batch(TWO))
    start = statistics(network)
    assert all(float(b.sum()) == 0 for n, b in start.items() if n.endswith("running_mean")), (
        "still untouched"
    )
    online = {
        f"target_{n}": b
        for n, b in network.named_buffers()
        if n.startswith(("backbone.", "neck."))
    }
    assert start.keys() == online.keys()
    network.after_step(0, 10)  # momentum .9
    for name, now in statistics(network).items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(now, online[name])
        else:
            assert torch.allclose(now, 0.9 * start[name] + 0.1 * online[name], atol=1e-6)
    assert not network.target_backbone.training
    assert not network.target_neck.training
    assert network.backbone.training


def test_own_statistics_are_the_batchs_and_are_not_averaged() -> None:
    torch.manual_seed(0)
    network = lewel(target_bn="own").network(10).train()
    network.loss(batch(TWO))
    before = statistics(network)
    assert any(float(b.abs().sum()) > 0 for n, b in before.items() if n.endswith("running_mean"))
    network.after_step(0, 10)
    assert all(torch.equal(b, before[n]) for n, b in statistics(network).items())


def test_heads_must_divide_the_widths() -> None:
    with pytest.raises(BadInput, match="align_heads must divide"):
        lewel(align_heads=3).network(10)


def test_heads_start_as_in_the_published_code() -> None:
    """Its projectors and predictors are 1 x 1 convolutions without biases, drawn by fan-out; at
    tiny they are BYOL's."""
    torch.manual_seed(0)
    wanted = {"backbone": "resnet18", "hidden": 96, "out": 64}
    net = registry.load("method", "lewel").resolve("paper", wanted).network(10)
    heads = (net.neck.projector, net.neck.projector_object, net.predictor, net.predictor_object)
    for head in heads:
        for layer, outputs in ((head[0], 96), (head[3], 64)):
            assert layer.bias is None
            assert float(layer.weight.detach().std()) == pytest.approx(
                math.sqrt(2 / outputs), rel=0.05
            )
    tiny = lewel(hidden=96).network(10).neck.projector[0]
    assert float(tiny.weight.detach().std()) == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    assert not tiny.bias.any()


def test_settings_of_the_published_script() -> None:
    p = registry.load("method", "lewel").resolve("paper").params
    assert (p.lr_step, p.warmup_epochs, p.mlp_init) == ("epoch_after_warmup", 10, "fan_out")
    assert (p.optimizer, p.batch_size, p.weight_decay, p.ema0) == ("lars", 1024, 1.5e-6, 0.98)
    assert p.lr * p.batch_size / 256 == pytest.approx(3.6)
    assert (p.align_heads, p.object_weight, p.temperature, p.epochs) == (4, 0.5, 1.0, 200)
