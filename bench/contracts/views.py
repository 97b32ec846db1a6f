"""The view plan: which pixels of which images become the views of one training sample.

A crop strategy yields `Source`s (where views may come from), a method turns them into `ViewSpec`s
(what it wants to see), the loader executes them. Boxes are xyxy in absolute pixels of the upright
image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a view may come from: an image (position in the set) or a box of it.

    `kind` picks the projection head where a method has two (paper 001: object / other). `scale`
    replaces the method's area range inside this source (the s_min rule); `size` its view size
    (multi-crop). `role` other than "view" marks an extra view that only multi-crop methods take.
    """

    image: int
    box: Box | None = None
    kind: Literal["scene", "object"] = "scene"
    scale: tuple[float, float] | None = None
    size: int | None = None
    role: str = "view"


@dataclass(frozen=True, slots=True)
class Augment:
    """Photometric recipe of a view (METHODS.md 0.1): probabilities p_* and strengths.

    jitter: (brightness, contrast, saturation, hue), torchvision's meaning, sub-operations in
    random order. blur sigma is drawn from U(blur_sigma) in pixels of the view for a method of
    224-pixel images, and scales with the method's image size (`ViewSpec.blur_size` / 224).
    """

    p_flip: float = 0.5
    p_jitter: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    p_grey: float = 0.0
    p_blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    p_solarize: float = 0.0
    solarize_threshold: float = 128.0
    blur_first: bool = False  # before jitter and grey instead of after them


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """One view: crop `box` of `image` (None: all of it), random-resized inside it if `scale` is
    given.

    With `scale`: a random resized crop, area U(scale) of the *source box*, log-uniform aspect
    `ratio`, 10 tries, then the centre fallback of torchvision. Without: exactly the box. Then
    antialiased bilinear resize to `size` x `size`, then flip (drawn with `augment.p_flip` unless
    `flip` is fixed), then colour. `role` names the view; equal roles of a batch's samples are
    stacked, so every sample of a method returns the same roles in the same order. `kind` is handed
    on from the source. `blur_size` is the image size that blur scales with (the view's own size
    where it is None); the training sets it to the method's image size for every view.
    """

    role: str
    image: int
    box: Box | None
    size: int
    augment: Augment
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    kind: Literal["scene", "object"] = "scene"
    blur_size: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The views of one sample, and a method's own arrays (fixed shapes), stacked by name."""

    views: list[ViewSpec]
    extra: dict[str, np.ndarray] = field(default_factory=dict)


class Sampler(Protocol):
    """A crop strategy at work: picklable, handed to the loader's workers."""

    def __len__(self) -> int:
        """Samples of one epoch."""
        ...

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        """Sample `index`'s sources: two with role "view", then any extra ones."""
        ...


class Viewer(Protocol):
    """A method's view plan at work: picklable, handed to the loader's workers."""

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample: ...
