"""ImageNet (ILSVRC 2012) as class folders: train/<wnid>/ and val/<wnid>/, 1,000 classes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from bench.data._labelled import Contents, Labelled, folders_of


class Imagenet(Labelled):
    """ImageNet-1k (Russakovsky et al. 2015): 1,281,167 training and 50,000 validation images.

    Layout: `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`; any set of class folders in that layout will do,
    also a subset (ImageNet-100). Labels are the wnids in alphabetical order, the usual numbering."""

    how_to_get: ClassVar[str] = (
        "ILSVRC2012_img_train.tar (138 GB, one tar per class inside) and ILSVRC2012_img_val.tar (6.3 GB) "
        "from "
        "image-net.org (free account), unpacked to train/<wnid>/ and, sorted by class with the usual "
        "valprep script, "
        "val/<wnid>/"
    )

    def contents(self, root: Path) -> Contents:
        return folders_of(root, ("train", "val"), self.how_to_get)
