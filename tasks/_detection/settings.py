"""What each detector's network, losses and engine read of a protocol's settings.

The classes of `tasks._detection.protocol` have all of it; a network takes any object that has.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, runtime_checkable


class DetectorSettings(Protocol):
    """Every detector's: the kinds of what is predicted (bbox, segm, keypoints), and how many
    detections of an image are kept."""

    kinds: ClassVar[tuple[str, ...]]
    detections: int


class RpnSettings(DetectorSettings, Protocol):
    """The proposal network's, and how proposals are sampled for the box head."""

    anchors: tuple[float, ...]
    rpn_train: int
    rpn_test: int
    proposals: int
    proposals_train: int | None
    rpn_batch: int
    rois: int
    box_shared: bool

    @property
    def rpn_depth(self) -> int:
        """3x3 convolutions of the proposal network."""
        ...

    @property
    def smooth_l1_beta(self) -> float:
        """Where the box head's smooth L1 turns linear; 0 is L1."""
        ...


class FpnSettings(RpnSettings, Protocol):
    """Those of a feature pyramid and its box head."""

    fpn: int
    box_convs: int
    box_width: int
    box_fc: int
    box_fcs: int
    canonical: float


class VitDetSettings(FpnSettings, Protocol):
    """Those of a vision transformer under a simple pyramid."""

    sizes: tuple[int, ...]
    window: int
    global_blocks: int
    drop_path: float


class RetinaSettings(DetectorSettings, Protocol):
    """RetinaNet's."""

    anchors: tuple[float, ...]
    fpn: int
    head_convs: int
    head_norm: Literal["gn", "none"]
    candidates: int


@runtime_checkable
class MaskSettings(Protocol):
    """A mask head's; a C4 detector's has no convolutions before its deconvolution."""

    @property
    def mask_convs(self) -> int:
        """3x3 convolutions of the head."""
        ...

    @property
    def mask_width(self) -> int:
        """Channels of the head."""
        ...


@runtime_checkable
class KeypointSettings(Protocol):
    """A keypoint head's."""

    keypoint_convs: int
    keypoint_width: int
