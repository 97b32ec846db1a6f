"""PASCAL VOC 2012's segmentation lists:
the images that have a mask of 20 classes and background."""

from __future__ import annotations

from bench.core.params import Params, param
from bench.data.sets.voc2012 import Voc2012 as _Voc2012


class Voc2012SegParams(Params):
    """Which image set is which split."""

    train: str = param(
        "Segmentation/train", help="image set to train on: Segmentation/trainval, ..."
    )
    val: str = param("Segmentation/val", help="image set to score on")


class Voc2012Seg(_Voc2012):
    """PASCAL VOC 2012 segmentation (Everingham et al. 2015): train (1,464 images) and val (1,449)
    of `ImageSets/Segmentation`. The folder is that of data `voc2012`.

    `train_aug` of Hariharan et al. 2011 (10,582 images) is its list as
    `ImageSets/Segmentation/train_aug.txt` and its masks in `SegmentationClass/`; then: --set
    voc2012_seg.train=Segmentation/train_aug.
    """

    Params: type[Params] = Voc2012SegParams
    params: Voc2012SegParams  # type: ignore[assignment]
