"""CIFAR-10 by k nearest neighbours of frozen features at 32 x 32 pixels (k = 200, T = 0.1)."""

from __future__ import annotations

from bench.core.params import param
from tasks._frozen.protocol import KnnParams
from tasks._frozen.task import KnnTask


class CifarKnnParams(KnnParams):
    """CIFAR images as they are: 32 pixels, neither resized nor cropped."""

    image_size: int = param(
        32, ge=16, help="Side of the square image that the backbone sees, pixels"
    )
    resize: int = param(
        32, ge=16, help="Short side that images have before the central crop, pixels"
    )


class Cifar10Knn(KnnTask):
    """Weighted kNN on CIFAR-10's test set with its training set as the bank (Wu et al. 2018).

    lightly's benchmark (ResNet-18 with the CIFAR stem, 200 epochs, batch 512) reports 84.8 for
    SimCLR, 86.8 for BYOL and 84.7 for MoCo v2: maxima over epochs; this task scores the final
    backbone."""

    Params = CifarKnnParams
    params: CifarKnnParams
    data = {"tiny": "scenes_objects", "": "cifar10"}
    scales = {"tiny": {"k": 20}}
