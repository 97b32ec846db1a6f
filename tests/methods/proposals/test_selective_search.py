"""Selective search, and the stage that runs any generator: independent of workers, order and
kills."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from bench.contracts.context import StageContext
from bench.contracts.proposals import scale_back, shrink
from bench.contracts.registry import load
from bench.core.errors import BadData
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.scenes.draw import draw_scene
from bench.stages import proposals as engine
from tests.small_set import SmallSet

SEARCH: Any = load("proposals", "selective_search")


def make(**settings: object) -> Any:
    return SEARCH(SEARCH.Params(**settings))


def test_boxes_are_inside_distinct_and_as_opencv_gives_them() -> None:
    image = draw_scene(0, 1).image
    boxes, scores = make().propose(image, seed=3)
    assert boxes.dtype == np.float32
    assert len(np.unique(boxes, axis=0)) == len(boxes) > 50
    assert boxes.min() >= 0
    assert (boxes[:, 2] <= image.shape[1]).all()
    assert (boxes[:, 3] <= image.shape[0]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (np.diff(scores) <= 0).all()
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    search.switchToSelectiveSearchFast()
    direct = {(x, y, x + w, y + h) for x, y, w, h in search.process().tolist()}
    assert {tuple(b) for b in boxes.astype(int).tolist()} == direct


def test_order_depends_on_image_and_seed_alone() -> None:
    a, b = draw_scene(0, 1).image, draw_scene(0, 2).image
    maker = make()
    first = maker.propose(a, 5)[0]
    maker.propose(b, 9)
    assert np.array_equal(maker.propose(a, 5)[0], first)
    other = maker.propose(a, 6)[0]
    assert not np.array_equal(other, first)
    assert {tuple(x) for x in other.tolist()} == {tuple(x) for x in first.tolist()}


def test_downscaling_scales_boxes_back() -> None:
    image = cv2.resize(draw_scene(0, 1).image, None, fx=3, fy=3)
    small, factor = shrink(image, 150)
    assert max(small.shape[:2]) == 150
    boxes = scale_back(make().propose(small, 0)[0], factor, image.shape[:2])
    assert boxes[:, 2].max() == pytest.approx(image.shape[1], abs=0.01)
    assert boxes[:, 3].max() == pytest.approx(image.shape[0], abs=0.01)
    assert shrink(image, 9999)[0] is image


@pytest.mark.parametrize("shape", [(1, 5), (2, 2), (20, 20), (8, 300)])
def test_an_image_without_structure_gives_itself(shape: tuple[int, int]) -> None:
    boxes, scores = make().propose(np.full((*shape, 3), 7, np.uint8), 0)
    assert boxes.tolist() == [[0, 0, shape[1], shape[0]]]
    assert len(scores) == 1


def run(
    work: Path, images: SmallSet, workers: int, monkeypatch: pytest.MonkeyPatch
) -> engine.ProposalTable:
    work.mkdir(parents=True, exist_ok=True)
    identity = make().identity()
    stage = Stage(
        "proposals",
        "selective_search",
        1,
        {"proposals": identity, "split": "train", "seed": 0},
        "",
    )
    runtime = Runtime(home=work, database="sqlite://", workers=workers)
    monkeypatch.setattr(StageContext, "images", lambda self, role, split: images)
    engine.run(StageContext(stage, work, {}, runtime))
    return engine.load_proposals(work)


def test_workers_order_and_kills_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHUNK", 2)
    images = SmallSet(tmp_path, 6)
    alone = run(tmp_path / "a", images, 0, monkeypatch)
    pair = run(tmp_path / "b", images, 2, monkeypatch)
    shuffled = run(tmp_path / "c", SmallSet(tmp_path, 6, order=[4, 2, 0, 5, 1, 3]), 0, monkeypatch)
    scratch = tmp_path / "a" / "_scratch"
    chunks = sorted(scratch.glob("chunk-*"))
    assert len(chunks) == 3
    chunks[1].write_bytes(chunks[1].read_bytes()[:100])  # torn by a kill
    resumed = run(tmp_path / "a", images, 0, monkeypatch)
    for image in images.ids:
        for table in (pair, shuffled, resumed):
            assert np.array_equal(table.boxes(image), alone.boxes(image))
            assert np.array_equal(table.scores(image), alone.scores(image))
    with pytest.raises(BadData, match="no proposals for image 11"):
        alone.boxes(11)
    assert SimpleNamespace(**engine.proposals_info(tmp_path / "a")).images == 6


class _Planted:
    """Unpickling one makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_nothing_in_a_scratch_folder_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other users of a shared BENCH_HOME may write there."""
    monkeypatch.setattr(engine, "CHUNK", 2)
    images = SmallSet(tmp_path, 4)
    alone = run(tmp_path / "a", images, 0, monkeypatch)
    evil, scratch = tmp_path / "evil", tmp_path / "b" / "_scratch"
    scratch.mkdir(parents=True)
    planted = pickle.dumps(_Planted(evil))
    objects = np.array([_Planted(evil)], object)
    (scratch / "chunk-000000000.pkl").write_bytes(planted)
    np.savez(scratch / "chunk-000000000.npz", first=objects, boxes=objects, scores=objects)
    again = run(tmp_path / "b", images, 0, monkeypatch)
    (scratch / "chunk-000000002.npz").write_bytes(planted)
    again = run(tmp_path / "b", images, 0, monkeypatch)
    assert not evil.exists()
    for image in images.ids:
        assert np.array_equal(again.boxes(image), alone.boxes(image))
