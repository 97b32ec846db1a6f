"""RetinaNet: matching, losses, detections, parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet

from bench.contracts.registry import load
from tasks._detection.retinanet import Retina, match
from tests.tasks.detectors import detector, params, sample_targets


def test_retina_matching_by_hand() -> None:
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    anchors = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],  # IoU 1 with the first
            [0.0, 0.0, 10.0, 4.5],  # .45: not used
            [0.0, 0.0, 10.0, 3.9],  # .39: background
            [50.0, 50.0, 60.0, 52.0],  # .2, but the best of the second
        ]
    )
    label, matched = match(anchors, box, torch.tensor([3, 7]))
    assert label.tolist() == [3, -1, 0, 7]
    assert matched[0].tolist() == box[0].tolist()
    assert matched[3].tolist() == box[1].tolist()
    assert match(anchors, box[:0], torch.zeros(0, dtype=torch.long))[0].tolist() == [0] * 4


def test_retina_losses_are_the_papers_formula(tmp_path: Path) -> None:
    """Focal loss in float64, term by term, over the moving mean of positives."""
    p = params("coco_retinanet")
    model = detector(p)
    images, targets = sample_targets("coco_retinanet", tmp_path, p)
    model.train()
    losses = model.losses(images, targets)
    logits, deltas, levels = model._run_head(images)
    anchors, cls, box, positives = torch.cat(levels).double(), 0.0, 0.0, 0
    for b, target in enumerate(targets):
        label, matched = match(anchors.float(), target["boxes"], target["labels"])
        prob = logits[b].double().sigmoid()
        hot = torch.zeros_like(prob)
        at = (label > 0).nonzero().flatten()
        hot[at, label[at] - 1] = 1
        focal = torch.where(
            hot == 1, -0.25 * (1 - prob) ** 2 * prob.log(), -0.75 * prob**2 * (1 - prob).log()
        )
        cls += float(focal[label >= 0].sum())
        positives += len(at)
        a, m = anchors[at], matched[at].double()
        size, other = a[:, 2:] - a[:, :2], m[:, 2:] - m[:, :2]
        move = ((m[:, :2] + m[:, 2:]) - (a[:, :2] + a[:, 2:])) / 2 / size
        aim = torch.cat([move, (other / size).log()], 1)
        box += float((deltas[b][at].double() - aim).abs().sum())
    mean = 0.9 * 100 + 0.1 * positives
    assert float(model.normaliser) == pytest.approx(mean)
    assert float(losses["loss_cls"]) == pytest.approx(cls / mean, rel=1e-4)
    assert float(losses["loss_box"]) == pytest.approx(box / mean, rel=1e-4)
    assert "normaliser" in model.state_dict()
    first = model.head.classification_head.cls_logits.bias.sigmoid()
    assert first.tolist() == pytest.approx([0.01] * len(first), rel=1e-4)


def test_retina_detections_equal_torchvisions() -> None:
    """torchvision's own post-processing of the same outputs."""
    p = params("coco_retinanet", candidates=40)
    model = detector(p, classes=5).eval()
    images = ImageList(torch.randn(2, 3, 64, 96), [(64, 90), (60, 96)])
    torch.nn.init.normal_(model.head.classification_head.cls_logits.weight, std=0.2)
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, -3)
    with torch.no_grad():
        logits, deltas, levels = model._run_head(images)
    counts = [len(a) for a in levels]
    other = RetinaNet.__new__(RetinaNet)
    torch.nn.Module.__init__(other)
    other.score_thresh, other.nms_thresh, other.detections_per_img = 0.05, 0.5, p.detections
    other.topk_candidates, other.box_coder = 40, model.coder
    outputs = {
        "cls_logits": list(logits.split(counts, 1)),
        "bbox_regression": list(deltas.split(counts, 1)),
    }
    expected = other.postprocess_detections(outputs, [levels] * 2, images.image_sizes)
    for mine, theirs in zip(model.detect(images), expected, strict=True):
        assert len(mine["boxes"]) == len(theirs["boxes"]) > 5
        assert torch.allclose(mine["boxes"], theirs["boxes"])
        assert torch.allclose(mine["scores"], theirs["scores"])
        assert torch.equal(mine["labels"], theirs["labels"] + 1)


def test_retina_has_detectron2s_parameters() -> None:
    """36,372,863 for 3 classes with heads without norm, counted there; P6 comes from C5 (2,048
    channels)."""
    paper = load("task", "coco_retinanet").resolve("paper")
    model = Retina("resnet50", 3, type(paper).Params(head_norm="none"))
    assert sum(q.numel() for q in model.parameters()) == 36_372_863
    assert model.fpn.extra_blocks.p6.weight.shape[1] == 2048
    normed = Retina("resnet50", 3, paper.params)
    norms = [m for m in normed.head.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [(m.num_groups, m.num_channels) for m in norms] == [(32, 256)] * 8
