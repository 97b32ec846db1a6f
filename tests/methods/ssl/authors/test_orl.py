"""ORL: its loss, its choice of boxes, its pairs and its jitter, as the authors' code has them."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor
from torch.nn import functional as F

from bench.contracts.network import Batch
from bench.data.boxes import filter_boxes
from bench.nn.heads import mlp
from methods.ssl.orl.boxes import jitter_box, top_pairs
from methods.ssl.orl.network import OrlNetwork
from methods.ssl.orl.params import OrlParams
from tests.methods.ssl.authors.arrays import (
    Arrays,
    assert_gradients_near,
    assert_near,
    load_weights,
)
from tests.methods.ssl.authors.stand_ins import Identity, views

ROLES = ("view1", "view2", "ipatch1", "ipatch2", "kpatch1", "kpatch2")
PREDICTORS = ("predictor_global", "predictor_intra", "predictor_inter")


def test_orl_is_its_authors_code() -> None:
    """Three losses and gradients of the six inputs, the projector and three predictors."""
    arrays = Arrays("orl")
    hidden, width = arrays["w.projector.0.weight"].shape
    out = len(arrays["w.projector.3.weight"])
    network = OrlNetwork(OrlParams(backbone="resnet18", hidden=hidden, out=out))
    network.backbone, network.target_backbone = Identity(), Identity()
    network.projector = mlp(width, hidden, out)
    network.target_projector = mlp(width, hidden, out).requires_grad_(False)
    for name in ("projector", "target_projector", *PREDICTORS):
        load_weights(getattr(network, name), arrays.below(f"w.{name}"))
    network.train()
    inputs = {role: arrays.leaf(f"in.{role}") for role in ROLES}
    parts = network.loss(Batch({role: views(x) for role, x in inputs.items()}))
    parts["loss"].backward()
    assert_near(parts["loss"], arrays["out.loss"])
    for name in ("global", "intra", "inter"):
        assert_near(parts[name], arrays[f"out.loss_{name}"], what=name)
    for role, x in inputs.items():
        assert x.grad is not None
        assert_near(x.grad, arrays[f"out.grad_{role}"], what=role)
    for name in ("projector", *PREDICTORS):
        answers = arrays.below(f"out.grad.{name}")
        assert_gradients_near(getattr(network, name), answers, 1e-9, name)


def corners(xywh: Tensor) -> np.ndarray:
    boxes = xywh.numpy().astype(float)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


@pytest.mark.parametrize("picture", range(7))
def test_orl_keeps_the_boxes_that_its_authors_keep(picture: int) -> None:
    """Selective search of six COCO pictures, and a list in which nothing is large enough."""
    arrays = Arrays("orl")
    first, kept = arrays["in.filter.first"], arrays["out.filter.first"]
    raw = corners(arrays["in.filter.boxes_xywh"][first[picture] : first[picture + 1]])
    answers = corners(arrays["out.filter.boxes_xywh"][kept[picture] : kept[picture + 1]])
    ours = keep(arrays, picture, raw, arrays.count("filter.top"))
    np.testing.assert_array_equal(ours, answers)


def test_orl_keeps_the_first_boxes() -> None:
    arrays = Arrays("orl")
    raw = corners(arrays["in.filter.boxes_xywh"][: arrays["in.filter.first"][1]])
    answers = corners(arrays["out.filter.top3_of_list0_xywh"])
    np.testing.assert_array_equal(keep(arrays, 0, raw, 3), answers)


def keep(arrays: Arrays, picture: int, boxes: np.ndarray, top: int) -> np.ndarray:
    width, height = arrays["in.filter.sizes"][picture].tolist()
    least, ratio, iou = (
        arrays.number(f"filter.{key}") for key in ("least", "max_ratio", "max_iou")
    )
    return filter_boxes(boxes, least, ratio, iou, top, (width, height))


@pytest.mark.parametrize("name", ["a", "b"])
def test_orl_pairs_rois_as_its_authors_code(name: str) -> None:
    """A tenth of 57 RoIs; and of 7, which is one."""
    arrays = Arrays("orl")
    query, other = (
        F.normalize(arrays[f"in.pairs.{name}.{key}"], dim=1).numpy() for key in ("query", "other")
    )
    ours = top_pairs(query, other, arrays.number("pairs.share"), "rows10pct")
    np.testing.assert_array_equal(ours, arrays[f"out.pairs.{name}"].numpy())


@pytest.mark.parametrize("box", range(4))
def test_orl_jitters_boxes_as_its_authors_code(box: int) -> None:
    """4,000 draws against the statistics of the authors' 20,000. Theirs are rounded to whole
    pixels, so that near a border a few more fit: the share left alone is about .01 smaller."""
    arrays, draws, rng = Arrays("orl"), 4000, np.random.default_rng(0)
    width, height = arrays["in.jitter.image_size"].tolist()
    x, y, w, h = arrays["in.jitter.boxes_xywh"][box].tolist()
    iou_min = arrays.number("jitter.iou_min")
    jittered = np.array(
        [jitter_box((x, y, x + w, y + h), (width, height), rng, iou_min) for _ in range(draws)]
    )
    jittered[:, 2:] -= jittered[:, :2]
    mean, spread = (arrays[f"out.jitter.{key}"][box].numpy() for key in ("mean", "std"))
    error = spread * np.sqrt(1 / draws + 1 / arrays.count("jitter.draws"))
    assert np.abs((jittered.mean(0) - mean) / error).max() < 4.5
    assert np.abs(jittered.std(0) / spread - 1).max() < 0.06
    alone = (jittered == np.array([x, y, w, h])).all(1).mean()
    assert abs(alone - float(arrays["out.jitter.identity"][box])) < 0.02
    quantiles = np.quantile(jittered, arrays["hp.jitter.quantiles"].numpy(), 0)
    answers = arrays["out.jitter.corner_quantiles"][box].numpy()
    assert np.abs((quantiles - answers) / spread).max() < 0.2
