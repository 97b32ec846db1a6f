"""PASCAL VOC 2012 in its official layout: 20 classes, boxes, semantic masks."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contracts.data import HowToGet, WriteSample
from bench.core.params import Params, param
from bench.data.layouts.voc import Voc
from bench.data.layouts.voc_files import COUNTS


class Voc2012Params(Params):
    """Which image set is which split: a list of `ImageSets/Main`, or `Segmentation/train` and the
    like."""

    train: str = param("train", help="image set to train on: trainval, Segmentation/train, ...")
    val: str = param("val", help="image set to score on: val, Segmentation/val, ...")


class Voc2012(Voc):
    """PASCAL VOC 2012 (Everingham et al. 2015): train (5,717 images) and val (5,823) of
    `ImageSets/Main`.

    The annotations of the official test set are not public, so val is what there is to score on.
    """

    years = ("2012",)
    how_to_get: HowToGet = HowToGet(
        files={"VOCtrainval_11-May-2012.tar": 2000},
        site="host.robots.ox.ac.uk/pascal/VOC",
        layout="unpacked with tar xf: it makes VOCdevkit/VOC2012",
    )
    official: Mapping[str, int] = COUNTS["2012"]
    Params: type[Params] = Voc2012Params
    params: Voc2012Params

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.boxes import write_voc2012

        return write_voc2012
