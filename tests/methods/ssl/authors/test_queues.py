"""MoCo v2, DenseCL, CAST and SimCLR: contrast with negatives, as the authors' code has it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench.nn.contrastive import correspondence, dense_info_nce, info_nce
from bench.nn.ntxent import nt_xent
from bench.nn.queue import KeyQueue
from methods.ssl.cast.network import CastNetwork, attention_loss
from methods.ssl.cast.params import CastParams
from methods.ssl.densecl.network import DenseclNetwork, dense_head, global_head
from methods.ssl.densecl.params import DenseclParams
from methods.ssl.moco_v2.network import MocoNetwork, head
from methods.ssl.moco_v2.params import MocoParams
from methods.ssl.simclr.network import SimclrNetwork, neck
from methods.ssl.simclr.params import SimclrParams
from tests.methods.ssl.authors.arrays import (
    Arrays,
    assert_gradients_near,
    assert_near,
    assert_weights_near,
    at_step,
    load_weights,
)
from tests.methods.ssl.authors.stand_ins import Identity, Linear, descend, pair

LARGE_SET = 10**6  # images, so that the queue is as long as the settings say


@pytest.fixture
def moco() -> tuple[Arrays, MocoNetwork]:
    arrays = Arrays("moco_v2")
    batch, width = arrays["in.view1"].shape[1:]
    length, dim = arrays["in.queue"].shape
    params = MocoParams(
        backbone="resnet18",
        batch_size=batch,
        hidden=width,
        dim=dim,
        queue=length,
        ema=arrays.number("ema"),
        tau=arrays.number("temperature"),
        shuffle="sync",
    )
    network = MocoNetwork(params, LARGE_SET)
    network.backbone, network.key_backbone = Identity(), Identity()
    network.projector = head(width, width, dim)
    network.key_projector = head(width, width, dim).requires_grad_(False)
    load_weights(network.projector, arrays.below("w.projector"))
    load_weights(network.key_projector, arrays.below("w.key_projector"))
    network.queue.keys.copy_(arrays["in.queue"])
    network.queue.position.copy_(arrays["in.position"])
    return arrays, network.train()


def test_moco_trains_as_its_authors_code(moco: tuple[Arrays, MocoNetwork]) -> None:
    """Loss, gradients, queue and the moving average over three steps of SGD."""
    arrays, network = moco
    for step, (first, second) in enumerate(
        zip(arrays["in.view1"], arrays["in.view2"], strict=True)
    ):
        first.requires_grad_()
        loss = network.loss(pair(first, second))["loss"]
        loss.backward()
        assert first.grad is not None
        assert_near(loss, arrays["out.loss"][step])
        assert_near(first.grad, arrays["out.grad_view1"][step])
        assert_gradients_near(network.projector, at_step(arrays.below("out.grad.projector"), step))
        assert_weights_near(
            network.key_projector, at_step(arrays.below("out.key_projector"), step)
        )
        assert_near(network.queue.keys, arrays["out.queue"][step])
        assert_near(network.queue.position, arrays["out.position"][step], 0)
        descend(arrays.number("sgd_lr"), [network.projector])
        assert_weights_near(network.projector, at_step(arrays.below("out.projector"), step))


def test_info_nce_of_mocos_projections() -> None:
    arrays = Arrays("moco_v2")
    for step in range(3):
        raw = arrays["out.q_raw"][step].requires_grad_()
        keys, negatives = arrays["out.k"][step], arrays["out.negatives"][step]
        loss = info_nce(F.normalize(raw, dim=1), keys, negatives, arrays.number("temperature"))
        loss.backward()
        assert raw.grad is not None
        assert_near(loss, arrays["out.loss"][step])
        assert_near(raw.grad, arrays["out.grad_q_raw"][step])


def test_queue_comes_round_as_mocos() -> None:
    arrays = Arrays("moco_v2")
    queue = KeyQueue(*arrays["in.queue"].shape)
    queue.keys.copy_(arrays["in.queue"])
    queue.position.copy_(arrays["in.position"])
    for step in range(3):
        queue.enqueue(arrays["out.k"][step])
        assert_near(queue.keys, arrays["out.queue"][step])
        assert int(queue.position) == int(arrays["out.position"][step])


def test_densecl_trains_as_its_authors_code() -> None:
    """Both losses, both queues and both heads over two steps of SGD."""
    arrays = Arrays("densecl")
    network = densecl(arrays)
    heads = ("projector", "dense")
    for step, (first, second) in enumerate(
        zip(arrays["in.view1"], arrays["in.view2"], strict=True)
    ):
        first.requires_grad_()
        parts = network.loss(pair(first, second))
        parts["loss"].backward()
        assert first.grad is not None
        assert_near(parts["loss"], arrays["out.loss"][step])
        assert_near(parts["global"], arrays["out.loss_global"][step])
        assert_near(parts["dense"], arrays["out.loss_dense"][step])
        assert_near(first.grad, arrays["out.grad_view1"][step])
        assert_near(network.queue.keys, arrays["out.queue"][step])
        assert_near(network.dense_queue.keys, arrays["out.dense_queue"][step])
        for name in heads:
            answers = at_step(arrays.below(f"out.grad.{name}"), step)
            assert_gradients_near(getattr(network, name), answers, what=name)
        descend(arrays.number("sgd_lr"), [getattr(network, name) for name in heads])
        for name in (*heads, "key_projector", "key_dense"):
            answers = at_step(arrays.below(f"out.{name}"), step)
            assert_weights_near(getattr(network, name), answers, what=name)


def densecl(arrays: Arrays) -> DenseclNetwork:
    hidden, width = arrays["w.projector.0.weight"].shape
    length, dim = arrays["in.queue"].shape
    params = DenseclParams(
        backbone="resnet18",
        batch_size=arrays["in.view1"].shape[1],
        hidden=hidden,
        dim=dim,
        queue=length,
        ema=arrays.number("ema"),
        tau=arrays.number("temperature"),
        shuffle="sync",
        lambda_dense=arrays.number("lambda_dense"),
    )
    network = DenseclNetwork(params, LARGE_SET)
    network.backbone, network.key_backbone = Identity(), Identity()
    for prefix in ("", "key_"):
        for name, make in (("projector", global_head), ("dense", dense_head)):
            module = make(width, hidden, dim).requires_grad_(not prefix)
            load_weights(module, arrays.below(f"w.{prefix}{name}"))
            setattr(network, prefix + name, module)
    network.queue.keys.copy_(arrays["in.queue"])
    network.dense_queue.keys.copy_(arrays["in.dense_queue"])
    network.train()
    return network


def test_densecl_matches_cells_and_contrasts_them() -> None:
    arrays = Arrays("densecl")
    tau, weight = arrays.number("temperature"), arrays.number("lambda_dense")
    for step in range(2):
        match = correspondence(
            arrays["in.view1"][step].flatten(2), arrays["in.view2"][step].flatten(2)
        )
        assert_near(match, arrays["out.match"][step], 0)
        raw = arrays["out.q_raw"][step].requires_grad_()
        cells = arrays["out.q_cells_raw"][step].requires_grad_()
        whole = info_nce(
            F.normalize(raw, dim=1), arrays["out.k"][step], arrays["out.negatives"][step], tau
        )
        dense = dense_info_nce(
            F.normalize(cells, dim=1),
            arrays["out.k_cells"][step],
            match,
            arrays["out.dense_negatives"][step],
            tau,
        )
        ((1 - weight) * whole + weight * dense).backward()
        assert raw.grad is not None
        assert cells.grad is not None
        assert_near(dense, arrays["out.loss_dense"][step])
        assert_near(raw.grad, arrays["out.grad_q_raw"][step])
        assert_near(cells.grad, arrays["out.grad_q_cells_raw"][step])


def test_cast_batch_code_is_its_authors_code() -> None:
    """Loss, gradients and queue. The authors scale by max + 1e-7 a map that was divided by the
    temperature, which shows at 5e-6."""
    arrays, near = Arrays("cast"), 5e-6
    dim, width = arrays["w.projector.weight"].shape
    params = CastParams(
        backbone="resnet18",
        batch_size=len(arrays["in.view1"]),
        hidden=0,
        dim=dim,
        queue=len(arrays["in.queue"]),
        tau=arrays.number("temperature"),
        shuffle="sync",
        attention="batch_code",
        lambda_image=arrays.number("lambda_image"),
        lambda_attention=arrays.number("lambda_attention"),
    )
    network = CastNetwork(params, LARGE_SET)
    network.momentum = arrays.number("ema")
    backbone = Linear(arrays["w.backbone.weight"])
    network.backbone = backbone
    network.key_backbone = Linear(arrays["w.key_backbone.weight"]).requires_grad_(False)
    for prefix in ("", "key_"):
        module = nn.Linear(width, dim).requires_grad_(not prefix)
        load_weights(module, arrays.below(f"w.{prefix}projector"))
        setattr(network, f"{prefix}projector", module)
    network.queue.keys = arrays["in.queue"]
    network.train()
    first, masks = arrays.leaf("in.view1"), [arrays["in.mask1"], arrays["in.mask2"]]
    parts = network.loss(pair(first, arrays["in.view2"], salient=torch.stack(masks, 1)))
    parts["loss"].backward()
    assert first.grad is not None
    assert backbone.weight.grad is not None
    assert_near(parts["loss"], arrays["out.loss"], near)
    assert_near(parts["image"], arrays["out.loss_image"], near)
    assert_near(parts["attention"], arrays["out.loss_attention"], near)
    assert_near(first.grad, arrays["out.grad_view1"], near)
    assert_near(backbone.weight.grad, arrays["out.grad.backbone.weight"], near)
    assert_gradients_near(network.projector, arrays.below("out.grad.projector"), near)
    assert_near(network.queue.keys, arrays["out.queue"])


def test_cast_attention_of_the_authors_maps() -> None:
    arrays = Arrays("cast")
    loss = attention_loss(
        arrays["out.maps"], arrays["out.slope"], arrays["in.mask1"], "batch_code"
    )
    assert_near(loss, arrays["out.loss_attention"], 1e-7)


def test_simclr_is_openselfsups() -> None:
    """Loss and gradients through head and batch norm; the authors add 1e-10 to lengths."""
    arrays, near = Arrays("simclr"), 1e-8
    hidden, width = arrays["w.projector.0.weight"].shape
    out = len(arrays["w.projector.3.weight"])
    params = SimclrParams(
        backbone="resnet18", hidden=hidden, out=out, temperature=arrays.number("temperature")
    )
    network = SimclrNetwork(params)
    network.backbone, network.projector = Identity(), neck(width, hidden, out)
    load_weights(network.projector, arrays.below("w.projector"))
    first, second = arrays.leaf("in.view1"), arrays.leaf("in.view2")
    loss = network.loss(pair(first, second))["loss"]
    loss.backward()
    assert first.grad is not None
    assert second.grad is not None
    assert_near(loss, arrays["out.loss"], near)
    assert_near(first.grad, arrays["out.grad_view1"], near)
    assert_near(second.grad, arrays["out.grad_view2"], near)
    assert_gradients_near(network.projector, arrays.below("out.grad.projector"), near)


def test_nt_xent_of_simclrs_projections() -> None:
    arrays, near = Arrays("simclr"), 1e-8
    first, second = arrays.leaf("in.z1"), arrays.leaf("in.z2")
    loss = nt_xent(first, second, arrays.number("temperature"))
    loss.backward()
    assert first.grad is not None
    assert second.grad is not None
    assert_near(loss, arrays["out.loss"], near)
    assert_near(first.grad, arrays["out.grad_z1"], near)
    assert_near(second.grad, arrays["out.grad_z2"], near)
