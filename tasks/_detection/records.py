"""COCO's records as Python dictionaries: what a detector finds, and what is annotated."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Rle(TypedDict):
    """A compressed run-length encoding of a mask; size: height, width."""

    size: list[int]
    counts: str


class Detection(TypedDict):
    """A detection in COCO's result format.

    category_id: label + 1. bbox: x, y, width, height in original pixels. keypoints: flat x, y,
    score.
    """

    image_id: int
    category_id: int
    score: float
    bbox: list[float]
    segmentation: NotRequired[Rle]
    keypoints: NotRequired[list[float]]


class Annotation(TypedDict):
    """An object in COCO's instances format.

    category_id: label + 1. bbox: x, y, width, height. segmentation: polygons or an encoding.
    keypoints: flat x, y, visibility. num_keypoints: how many are labelled.
    """

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int
    segmentation: NotRequired[Any]
    keypoints: NotRequired[list[float]]
    num_keypoints: NotRequired[int]


class Image(TypedDict):
    """An image of a split."""

    id: int
    width: int
    height: int
    file_name: str


class Category(TypedDict):
    """A class; id: 1..K."""

    id: int
    name: str


class Truth(TypedDict):
    """A split in COCO's instances format."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]
    info: dict[str, str]


Metrics = dict[str, float]
PerClass = dict[str, Metrics]
