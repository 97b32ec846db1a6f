"""The weights of our detectors under detectron2's names, for tests that compare the two."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from tasks._detection.detectron2 import load_body

RULES = [  # ours -> detectron2's, numbers counted from `first` (of pyramid levels) or 1
    (r"fpn\.(inner|layer)_blocks\.(\d+)\.([01])", "pyramid"),
    (r"fpn\.extra_blocks", "backbone.top_block"),
    (r"rpn\.head\.conv\.0\.0", "proposal_generator.rpn_head.conv"),
    (r"rpn\.head\.cls_logits", "proposal_generator.rpn_head.objectness_logits"),
    (r"rpn\.head\.bbox_pred", "proposal_generator.rpn_head.anchor_deltas"),
    (r"roi\.box_predictor", "roi_heads.box_predictor"),
    (r"mask\.up", "roi_heads.mask_head.deconv"),
    (r"mask\.predict", "roi_heads.mask_head.predictor"),
    (r"keypoints\.predict\.kps_score_lowres", "roi_heads.keypoint_head.score_lowres"),
    (r"head\.classification_head\.cls_logits", "head.cls_score"),
    (r"head\.regression_head\.bbox_reg", "head.bbox_pred"),
    (r"norm(?=\.)", "roi_heads.res5.norm"),
    (r"normaliser", "loss_normalizer"),
]


def copy_weights(ours: nn.Module, theirs: nn.Module) -> int:
    """Every tensor of `ours` into `theirs`; how many. Fails on a tensor that either side lacks."""
    state = ours.state_dict()
    count = load_body(
        theirs, {k[5:]: v for k, v in state.items() if k.startswith("body.")}, "body"
    )
    rest = {k: v for k, v in state.items() if not k.startswith("body.")}
    own = theirs.state_dict()
    renamed = {_name(k, rest): _rows(k, v) for k, v in rest.items()}
    left = {
        k for k in own if not re.match(r"(backbone\.(bottom_up|stem|res)|roi_heads\.res5\.\d)", k)
    }
    assert set(renamed) == left, set(renamed) ^ left
    with torch.no_grad():
        for key, value in renamed.items():
            own[key].copy_(value)
    return count + len(rest)


def _name(key: str, state: dict[str, Tensor]) -> str:
    for pattern, name in RULES:
        match = re.match(pattern, key)
        if match is None:
            continue
        tail = key[match.end() :]
        if name != "pyramid":
            return name + tail
        kind = {"inner": "lateral", "layer": "output"}[match[1]]
        first = 3 if any(k.startswith("fpn.extra_blocks") for k in state) else 2
        return f"backbone.fpn_{kind}{int(match[2]) + first}{'.norm' * int(match[3])}{tail}"
    return _head_name(key, state)


def _head_name(key: str, state: dict[str, Tensor]) -> str:
    """Convolutions with norm, fully connected layers."""
    match = re.match(
        r"(roi\.box_head|mask\.convs|head\.\w+_head\.conv|keypoints\.convs)\.(\d+)(\.[01])?", key
    )
    assert match, key
    part, at, inner, tail = match[1], int(match[2]), match[3], key[match.end() :]
    if part == "keypoints.convs":
        return f"roi_heads.keypoint_head.conv_fcn{at // 2 + 1}{tail}"
    if part.startswith("head."):
        kind = "cls_subnet" if "class" in part else "bbox_subnet"
        width = 3 if any(".conv.0.1." in k for k in state) else 2
        return f"head.{kind}.{width * at + int(inner[1:])}{tail}"
    norm = ".norm" if inner == ".1" else ""
    if part == "mask.convs":
        return f"roi_heads.mask_head.mask_fcn{at + 1}{norm}{tail}"
    if inner:
        return f"roi_heads.box_head.conv{at + 1}{norm}{tail}"
    layers = sorted(
        {int(k.split(".")[2]) for k in state if re.match(r"roi\.box_head\.\d+\.weight", k)}
    )
    return f"roi_heads.box_head.fc{layers.index(at) + 1}{tail}"


def _rows(key: str, value: Tensor) -> Tensor:
    """detectron2's background is the last class, without a box."""
    if key.startswith("roi.box_predictor.cls_score"):
        return torch.cat([value[1:], value[:1]])
    return value[4:] if key.startswith("roi.box_predictor.bbox_pred") else value
