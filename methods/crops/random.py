"""Random boxes, five an image: variant s4 of paper 000."""

from __future__ import annotations

from methods.crops._pseudo import ProposalCrop


class Random(ProposalCrop):
    """Boxes drawn once for each image with the coarse crop's sizes and ratios (paper 000, Table
    11, s4)."""

    source = "random_boxes"
