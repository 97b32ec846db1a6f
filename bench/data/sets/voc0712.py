"""PASCAL VOC 2007 and 2012 together: train on both trainvals, score on the test set of 2007."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contracts.data import HowToGet, WriteSample
from bench.core.params import Params, param
from bench.data.layouts.voc import Voc
from bench.data.layouts.voc_files import COUNTS


class Voc0712Params(Params):
    """Which image sets are which split: YEAR/SET, several joined by +."""

    train: str = param(
        "2007/trainval+2012/trainval", help="image sets to train on: YEAR/SET+YEAR/SET"
    )
    val: str = param("2007/test", help="image sets to score on")


class Voc0712(Voc):
    """PASCAL VOC 07+12, the usual detection transfer: train is 2007 trainval (5,011 images) and
    2012 trainval (11,540), val is 2007 test (4,952). VOCdevkit has both years.
    """

    years = ("2007", "2012")
    how_to_get: HowToGet = HowToGet(
        files={
            "VOCtrainval_06-Nov-2007.tar": 450,
            "VOCtest_06-Nov-2007.tar": 430,
            "VOCtrainval_11-May-2012.tar": 2000,
        },
        site="host.robots.ox.ac.uk/pascal/VOC",
        layout="all unpacked in one folder with tar xf: they make VOCdevkit/VOC2007 and VOCdevkit/VOC2012",
    )
    official: Mapping[str, int] = {
        f"{year}/{name}": count
        for year, counts in COUNTS.items()
        for name, count in counts.items()
    }
    Params: type[Params] = Voc0712Params
    params: Voc0712Params

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.boxes import write_voc0712

        return write_voc0712
