"""SS-Crop: the first boxes of selective search (paper 000, Tables 12 and 13)."""

from __future__ import annotations

from methods.crops._pseudo import ProposalCrop


class SelectiveSearchCrop(ProposalCrop):
    """The first 5 boxes as OpenCV's fast selective search returns them (paper 000: SS-Crop); that
    order is partly random and starts with small segments
    (`methods/proposals/selective_search.py`).
    """

    source = "selective_search"
