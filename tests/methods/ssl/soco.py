"""What the tests of SoCo share."""

from __future__ import annotations

from typing import Any

from bench.contracts import registry

VIEW_OF = ("view1", "view2", "view1", "view3")  # whose boxes each row of `extra["boxes"]` has


def soco(**settings: object) -> Any:
    """SoCo at `tiny` with narrow heads."""
    small = {"hidden": 32, "out": 16, "fpn": 8, "fc": 12, "boxes": 4, "image_size": 64}
    return registry.load("method", "soco").resolve("tiny", small | settings)
