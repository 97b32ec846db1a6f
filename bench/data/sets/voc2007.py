"""PASCAL VOC 2007 in its official layout: 20 classes, boxes, a public test set."""

from __future__ import annotations

from typing import ClassVar

from bench.data._voc import Voc
from bench.params import Params, param


class Voc2007Params(Params):
    """Which image set is which split: a list of `ImageSets/Main`, or `Segmentation/train` and the like."""

    train: str = param("trainval", help="image set to train on: train, Segmentation/trainval, ...")
    val: str = param("test", help="image set to score on: val, Segmentation/test, ...")


class Voc2007(Voc):
    """PASCAL VOC 2007 (Everingham et al. 2010): train is Main/trainval (5,011 images), val is Main/test
    (4,952), which is another archive: without it there is no val.
    """

    years: ClassVar[tuple[str, ...]] = ("2007",)
    how_to_get: ClassVar[str] = (
        "VOCtrainval_06-Nov-2007.tar (450 MB) and, to score, VOCtest_06-Nov-2007.tar (430 MB) from "
        "host.robots.ox.ac.uk/pascal/VOC, both unpacked in one folder: they make VOCdevkit/VOC2007"
    )
    Params: ClassVar[type[Params]] = Voc2007Params
    params: Voc2007Params
