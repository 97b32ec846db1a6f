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
        "torchvision", help="Detector library; results of different libraries are never mixed"
    )
    iterations: int = param(90_000, ge=1, help="Steps of the optimiser")
    steps: tuple[int, ...] = param(
        (60_000, 80_000),
        help="Iterations after which the learning rate is divided by 10, for example 60000,80000",
    )
    warmup: int = param(
        1000,
        ge=0,
        help="Iterations over which the learning rate grows linearly from a thousandth of it",
    )
    batch_size: int = param(16, ge=1, help="Images of a step")
    lr: float = param(0.02, gt=0, help="Learning rate", search=["log", 1e-3, 0.1])
    momentum: float = param(0.9, ge=0, lt=1, help="Momentum of SGD")
    weight_decay: float = param(1e-4, ge=0, help="Weight decay; normalisation layers have none")
    precise_bn: int = param(
        200,
        ge=0,
        help="Batches that batch-norm statistics are taken over after training; 0 takes none",
    )
    sizes: tuple[int, ...] = param(
        (640, 672, 704, 736, 768, 800),
        help="Short sides of training images, of which each draws one, pixels",
    )
    test_size: int = param(800, ge=32, help="Short side of test images, pixels")
    max_size: int = param(1333, ge=32, help="Longest side that an image may have, pixels")
    detections: int = param(100, ge=1, help="Detections that are kept of an image, at most")
    fraction: float = param(
        1.0,
        gt=0,
        le=1,
        later=True,
        help="Share of the training images that are used, for example 0.1",
    )
    subset_seed: int = param(0, ge=0, later=True, help="Seed that decides which images these are")
    body_lr: float = param(
        1.0,
        ge=0,
        later=True,
        help="Learning rate of the backbone as a multiple of that of all other layers; 0 leaves "
        "its weights as they are",
    )
    optimizer: Literal["sgd", "adamw"] = param(
        "sgd", later=True, help="Optimiser; the first beta of AdamW is `momentum`, the second .999"
    )


class CocoParams(DetectionParams):
    """Scored as COCO does."""

    evaluator: Literal["hotcoco", "pycocotools"] = param(
        "hotcoco",
        later=True,
        help="Library that computes AP; the numbers are equal, and pycocotools is the reference",
    )


class VocParams(DetectionParams):
    """Scored as PASCAL VOC does."""

    ap_rule: Literal["11_points", "area"] = param(
        "11_points",
        help="How a curve becomes AP: the 11 points of VOC2007, or the area of VOC2010",
    )


class RpnParams(DetectionParams):
    """Two stages: proposals of a network, then a head per proposal."""

    anchors: tuple[float, ...] = param(
        (32, 64, 128, 256, 512), help="Anchor side of each pyramid level, pixels"
    )
    rpn_train: int = param(
        2000, ge=8, help="Proposals kept per level before suppression in training"
    )
    rpn_test: int = param(1000, ge=8, help="Proposals kept per level before suppression at test")
    proposals: int = param(1000, ge=8, help="Proposals kept per image after suppression")
    proposals_train: int | None = param(
        None,
        ge=8,
        later=True,
        help="Proposals kept per image in training, if not as many as at test",
    )
    rpn_batch: int = param(
        256, ge=2, help="Anchors sampled per image for the losses of the proposal network"
    )
    rois: int = param(
        512, ge=2, help="Proposals sampled per image for the box head, a quarter of them positive"
    )
    box_shared: bool = param(
        False,
        later=True,
        help="One set of box deltas for all classes, instead of one for each class",
    )

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
    fpn: int = param(256, ge=8, help="Channels of the feature pyramid")
    box_convs: int = param(4, ge=0, help="Number of 3x3 convolutions of the box head")
    box_width: int = param(256, ge=8, help="Channels of the convolutions of the box head")
    box_fc: int = param(1024, ge=8, help="Width of the fully connected layers of the box head")
    box_fcs: int = param(
        1, ge=1, later=True, help="Number of fully connected layers of the box head"
    )
    canonical: float = param(
        224,
        gt=0,
        help="Side of the boxes that are pooled from the third of the four levels, pixels",
    )


