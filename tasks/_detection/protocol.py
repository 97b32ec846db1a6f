"""The settings of detection protocols; a task takes one of these classes with its own defaults and
scales."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, create_model

from bench.contracts.task import TaskParams
from bench.core.params import Params, param

P = TypeVar("P", bound=Params)


def change_defaults(base: type[P], **defaults: Any) -> type[P]:
    """A Params class like `base` with other defaults; help and rules of the fields stay."""
    fields: dict[str, Any] = {}
    for name, value in defaults.items():
        info = base.model_fields[name]
        extra = {**dict(info.json_schema_extra or {}), "later": False}  # type: ignore[arg-type]
        kept = Field(value, description=info.description, json_schema_extra=extra)
        kind = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        fields[name] = (kind, kept)
    return create_model(base.__name__, __base__=base, __module__=base.__module__, **fields)


class DetectionParams(TaskParams):
    """What every detector has: data, schedule, optimiser."""

    detector: ClassVar[str]  # which network of `backend.DETECTORS`
    kinds: ClassVar[tuple[str, ...]] = (
        "bbox",
    )  # what is predicted and scored: bbox, segm, keypoints

    engine: Literal["torchvision", "detectron2"] = param(
        "torchvision", help="detector library; part of the key"
    )
    iterations: int = param(90_000, ge=1, help="optimiser steps")
    steps: tuple[int, ...] = param(
        (60_000, 80_000), help="iterations after which the rate falls by 10"
    )
    warmup: int = param(1000, ge=0, help="iterations of linear warm-up, from 1/1000 of the rate")
    batch_size: int = param(16, ge=1, help="images per step")
    lr: float = param(0.02, gt=0, help="learning rate", search=["log", 1e-3, 0.1])
    momentum: float = param(0.9, ge=0, lt=1, help="of SGD")
    weight_decay: float = param(1e-4, ge=0, help="not on normalisation layers")
    precise_bn: int = param(
        200, ge=0, help="batches over which batch-norm statistics are taken afterwards"
    )
    sizes: tuple[int, ...] = param(
        (640, 672, 704, 736, 768, 800), help="training short sides, one at random"
    )
    test_size: int = param(800, ge=32, help="short side at test")
    max_size: int = param(1333, ge=32, help="longest side")
    detections: int = param(100, ge=1, help="most detections of an image")
    fraction: float = param(
        1.0, gt=0, le=1, later=True, help="share of the training images that is used"
    )
    subset_seed: int = param(0, ge=0, later=True, help="which images these are")


class CocoParams(DetectionParams):
    """Scored as COCO does."""

    evaluator: Literal["hotcoco", "pycocotools"] = param(
        "hotcoco",
        later=True,
        help="library that computes AP; equal numbers, pycocotools is the reference",
    )


class VocParams(DetectionParams):
    """Scored as PASCAL VOC does."""

    ap_rule: Literal["11_points", "area"] = param(
        "11_points", help="how a curve becomes AP: VOC2007, or VOC2010"
    )


class RpnParams(DetectionParams):
    """Two stages: proposals of a network, then a head per proposal."""

    anchors: tuple[float, ...] = param(
        (32, 64, 128, 256, 512), help="anchor side per pyramid level, pixels"
    )
    rpn_train: int = param(
        2000, ge=8, help="proposals kept per level before suppression, training"
    )
    rpn_test: int = param(1000, ge=8, help="the same at test")
    proposals: int = param(1000, ge=8, help="proposals kept per image after suppression")
    proposals_train: int | None = param(
        None, ge=8, later=True, help="the same in training, if another number"
    )
    rpn_batch: int = param(256, ge=2, help="anchors sampled per image")
    rois: int = param(512, ge=2, help="proposals sampled per image, a quarter positive")

    @property
    def rpn_depth(self) -> int:
        """3x3 convolutions of the proposal network."""
        return 1

    @property
    def smooth_l1_beta(self) -> float:
        """Where the box head's smooth L1 turns linear; 0 is L1."""
        return 0.0


