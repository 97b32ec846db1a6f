"""PASCAL VOC 2007 in its official layout: 20 classes, boxes, a public test set."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contracts.data import HowToGet, WriteSample
from bench.core.params import Params, param
from bench.data.layouts.voc import Voc
from bench.data.layouts.voc_files import COUNTS


class Voc2007Params(Params):
    """Which image set is which split: a list of `ImageSets/Main`, or `Segmentation/train` and the
    like."""

    train: str = param("trainval", help="image set to train on: train, Segmentation/trainval, ...")
    val: str = param("test", help="image set to score on: val, Segmentation/test, ...")


class Voc2007(Voc):
    """PASCAL VOC 2007 (Everingham et al. 2010): train is Main/trainval (5,011 images), val is
    Main/test (4,952), which is another archive: without it there is no val.
    """

    years = ("2007",)
    how_to_get: HowToGet = HowToGet(
        files={"VOCtrainval_06-Nov-2007.tar": 450, "VOCtest_06-Nov-2007.tar": 430},
        site="host.robots.ox.ac.uk/pascal/VOC",
        layout="both unpacked in one folder (the second is only needed to score): they make "
        "VOCdevkit/VOC2007",
    )
    official: Mapping[str, int] = COUNTS["2007"]
    Params: type[Params] = Voc2007Params
    params: Voc2007Params

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.boxes import write_voc2007

        return write_voc2007
