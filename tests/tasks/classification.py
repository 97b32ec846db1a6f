"""What the tests of classification by fine-tuning share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.data.semantic import single_labels
from tasks._classification.data import Labelled
from tests.small_set import SmallSet

TRANSFER = ("cub", "cars", "aircraft", "flowers", "pets", "indoor67", "dtd")
SEMI = ("imagenet_1pct", "imagenet_10pct")
MICRO = {"batch_size": 4, "image_size": 32, "resize": 36}
MULTI = "voc07_finetune"


def small(folder: Path, n: int, **more: Any) -> Labelled:
    images = SmallSet(folder, n, **more)
    return Labelled(images, np.arange(n), single_labels(images))
