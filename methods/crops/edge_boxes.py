"""EdgeBox-Crop: the five best edge boxes (paper 000, Tables 12 and 13)."""

from __future__ import annotations

from methods.crops._pseudo import ProposalCrop


class EdgeBoxesCrop(ProposalCrop):
    """The 5 best-scored edge boxes of each image (paper 000: EdgeBox-Crop)."""

    source = "edge_boxes"
