"""The five best BING boxes of each image."""

from __future__ import annotations

from methods.crops._pseudo import ProposalCrop


class BingCrop(ProposalCrop):
    """The 5 best-scored BING boxes as images (Cheng et al. 2014), paper 001's boxes in paper 000's
    use."""

    source = "bing"
