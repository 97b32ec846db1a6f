"""BYOL, SimSiam and LEWEL: predict the other view, as the authors' code has it."""

from __future__ import annotations

import copy

import pytest

from bench.nn.heads import mlp
from methods.ssl.byol.network import ByolNetwork
from methods.ssl.byol.params import ByolParams
from methods.ssl.lewel.network import AlignedNeck, LewelNetwork
from methods.ssl.lewel.params import LewelParams
from methods.ssl.simsiam.network import SimsiamNetwork, encoder_head, negative_cosine
from methods.ssl.simsiam.params import SimsiamParams
from tests.methods.ssl.authors.arrays import (
    Arrays,
    assert_gradients_near,
    assert_near,
    assert_weights_near,
    at_step,
    load_weights,
)
from tests.methods.ssl.authors.stand_ins import Identity, descend, pair


def test_byol_trains_as_openselfsups() -> None:
    """Loss, gradients, the target's momentum and its weights over three steps of SGD."""
    arrays = Arrays("byol")
    total, network = arrays.count("total_steps"), byol(arrays)
    learning = ("projector", "predictor")
    for step, views in enumerate(zip(arrays["in.view1"], arrays["in.view2"], strict=True)):
        first, second = (x.requires_grad_() for x in views)
        loss = network.loss(pair(first, second, step, total))["loss"]
        loss.backward()
        assert first.grad is not None
        assert second.grad is not None
        assert_near(loss, arrays["out.loss"][step])
        assert_near(first.grad, arrays["out.grad_view1"][step])
        assert_near(second.grad, arrays["out.grad_view2"][step])
        for name in learning:
            answers = at_step(arrays.below(f"out.grad.{name}"), step)
            assert_gradients_near(getattr(network, name), answers, 1e-9, name)
        descend(arrays.number("sgd_lr"), [getattr(network, name) for name in learning])
        network.after_step(step, total)
        assert_near(network.momentum, arrays["out.momentum"][step])
        for name in (*learning, "target_projector"):
            answers = at_step(arrays.below(f"out.{name}"), step)
            assert_weights_near(getattr(network, name), answers, what=name)


def byol(arrays: Arrays) -> ByolNetwork:
    hidden, width = arrays["w.projector.0.weight"].shape
    out = len(arrays["w.projector.3.weight"])
    params = ByolParams(backbone="resnet18", hidden=hidden, out=out, ema0=arrays.number("ema0"))
    network = ByolNetwork(params)
    network.backbone, network.target_backbone = Identity(), Identity()
    network.projector = mlp(width, hidden, out)
    network.target_projector = mlp(width, hidden, out).requires_grad_(False)
    for name in ("projector", "target_projector", "predictor"):
        load_weights(getattr(network, name), arrays.below(f"w.{name}"))
    network.train()
    return network


def test_simsiam_is_its_authors_code() -> None:
    """Loss and gradients through the three-layer head and the predictor."""
    arrays = Arrays("simsiam")
    hidden, width = arrays["w.projector.0.weight"].shape
    bottleneck, out = arrays["w.predictor.0.weight"].shape
    params = SimsiamParams(backbone="resnet18", hidden=hidden, out=out, bottleneck=bottleneck)
    network = SimsiamNetwork(params)
    network.backbone, network.projector = Identity(), encoder_head(width, hidden, out)
    load_weights(network.projector, arrays.below("w.projector"))
    load_weights(network.predictor, arrays.below("w.predictor"))
    first, second = arrays.leaf("in.view1"), arrays.leaf("in.view2")
    loss = network.loss(pair(first, second))["loss"]
    loss.backward()
    assert first.grad is not None
    assert second.grad is not None
    assert_near(loss, arrays["out.loss"])
    assert_near(first.grad, arrays["out.grad_view1"])
    assert_near(second.grad, arrays["out.grad_view2"])
    assert_gradients_near(network.projector, arrays.below("out.grad.projector"), 1e-9)
    assert_gradients_near(network.predictor, arrays.below("out.grad.predictor"), 1e-9)


def test_negative_cosine_of_simsiams_outputs() -> None:
    arrays = Arrays("simsiam")
    predictions = [arrays.leaf("in.p1"), arrays.leaf("in.p2")]
    loss = negative_cosine(predictions, [arrays["in.z1"], arrays["in.z2"]])
    loss.backward()
    assert_near(loss, arrays["out.loss"])
    for prediction, name in zip(predictions, ("p1", "p2"), strict=True):
        assert prediction.grad is not None
        assert_near(prediction.grad, arrays[f"out.grad_{name}"])


LEWEL_PARTS = (
    "neck.projector",
    "neck.projector_object",
    "predictor",
    "predictor_object",
    "target_neck.projector",
    "target_neck.projector_object",
)


@pytest.mark.parametrize("target", ["eman", "own"])
def test_lewel_trains_as_its_authors_code(target: str) -> None:
    """Loss, gradients and the target (with its batch norm averaged, or its own) over two steps of
    SGD."""
    arrays, near = Arrays("lewel"), 1e-9
    network, total = lewel(arrays, target), arrays.count("total_steps")
    parts = {name: network.get_submodule(name) for name in LEWEL_PARTS}
    learning = {name: part for name, part in parts.items() if not name.startswith("target")}
    for step, views in enumerate(zip(arrays["in.view1"], arrays["in.view2"], strict=True)):
        first, second = (x.requires_grad_() for x in views)
        loss = network.loss(pair(first, second, step, total))["loss"]
        loss.backward()
        assert first.grad is not None
        assert second.grad is not None
        assert_near(loss, arrays[f"out.{target}.loss"][step], near)
        assert_near(first.grad, arrays[f"out.{target}.grad_view1"][step], near)
        assert_near(second.grad, arrays[f"out.{target}.grad_view2"][step], near)
        for name, part in learning.items():
            answers = at_step(arrays.below(f"out.{target}.grad.{name}"), step)
            assert_gradients_near(part, answers, near, name)
        descend(arrays.number("sgd_lr"), learning.values())
        network.after_step(step, total)
        for name, part in parts.items():
            answers = at_step(arrays.below(f"out.{target}.{name}"), step)
            assert_weights_near(part, answers, near, name)


def lewel(arrays: Arrays, target: str) -> LewelNetwork:
    hidden, width = arrays["w.neck.projector.0.weight"].shape
    out = len(arrays["w.neck.projector.3.weight"])
    params = LewelParams.model_validate(
        {
            "backbone": "resnet18",
            "hidden": hidden,
            "out": out,
            "align_heads": arrays.count("heads"),
            "temperature": arrays.number("temperature"),
            # the authors' loss_weight is the share of the instance loss
            "object_weight": 1 - arrays.number("loss_weight"),
            "ema0": arrays.number("ema0"),
            "target_bn": target,
        }
    )
    network = LewelNetwork(params)
    network.backbone, network.target_backbone = Identity(), Identity()
    network.neck = AlignedNeck(width, hidden, out, params.align_heads, params.temperature, 1)
    network.target_neck = copy.deepcopy(network.neck).requires_grad_(False)
    for name in LEWEL_PARTS:
        load_weights(network.get_submodule(name), arrays.below(f"w.{name}"))
    return network.train()
