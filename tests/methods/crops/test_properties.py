"""Every crop on any image: inside it, by seed alone, whatever the order of images or the number of
processes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.registry import load
from bench.contracts.views import Sampler
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from bench.stages import proposals as engine
from bench.views.sample import whole_pixels
from tests.core.test_store import Heard
from tests.methods.crops.sets import Boxed, crop, epoch, table
from tests.small_set import SmallSet

CROPS = registry.names("crop")
PSEUDO = [n for n in CROPS if registry.load("crop", n).style == "pseudo"]  # type: ignore[attr-defined]
PAIRED = [n for n in CROPS if registry.load("crop", n).style == "paired"]  # type: ignore[attr-defined]

size = st.tuples(st.integers(1, 300), st.integers(1, 300))
unit = st.floats(0, 1)
part = st.tuples(unit, unit, unit, unit)
image = st.tuples(size, st.lists(part, max_size=4))


def built(given_: Any) -> tuple[Boxed, list[Any]]:
    """Images with boxes as fractions of them, ids in an order of their own."""
    boxes = []
    for (width, height), parts in given_:
        found = [
            (min(a, c) * width, min(b, d) * height, max(a, c) * width, max(b, d) * height)
            for a, b, c, d in parts
        ]
        boxes.append([b for b in found if b[2] > b[0] and b[3] > b[1]])
    return Boxed(
        [s for s, _ in given_], boxes, ids=[11 * i + 3 for i in range(len(given_))]
    ), boxes


def sampler_of(name: str, images: Boxed, boxes: list[Any], **settings_: Any) -> Sampler:
    with tempfile.TemporaryDirectory() as folder:
        made: Sampler = crop(name, **settings_).sampler(images, table(Path(folder), images, boxes))
        return made


def check_inside(name: str, images: Boxed, sampler: Sampler) -> None:
    for sources in epoch(sampler):
        assert [s.role for s in sources[:2]] == ["view", "view"]
        for s in sources:
            width, height = map(int, images.sizes[s.image])
            x1, y1, x2, y2 = s.box if s.box is not None else (0, 0, width, height)
            slack = 1e-4 * max(width, height)  # boxes are kept in single precision
            assert -slack <= x1 < x2 <= width + slack, name
            assert -slack <= y1 < y2 <= height + slack, name
            whole = whole_pixels(s.box, width, height)
            assert 0 <= whole[0] < whole[2] <= width
            assert 0 <= whole[1] < whole[3] <= height
            if name in PSEUDO:
                assert whole == s.box  # on whole pixels already
                assert whole[2] - whole[0] >= min(2, width)
                assert whole[3] - whole[1] >= min(2, height)


@pytest.mark.parametrize("name", CROPS)
@given(given_=st.lists(image, min_size=1, max_size=4))
@settings(max_examples=12, deadline=None)
def test_crops_are_inside_the_image(name: str, given_: Any) -> None:
    images, boxes = built(given_)
    check_inside(name, images, sampler_of(name, images, boxes))


@pytest.mark.parametrize("name", PAIRED)
@given(
    given_=st.lists(image, min_size=1, max_size=3), delta=st.floats(0, 1), shift=st.floats(0, 400)
)
@settings(max_examples=12, deadline=None)
def test_released_code_stays_inside_too(
    name: str, given_: Any, delta: float, shift: float
) -> None:
    images, boxes = built(given_)
    more = (
        {"delta": delta} if "dilate" in name else {"shift_min": shift} if "shift" in name else {}
    )
    check_inside(name, images, sampler_of(name, images, boxes, mode="released_code", **more))


@pytest.mark.parametrize("name", CROPS)
@given(
    given_=st.lists(image, min_size=1, max_size=4), seed=st.integers(0, 99), shuffle=st.randoms()
)
@settings(max_examples=8, deadline=None)
def test_the_seed_decides_not_the_order_of_images(
    name: str, given_: Any, seed: int, shuffle: Any
) -> None:
    images, boxes = built(given_)
    order = list(range(len(images)))
    shuffle.shuffle(order)
    mixed = Boxed(
        [given_[i][0] for i in order],
        [boxes[i] for i in order],
        ids=[int(images.ids[i]) for i in order],
    )
    one, two = (
        sampler_of(name, s, b) for s, b in ((images, boxes), (mixed, [boxes[i] for i in order]))
    )
    assert len(one) == len(two)
    assert epoch(one, seed) == epoch(one, seed)

    def by_id(sampler: Sampler, of: Boxed) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for i in range(len(sampler)):
            at = sampler.sources(i, np.random.default_rng(0))[0].image
            position = len(found.setdefault(int(of.ids[at]), []))
            drawn = sampler.sources(i, np.random.default_rng((seed, int(of.ids[at]), position)))
            found[int(of.ids[at])].append([(s.box, s.kind, s.role, s.size) for s in drawn])
        return found

    assert by_id(one, images) == by_id(two, mixed)


GENERATORS = {
    "edge_boxes": {},
    "random_boxes": {},
    "ground_truth": {},
    "selective_search": {"max_side": 96},
}


def boxes_by_id(
    folder: Path, name: str, images: Any, workers: int, monkeypatch: pytest.MonkeyPatch
) -> Any:
    folder.mkdir(parents=True)
    cls: Any = load("proposals", name)
    identity = cls(cls.Params(**GENERATORS[name])).identity()
    stage = Stage("proposals", name, 1, {"proposals": identity, "split": "train", "seed": 0}, "")
    monkeypatch.setattr(StageContext, "images", lambda self, role, split: images)
    engine.run(StageContext(stage, folder, {}, Runtime(home=folder, database="", workers=workers)))
    found = engine.load_proposals(folder)
    return {int(i): (found.boxes(i).tolist(), found.scores(i).tolist()) for i in images.ids}


@pytest.mark.parametrize("name", list(GENERATORS))
def test_generators_do_not_depend_on_processes_or_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = SmallSet(tmp_path, 5)
    alone = boxes_by_id(tmp_path / "a", name, images, 0, monkeypatch)
    assert boxes_by_id(tmp_path / "b", name, images, 2, monkeypatch) == alone
    shuffled = SmallSet(tmp_path, 5, order=[3, 0, 4, 2, 1])
    assert boxes_by_id(tmp_path / "c", name, shuffled, 0, monkeypatch) == alone
    assert all(len(boxes) for boxes, _ in alone.values())


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("anchors_scda", (("anchors_scda.phi", "random_init"), ("random_init.image_size", "32"))),
        ("bing", ()),
    ],
)
def test_generators_that_learn_do_not_depend_on_processes(
    name: str, sets: tuple[tuple[str, str], ...], tmp_path: Path
) -> None:
    found = []
    for workers in (0, 2):
        home = tmp_path / str(workers)
        runtime = Runtime(
            home=home, database="sqlite://", workers=workers, tracker="none", devices="cpu"
        )
        overrides = (("scenes.n_train", "6"), ("scenes.n_val", "2"), *sets)
        planner = Planner(
            Cell("byol", "image", "coco_det", "scenes", "scenes", "tiny", 0, overrides), runtime
        )
        stage = planner.proposals(name, planner.data("scenes"))
        table_ = engine.load_proposals(LocalEngine(runtime, Store(home), Heard()).ensure(stage))
        found.append({i: (table_.boxes(i).tolist(), table_.scores(i).tolist()) for i in table_.at})
    assert len(found[0]) == 6
    assert found[0] == found[1]