class MaskFpnParams(FpnParams, CocoParams):
    """Mask R-CNN R50-FPN 1x in the InfoMin setup (papers 002 and 003): every number of the
    protocol."""

    kinds: ClassVar[tuple[str, ...]] = ("bbox", "segm")
    mask_convs: int = param(4, ge=1, help="Number of 3x3 convolutions of the mask head")
    mask_width: int = param(256, ge=8, help="Channels of the convolutions of the mask head")


class VocFpnParams(FpnParams, VocParams):
    """Faster R-CNN with a feature pyramid, on VOC."""


class C4Params(RpnParams):
    """The proposals' features come from C4; the last stage of the backbone is the head."""

    detector: ClassVar[str] = "c4"
    anchors: tuple[float, ...] = param(
        (32, 64, 128, 256, 512), help="Anchor sides at every place, pixels"
    )
    rpn_train: int = param(12_000, ge=8, help="Proposals kept before suppression in training")
    rpn_test: int = param(6000, ge=8, help="Proposals kept before suppression at test")
    proposals_train: int | None = param(2000, ge=8, help="Proposals kept per image in training")


class KeypointParams(FpnParams, CocoParams):
    """Keypoint R-CNN with a feature pyramid."""

    kinds: ClassVar[tuple[str, ...]] = ("bbox", "keypoints")
    keypoint_convs: int = param(8, ge=1, help="Number of 3x3 convolutions of the keypoint head")
    keypoint_width: int = param(
        512, ge=8, help="Channels of the convolutions of the keypoint head"
    )
    box_beta: float = param(
        0.5, ge=0, help="Difference from which the box head's smooth L1 is linear"
    )

    @property
    def smooth_l1_beta(self) -> float:
        return self.box_beta


class RetinaParams(CocoParams):
    """RetinaNet: one stage, on levels of strides 8 to 128."""

    detector: ClassVar[str] = "retinanet"
    fpn: int = param(256, ge=8, help="Channels of the feature pyramid and of the heads")
    head_convs: int = param(4, ge=1, le=4, help="Number of 3x3 convolutions of each head")
    head_norm: Literal["gn", "none"] = param(
        "gn", help="Normalisation in the heads: group norm, or none"
    )
    anchors: tuple[float, ...] = param(
        (32, 64, 128, 256, 512),
        help="Smallest anchor side of each level, pixels; two more are 2^(1/3) and 2^(2/3) x it",
    )
    candidates: int = param(1000, ge=8, help="Detections kept per level before suppression")


class VitDetParams(MaskFpnParams):
    """Mask R-CNN with a simple feature pyramid on a vision transformer (Li et al. 2022): AdamW,
    large scale jitter. `momentum` is AdamW's first beta; `sizes` is the side of the square crops.
    """

    detector: ClassVar[str] = "vitdet"
    optimizer: Literal["sgd", "adamw"] = param(
        "adamw",
        later=True,
        help="Optimiser; the first beta of AdamW is `momentum`, the second .999",
    )
    window: int = param(14, ge=1, help="Side of the attention windows, tokens")
    global_blocks: int = param(
        4, ge=1, help="Number of blocks, evenly spaced, that attend to the whole image"
    )
    drop_path: float = param(
        0.1,
        ge=0,
        lt=1,
        help="Rate of stochastic depth in the last block; it grows linearly from 0",
    )
    layer_decay: float = param(
        0.7,
        gt=0,
        le=1,
        help="Factor between the learning rates of a block and of the one before it",
    )
    jitter: tuple[float, float] = param(
        (0.1, 2.0), help="Range of the random scale, relative to the side of the crop"
    )
    rpn_convs: int = param(2, ge=1, help="Number of 3x3 convolutions of the proposal network")

    @property
    def rpn_depth(self) -> int:
        return self.rpn_convs


class CascadeVitDetParams(VitDetParams):
    """The same with three box heads, each fed by the last, trained at IoU .5, .6 and .7."""

    detector: ClassVar[str] = "vitdet_cascade"


class MaskC4Params(C4Params, CocoParams):
    """Mask R-CNN C4."""

    kinds: ClassVar[tuple[str, ...]] = ("bbox", "segm")
    mask_width: int = param(256, ge=8, help="Channels of the mask head's one deconvolution")

    @property
    def mask_convs(self) -> int:
        """3x3 convolutions of the mask head: it has none."""
        return 0


class VocC4Params(C4Params, VocParams):
    """Faster R-CNN C4 on VOC."""
