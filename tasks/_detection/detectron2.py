"""detectron2's own networks under our protocols: data, schedule and scoring are those of the other
engine.

The configuration is made from the protocol; only the building blocks are used, no trainer and no
catalog.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import detectron2
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.backbone.resnet import ResNet
from detectron2.structures import Boxes, Instances, Keypoints
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from bench.nn.architectures import architecture
from bench.nn.backbones import read_backbone
from bench.nn.formats import check_fit, from_detectron2
from bench.views.augment import MEAN, STD
from tasks._detection.anchors import RATIOS
from tasks._detection.data import Sample, TestSample
from tasks._detection.detector import Detections
from tasks._detection.masks import mask_targets, to_source
from tasks._detection.protocol import C4Params, DetectionParams, FpnParams, RetinaParams
from tasks._detection.retinanet import OVERLAP, SCORE
from tasks._detection.settings import (
    FpnSettings,
    KeypointSettings,
    MaskSettings,
    RetinaSettings,
    RpnSettings,
)

NAMES = {
    "loss_box_reg": "loss_box",
    "loss_rpn_cls": "loss_objectness",
    "loss_rpn_loc": "loss_rpn_box_reg",
}
LEVELS = ["p2", "p3", "p4", "p5", "p6"]


class Detectron2Backend:
    """detectron2's `GeneralizedRCNN` and `RetinaNet`, batch norm trained in all layers."""

    name = "detectron2"
    version = detectron2.__version__

    def build(
        self, backbone: str, weights: Path, classes: int, p: DetectionParams, keypoints: int = 0
    ) -> tuple[nn.Module, int]:
        model = build_network(backbone, classes, p, keypoints)
        return model, load_body(model, read_backbone(weights), str(weights))

    def body_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        # tensors of a state dict share their memory with the parameters, not their identity
        mine = {t.data_ptr() for t in read_body(model).values() if t.is_floating_point()}
        return [q for q in model.parameters() if q.data_ptr() in mine]

    def losses(
        self, model: nn.Module, samples: list[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        batch = [{"image": s["image"], "instances": make_instances(s, device)} for s in samples]
        # its networks log into a storage; what TorchScript optimises after a few calls is no
        # longer bit-equal
        with EventStorage(), torch.jit.optimized_execution(False):
            losses = model(batch)
        return {NAMES.get(name, name): loss for name, loss in losses.items()}

    @torch.inference_mode()
    def predict(self, model: Any, samples: list[TestSample], device: torch.device) -> Detections:
        batch = [{"image": s["image"]} for s in samples]
        if hasattr(model, "roi_heads"):
            return [_read(i) for i in model.inference(batch, do_postprocess=False)]
        return [_read(out["instances"]) for out in model(batch)]


def build_network(
    backbone: str, classes: int, p: DetectionParams, keypoints: int = 0
) -> nn.Module:
    """The protocol's network with initial weights (the caller has seeded torch)."""
    model = build_model(build_config(backbone, classes, p, keypoints))
    # a plain number there; a buffer is saved and restored with the weights
    if p.detector == "retinanet":
        model.register_buffer("loss_normalizer", torch.tensor(100.0))
        return model  # type: ignore[no-any-return]
    heads = model.roi_heads
    if p.detector == "c4":
        heads.res5 = _build_res5(read_depth(backbone))
        return model  # type: ignore[no-any-return]
    assert isinstance(p, FpnParams)
    for name in ("box_pooler", "mask_pooler", "keypoint_pooler"):
        if hasattr(heads, name):
            getattr(heads, name).canonical_box_size = p.canonical
    return model  # type: ignore[no-any-return]


def read_depth(backbone: str) -> int:
    """The depth of a ResNet from its name."""
    return int(architecture(backbone).base.removeprefix("resnet"))


def _build_res5(depth: int) -> nn.Sequential:
    """The last stage, which is bottlenecks there for every depth, and the one more batch norm of
    MoCo's."""
    more = {} if depth < 50 else {"stride_in_1x1": False}
    blocks = ResNet.make_default_stages(depth, norm="BN", **more)[3]
    stage = nn.Sequential(*blocks)
    stage.add_module("norm", nn.BatchNorm2d(blocks[-1].out_channels))
    return stage


def build_config(backbone: str, classes: int, p: DetectionParams, keypoints: int = 0) -> CfgNode:
    """detectron2's configuration that says what the protocol says."""
    depth = read_depth(backbone)
    settings: dict[str, Any] = {
        "INPUT.FORMAT": "RGB",
        "MODEL.DEVICE": "cpu",  # the caller moves it
        "MODEL.PIXEL_MEAN": [255 * v for v in MEAN],
        "MODEL.PIXEL_STD": [255 * v for v in STD],
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.DEPTH": depth,
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64 if depth < 50 else 256,
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(RATIOS)],
        "TEST.DETECTIONS_PER_IMAGE": p.detections,
    }
    settings |= _describe_network(p, classes)
    if "segm" in p.kinds:
        assert isinstance(p, MaskSettings)
        settings |= {
            "MODEL.MASK_ON": True,
            "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
            "MODEL.ROI_MASK_HEAD.NUM_CONV": p.mask_convs,
            "MODEL.ROI_MASK_HEAD.CONV_DIM": p.mask_width,
            "MODEL.ROI_MASK_HEAD.NORM": "BN",
        }
    if "keypoints" in p.kinds:
        assert isinstance(p, KeypointSettings)
        settings |= {
            "MODEL.KEYPOINT_ON": True,
            "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": keypoints,
            "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [p.keypoint_width] * p.keypoint_convs,
        }
    cfg = get_cfg()
    cfg.merge_from_list([part for pair in settings.items() for part in pair])
    return cfg


def _describe_network(p: DetectionParams, classes: int) -> dict[str, Any]:
    if p.detector == "fpn":
        assert isinstance(p, FpnParams)
        return _describe_fpn(p, classes)
    if p.detector == "c4":
        assert isinstance(p, C4Params)
        return _describe_c4(p, classes)
    assert isinstance(p, RetinaParams), p.detector
    return _describe_retinanet(p, classes)


def _describe_rcnn(p: RpnSettings, classes: int) -> dict[str, Any]:
    return {
        "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": p.rpn_train,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": p.rpn_test,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": p.proposals_train or p.proposals,
        "MODEL.RPN.POST_NMS_TOPK_TEST": p.proposals,
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE": p.rpn_batch,
        "MODEL.ROI_HEADS.NUM_CLASSES": classes,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": p.rois,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
        "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": float(p.smooth_l1_beta),
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": p.box_shared,
    }


def _describe_fpn(p: FpnSettings, classes: int) -> dict[str, Any]:
    return _describe_rcnn(p, classes) | {
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.OUT_CHANNELS": p.fpn,
        "MODEL.FPN.NORM": "BN",
        "MODEL.ANCHOR_GENERATOR.SIZES": [[float(size)] for size in p.anchors],
        "MODEL.RPN.IN_FEATURES": LEVELS,
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": LEVELS[:4],
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
        "MODEL.ROI_BOX_HEAD.NUM_CONV": p.box_convs,
        "MODEL.ROI_BOX_HEAD.CONV_DIM": p.box_width,
        "MODEL.ROI_BOX_HEAD.NUM_FC": p.box_fcs,
        "MODEL.ROI_BOX_HEAD.FC_DIM": p.box_fc,
        "MODEL.ROI_BOX_HEAD.NORM": "BN",
    }


def _describe_c4(p: RpnSettings, classes: int) -> dict[str, Any]:
    return _describe_rcnn(p, classes) | {
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res4"],
        "MODEL.ANCHOR_GENERATOR.SIZES": [[float(size) for size in p.anchors]],
        "MODEL.RPN.IN_FEATURES": ["res4"],
        "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    }


def _describe_retinanet(p: RetinaSettings, classes: int) -> dict[str, Any]:
    steps = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    return {
        "MODEL.META_ARCHITECTURE": "RetinaNet",
        "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
        "MODEL.FPN.OUT_CHANNELS": p.fpn,
        "MODEL.FPN.NORM": "BN",
        "MODEL.ANCHOR_GENERATOR.SIZES": [[size * step for step in steps] for size in p.anchors],
        "MODEL.RETINANET.NUM_CLASSES": classes,
        "MODEL.RETINANET.NUM_CONVS": p.head_convs,
        "MODEL.RETINANET.NORM": "GN" if p.head_norm == "gn" else "",
        "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": 0.0,
        "MODEL.RETINANET.SCORE_THRESH_TEST": SCORE,
        "MODEL.RETINANET.NMS_THRESH_TEST": OVERLAP,
        "MODEL.RETINANET.TOPK_CANDIDATES_TEST": p.candidates,
    }


def read_body(model: Any) -> dict[str, Tensor]:
    """The tensors of the backbone under torchvision's names; of a C4 network its last stage is the
    head."""
    bottom = model.backbone.bottom_up if hasattr(model.backbone, "bottom_up") else model.backbone
    state = bottom.state_dict()
    if hasattr(model, "roi_heads") and hasattr(model.roi_heads, "res5"):
        last = model.roi_heads.res5.state_dict()
        state |= {f"res5.{k}": v for k, v in last.items() if not k.startswith("norm.")}
    return from_detectron2(state)


def load_body(model: nn.Module, state: dict[str, Tensor], source: str) -> int:
    """Copy `state` (torchvision's names) into the network's backbone; how many tensors matched.
    BadInput names the first that is missing, unexpected or of another shape."""
    own = read_body(model)
    check_fit(own, state, source)
    with torch.no_grad():
        for key, value in state.items():
            own[key].copy_(value)
    return len(state)


class SourceMasks:
    """The masks of an image's objects in its original frame, one row per proposal; stands where
    detectron2 has `BitMasks`, which would be resized, and copied for every proposal."""

    def __init__(self, target: dict[str, Tensor], rows: Tensor) -> None:
        self.target, self.rows = target, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> SourceMasks:
        return SourceMasks(self.target, self.rows[at])

    def to(self, *_: Any, **__: Any) -> SourceMasks:
        return self  # made on the device

    def crop_and_resize(self, boxes: Tensor, side: int) -> Tensor:
        """The binary targets of the other engine: (n, side, side)."""
        return mask_targets(self.target["masks"], to_source(boxes, self.target), self.rows, side)


def make_instances(sample: Sample, device: torch.device) -> Instances:
    """A sample's targets as detectron2 takes them; labels from 0."""
    objects = Instances(tuple(sample["image"].shape[-2:]))
    objects.gt_boxes = Boxes(sample["boxes"].to(device))
    objects.gt_classes = sample["labels"].to(device) - 1
    if "masks" in sample:
        names: tuple[str, ...] = ("masks", "scale", "origin")
        target = {k: sample[k].to(device) for k in names if k in sample}
        objects.gt_masks = SourceMasks(target, torch.arange(len(sample["boxes"]), device=device))
    if "keypoints" in sample:
        objects.gt_keypoints = Keypoints(sample["keypoints"].to(device))
    return objects


def _read(predicted: Instances) -> dict[str, Tensor]:
    detections = {
        "boxes": predicted.pred_boxes.tensor,
        "scores": predicted.scores,
        "labels": predicted.pred_classes + 1,
    }
    if predicted.has("pred_masks"):
        detections["masks"] = predicted.pred_masks[:, 0]
    if predicted.has("pred_keypoints"):
        detections["keypoints"] = predicted.pred_keypoints
    return detections