class FpnParams(RpnParams):
    """A feature pyramid; the box head of the InfoMin setup, batch norm in all of it."""

    detector: ClassVar[str] = "fpn"
    fpn: int = param(256, ge=8, help="channels of the feature pyramid")
    box_convs: int = param(4, ge=0, help="3x3 convolutions of the box head")
    box_width: int = param(256, ge=8, help="their channels")
    box_fc: int = param(1024, ge=8, help="width of the box head's fully connected layer")
    box_fcs: int = param(1, ge=1, later=True, help="fully connected layers of the box head")
    canonical: float = param(
        224, gt=0, help="box side that is pooled from the third of the four levels"
    )


class MaskFpnParams(FpnParams, CocoParams):
    """Mask R-CNN R50-FPN 1x in the InfoMin setup (papers 002 and 003): every number of the
    protocol."""

    kinds: ClassVar[tuple[str, ...]] = ("bbox", "segm")
    mask_convs: int = param(4, ge=1, help="3x3 convolutions of the mask head")
    mask_width: int = param(256, ge=8, help="their channels")


class VocFpnParams(FpnParams, VocParams):
    """Faster R-CNN with a feature pyramid, on VOC."""


class C4Params(RpnParams):
    """The proposals' features come from C4; the last stage of the backbone is the head."""

    detector: ClassVar[str] = "c4"
    anchors: tuple[float, ...] = param(
        (32, 64, 128, 256, 512), help="anchor sides of every place, pixels"
    )
    rpn_train: int = param(12_000, ge=8, help="proposals kept before suppression, training")
    rpn_test: int = param(6000, ge=8, help="the same at test")
    proposals_train: int | None = param(2000, ge=8, help="proposals kept per image in training")


class KeypointParams(FpnParams, CocoParams):
    """Keypoint R-CNN with a feature pyramid."""

    kinds: ClassVar[tuple[str, ...]] = ("bbox", "keypoints")
    keypoint_convs: int = param(8, ge=1, help="3x3 convolutions of the keypoint head")
    keypoint_width: int = param(512, ge=8, help="their channels")
    box_beta: float = param(0.5, ge=0, help="where the box head's smooth L1 turns linear")

    @property
    def smooth_l1_beta(self) -> float:
        return self.box_beta


class RetinaParams(CocoParams):
    """RetinaNet: one stage, on levels of strides 8 to 128."""

    detector: ClassVar[str] = "retinanet"
    fpn: int = param(256, ge=8, help="channels of the feature pyramid and of the heads")
    head_convs: int = param(4, ge=1, le=4, help="3x3 convolutions of each head")
    head_norm: Literal["gn", "none"] = param("gn", help="group norm in the heads, or none")
    anchors: tuple[float, ...] = param(
        (32, 64, 128, 256, 512), help="smallest anchor side per level; x 2^(1/3) and x 2^(2/3) too"
    )
    candidates: int = param(1000, ge=8, help="detections kept per level before suppression")


class VitDetParams(MaskFpnParams):
    """Mask R-CNN with a simple feature pyramid on a vision transformer (Li et al. 2022): AdamW,
    large scale jitter. `momentum` is AdamW's first beta; `sizes` is the side of the square crops.
    """

    detector: ClassVar[str] = "vitdet"
    window: int = param(14, ge=1, help="tokens of a side of the attention windows")
    global_blocks: int = param(
        4, ge=1, help="blocks, evenly spaced, that attend to the whole image"
    )
    drop_path: float = param(0.1, ge=0, lt=1, help="largest rate of stochastic depth")
    layer_decay: float = param(
        0.7, gt=0, le=1, help="factor of the rate from one block to the one before"
    )
    jitter: tuple[float, float] = param(
        (0.1, 2.0), help="range of the scale, relative to the crop's side"
    )
    rpn_convs: int = param(2, ge=1, help="3x3 convolutions of the proposal network")

    @property
    def rpn_depth(self) -> int:
        return self.rpn_convs


class CascadeVitDetParams(VitDetParams):
    """The same with three box heads, each fed by the last, trained at IoU .5, .6 and .7."""

    detector: ClassVar[str] = "vitdet_cascade"


class MaskC4Params(C4Params, CocoParams):
    """Mask R-CNN C4."""

    kinds: ClassVar[tuple[str, ...]] = ("bbox", "segm")
    mask_width: int = param(256, ge=8, help="channels of the mask head's one deconvolution")

    @property
    def mask_convs(self) -> int:
        """3x3 convolutions of the mask head: it has none."""
        return 0


class VocC4Params(C4Params, VocParams):
    """Faster R-CNN C4 on VOC."""
