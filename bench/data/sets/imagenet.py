"""ImageNet (ILSVRC 2012) as class folders: train/<wnid>/ and val/<wnid>/, 1,000 classes."""

from __future__ import annotations

from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.data.layouts.labelled import Contents, Labelled, folders_of


class Imagenet(Labelled):
    """ImageNet-1k (Russakovsky et al. 2015): 1,281,167 training and 50,000 validation images.

    Layout: `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`;
    any set of class folders in that layout will do, also a subset (ImageNet-100).
    Labels are the wnids in alphabetical order, the usual numbering."""

    version = 2  # the orientation in XMP counts for sizes as it does for pixels
    how_to_get = HowToGet(
        files={"ILSVRC2012_img_train.tar": 138_000, "ILSVRC2012_img_val.tar": 6300},
        site="image-net.org (free account)",
        layout=(
            "unpacked to train/<wnid>/ (one tar per class inside) and, "
            "sorted by class with the usual valprep script, val/<wnid>/"
        ),
    )
    official = {"train": 1_281_167, "val": 50_000}

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.layouts import write_imagenet

        return write_imagenet

    def contents(self, root: Path) -> Contents:
        return folders_of(root, ("train", "val"), self.how_to_get)
