"""OpenCV's BING: its model folder as an input stage, and proposals by cv2.saliency."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.proposals import Found, scale_back, shrink
from bench.core.errors import BadInput
from bench.core.files import expand_path, write_json
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.boxes import clip
from bench.data.files import fingerprint

SPACES = ("MAXBGR", "HSV", "I")
# filter (8, 8), (v, t) of n sizes (n, 2), which sizes these are (n, 1)
PARTS = ("wS1", "wS2", "idx")
FILES = [f"ObjNessB2W8{space}.{part}.yml.gz" for space in SPACES for part in PARTS]
SMALLEST = 8  # OpenCV searches nothing where a side is shorter, pixels


def opencv_stage(path: str, runtime: Runtime) -> Stage:
    """The stage of a model folder: its key depends on the files' content, the folder is in
    `runtime.roots`.

    Raises BadInput where a file is missing or unreadable: OpenCV itself then returns nothing,
    silently.
    """
    folder = expand_path(path)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadInput(
            f"bing.model: {folder} is no ObjectnessTrainedModel folder of OpenCV's saliency "
            f"module: it lacks {missing[0]}; give the path of one, or train here: "
            "--set bing.model=none"
        )
    _check(folder)
    stage = Stage(
        "model",
        "bing_opencv",
        1,
        {"fingerprint": _fingerprint(folder, runtime)},
        "methods.proposals.bing.opencv:copy_model",
    )
    runtime.roots[stage.key] = folder
    return stage


def _fingerprint(folder: Path, runtime: Runtime) -> str:
    return fingerprint([folder / name for name in FILES], [], runtime.home / "cache")


def _check(folder: Path) -> None:
    for space in SPACES:
        files = [folder / f"ObjNessB2W8{space}.{part}.yml.gz" for part in PARTS]
        shapes = [_shape(file) for file in files]
        n = shapes[2][0] if shapes[2] else 0
        for file, shape, wanted in zip(files, shapes, [(8, 8), (n, 2), (n, 1)], strict=True):
            if not n or shape != wanted:
                raise BadInput(
                    f"bing.model: {file} is no part of a model, half-written? download it again"
                )


def _shape(file: Path) -> tuple[int, ...]:
    """The shape of the matrix in a model file, () where it has none."""
    try:
        storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
        matrix = storage.getNode(file.name.partition(".")[0]).mat()
        storage.release()
    except (cv2.error, SystemError):
        return ()
    return () if matrix is None else tuple(matrix.shape)


def copy_model(ctx: StageContext) -> None:
    """Leaves the model's files and `model.json`."""
    root = ctx.runtime.roots.get(ctx.stage.key)
    if root is None:
        raise BadInput("no folder is known for BING's model; try: --set bing.model=PATH")
    for name in FILES:
        shutil.copyfile(root / name, ctx.work / name)
    if _fingerprint(ctx.work, ctx.runtime) != ctx.params["fingerprint"]:
        raise BadInput(
            f"bing.model: {root} changed since this run began; run the same command again"
        )
    info = {
        "model": "opencv",
        "supervised": True,
        "boxes": "ground-truth boxes of PASCAL VOC 2007, for the files that OpenCV distributes",
        "fingerprint": ctx.params["fingerprint"],
    }
    write_json(ctx.work / "model.json", info)


@dataclass(frozen=True)
class OpencvProposer:
    """Image i -> boxes of OpenCV's BING with the model in `folder`, in OpenCV's order."""

    images: ImageSet
    folder: Path
    max_side: int | None
    top: int

    def __call__(self, index: int, seed: int) -> Found:
        image = self.images.image(index)
        small, factor = shrink(image, self.max_side)
        boxes, scores = propose_opencv(small, self.folder, self.top)
        return scale_back(boxes, factor, image.shape[:2]), scores


def propose_opencv(image: np.ndarray, folder: Path, top: int) -> Found:
    """(H, W, 3) uint8 RGB -> at most `top` distinct boxes (n, 4) float32 xyxy, scores (n,)
    float32.

    OpenCV runs three colour spaces and returns their lists, each best first, one after another:
    max-BGR (the paper's), HSV, grey. Its values are ranks x 1, 3 or 5, not scores. That order
    stays: on 250 VOC2012 images it recalls 0.35 / 0.66 / 0.91 of the objects at 10 / 100 / 1000
    boxes, sorting by the values the same, one box of each space in turn 0.32 / 0.66 / 0.88. Scores
    fall from 1 to 0 along it. OpenCV's corners count from 1 and include both ends; these are
    edges. An image with a side below 8 pixels gives itself.
    """
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        return np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32)
    with _quiet():
        _, corners = _searcher(str(folder)).computeSaliency(np.ascontiguousarray(image[..., ::-1]))
    if corners is None:
        raise BadInput(
            f"OpenCV's BING returned nothing for {width} x {height} pixels: "
            f"is its model in {folder} whole?"
        )
    boxes = corners.reshape(-1, 4).astype(np.float32)
    boxes[:, :2] -= 1
    boxes = clip(boxes, width, height)
    _, first = np.unique(boxes, axis=0, return_index=True)
    boxes = boxes[np.sort(first)][:top]
    return boxes, np.linspace(1, 0, len(boxes), dtype=np.float32)


@cache
def _searcher(folder: str) -> Any:
    searcher = cv2.saliency.ObjectnessBING.create()
    searcher.setTrainingPath(folder)
    # no folder, so the text file that it writes for every image has no place
    searcher.setBBResDir(os.devnull)
    return searcher


@contextmanager
def _quiet() -> Iterator[None]:
    """C's standard output goes nowhere: OpenCV prints three lines an image."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
