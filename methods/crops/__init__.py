"""Cropping strategies: each file or folder is one, named after it.

A module whose name starts with `_` is no strategy but what several share, here and in other
packages: `_pseudo` has `PseudoCrop` (every box is an image of its own) and `ProposalCrop` (the
first boxes of a proposal generator), `_paired` has `PairedCrop` (the views come from two boxes).
"""
