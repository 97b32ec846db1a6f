"""What every detector is to the engine: losses in training, detections at test."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

Target = dict[str, Tensor]
Targets = list[Target]
Detections = list[dict[str, Tensor]]


class Detector(nn.Module):
    """A network that the engine can train. `body`: the whole backbone, whose tensors must all
    match a file. `divisor`: image sides are padded to multiples of it."""

    divisor: int = 32
    body: nn.Module

    def losses(self, images: ImageList, targets: Targets) -> dict[str, Tensor]:
        """The losses of a batch, to be summed. targets: per image boxes (n, 4) in the padded
        frame, labels (n,) 1..K, scale (2,) from the frame to the original; as the protocol's kinds
        say, masks (n, H0, W0) uint8 in the original frame, keypoints (n, k, 3) in the padded
        frame."""
        raise NotImplementedError

    def detect(self, images: ImageList) -> Detections:
        """Per image boxes (n, 4) in the padded frame, scores (n,), labels (n,) 1..K, and maybe
        masks (n, 28, 28) or (n, 14, 14) of the boxes, or keypoints (n, k, 3) in the padded frame.
        """
        raise NotImplementedError
