"""Generated scenes: reproducible, exact annotations,
and the statistics that make the crop matter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from scipy.stats import chisquare
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bench.contracts.data import Data
from bench.core.errors import BadInput
from bench.core.seeds import rng_for
from bench.data.scenes.classes import CLASSES
from bench.data.scenes.draw import SCENE_TYPES, Scene, draw_object, draw_scene
from bench.data.semantic import single_labels
from bench.views.sample import random_resized_crop
from tests.data.folders import component, make, runtime

N = 300
OWN = ("provenance.json", "done", "stage.json")  # the engine's, not the set's


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in OWN)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def small(seed: int = 0, n_train: int = 20) -> Data:
    return component("scenes", n_train=n_train, n_val=5, width=96, height=72, seed=seed)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(0, i + 1) for i in range(N)]


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    made = [hashes(make(small(), None, runtime(tmp_path / str(w), w))[1]) for w in (0, 2)]
    assert made[0] == made[1]
    assert sum(name.endswith(".jpg") for name in made[0]) == 25
    assert "annotations/instances_train2017.json" in made[0]


def test_another_seed_gives_other_scenes(tmp_path: Path) -> None:
    a, b = (hashes(make(small(seed), None, runtime(tmp_path / str(seed)))[1]) for seed in (0, 1))
    pictures = [name for name in a if name.endswith(".jpg")]
    assert set(a) == set(b)
    assert all(a[name] != b[name] for name in pictures)
    assert len({a[name] for name in pictures}) == 25, "train and val share no scene"


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    a = hashes(make(small(n_train=4), None, runtime(tmp_path / "a"))[1])
    b = hashes(make(small(n_train=8), None, runtime(tmp_path / "b"))[1])
    pictures = [name for name in a if name.endswith(".jpg")]
    assert len(pictures) == 9
    assert all(a[name] == b[name] for name in pictures)


def test_identity_is_the_settings_alone(home: Path, tmp_path: Path) -> None:
    assert small().stage(None, runtime(home)).key == small().stage(None, runtime(tmp_path)).key
    assert small().stage(None, runtime(home)).key != small(1).stage(None, runtime(home)).key
    with pytest.raises(BadInput, match="is generated and takes no path"):
        small().stage(tmp_path, runtime(home))
    with pytest.raises(BadInput, match="n_train"):
        component("scenes", n_train=1)


def test_pycocotools_reads_what_was_drawn(home: Path) -> None:
    data, given = small(), runtime(home)
    stage, folder = make(data, None, given)
    for split, first in (("train", 1), ("val", 500_001)):
        reference = COCO(folder / "annotations" / f"instances_{split}2017.json")
        images = data.load(folder, given.roots[stage.key], split)
        assert images.ids.tolist() == sorted(reference.getImgIds())
        assert (
            images.classes
            == CLASSES
            == [c["name"] for c in reference.loadCats(reference.getCatIds())]
        )
        for i, number in enumerate(images.ids.tolist()):
            assert number == first + i
            scene = draw_scene(0, number, (96, 72))
            annotations = reference.loadAnns(reference.getAnnIds(number))
            masks = np.array([reference.annToMask(a) for a in annotations], bool)
            assert np.array_equal(masks, scene.masks)
            assert [a["area"] for a in annotations] == scene.masks.sum((1, 2)).tolist()
            objects = images.objects(i)
            assert objects.boxes.tolist() == [bounds(m) for m in scene.masks]
            assert objects.labels.tolist() == scene.labels.tolist()
            assert objects.area.tolist() == scene.masks.sum((1, 2)).tolist()
            assert not objects.crowd.any()
            shown = images.image(i).astype(int)
            assert shown.shape == scene.image.shape
            assert np.abs(shown - scene.image).mean() < 6, (
                "JPEG of quality 92, colour at half resolution"
            )
    report = json.loads((folder / "report.json").read_text())
    assert report["train"]["images"] == 20
    assert report["train"]["clipped"] == report["train"]["dropped"] == 0


def bounds(mask: np.ndarray) -> list[float]:
    ys, xs = mask.nonzero()
    return [float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)]


def test_masks_are_disjoint_and_visible(scenes: list[Scene]) -> None:
    for scene in scenes:
        height, width = scene.image.shape[:2]
        assert scene.masks.shape == (len(scene.labels), height, width)
        assert scene.masks.sum(0).max(initial=0) <= 1
        assert all(m.sum() >= 40 for m in scene.masks) or len(scene.masks) == 1
        assert scene.image.dtype == np.uint8


def test_counts_sizes_and_cover(scenes: list[Scene]) -> None:
    counts = np.array([len(s.labels) for s in scenes])
    assert 5.6 <= counts.mean() <= 6.6
    assert counts.min() >= 1
    assert counts.max() <= 14
    assert counts.std() > 1.3
    covers, shares = [], []
    for scene in scenes:
        inside = np.zeros(scene.image.shape[:2], bool)
        for x1, y1, x2, y2 in (map(int, bounds(m)) for m in scene.masks):
            inside[y1:y2, x1:x2] = True
            shares.append((x2 - x1) * (y2 - y1) / inside.size)
        covers.append(inside.mean())
    assert 0.34 <= np.mean(covers) <= 0.4, "36.4 % of COCO's pixels are in boxes (paper 000)"
    low, middle, high = np.quantile(shares, [0.1, 0.5, 0.9])
    assert 0.025 <= low < 0.04
    assert 0.05 <= middle <= 0.067
    assert 0.09 <= high <= 0.125
    assert np.mean(shares) > 1.05 * middle, "more small objects than large ones"


def test_image_sizes_vary_around_the_setting(scenes: list[Scene]) -> None:
    sizes = np.array([s.image.shape[:2] for s in scenes])
    upright = (sizes[:, 0] > sizes[:, 1]).mean()
    assert 0.17 <= upright <= 0.33
    assert 0.95 <= np.prod(sizes, 1).mean() / (192 * 144) <= 1.05
    assert len(np.unique(sizes, axis=0)) > 40


def test_truncation_happens(scenes: list[Scene]) -> None:
    at_border = [
        b[0] == 0 or b[1] == 0 or b[2] == s.image.shape[1] or b[3] == s.image.shape[0]
        for s in scenes
        for b in map(bounds, s.masks)
    ]
    assert 0.1 < np.mean(at_border) < 0.5


def test_all_classes_occur_and_context_favours_some(scenes: list[Scene]) -> None:
    labels = np.concatenate([s.labels for s in scenes])
    whole = np.bincount(labels, minlength=20) / len(labels)
    assert whole.min() > 0.02
    assert {s.kind for s in scenes} == set(range(SCENE_TYPES))
    for kind in range(SCENE_TYPES):
        own = np.concatenate([s.labels for s in scenes if s.kind == kind])
        favoured = (np.arange(8) + 5 * kind) % 20
        # eight classes of weight 3 and twelve of weight 1: 24 / 36 = 0.667
        assert 0.6 <= np.isin(own, favoured).mean() <= 0.73
        assert len(np.unique(own)) == 20, "context favours, it does not decide"


def dominant(scene: Scene, rng: np.random.Generator) -> int:
    """The object with the largest visible area in a random resized crop, -1 for none."""
    height, width = scene.image.shape[:2]
    x1, y1, x2, y2 = map(int, random_resized_crop(rng, (0, 0, width, height), (0.2, 1.0)))
    seen = scene.masks[:, y1:y2, x1:x2].sum((1, 2))
    return int(seen.argmax()) if seen.max(initial=0) > 0 else -1


def test_two_random_crops_often_show_different_objects(scenes: list[Scene]) -> None:
    pairs = []
    for i, scene in enumerate(scenes[:200]):
        rng = rng_for(0, "pairs", i)
        pairs += [(dominant(scene, rng), dominant(scene, rng), scene.labels) for _ in range(20)]
    assert np.mean([a != b for a, b, _ in pairs]) > 0.48  # measured 0.528
    both = [(labels[a], labels[b]) for a, b, labels in pairs if a >= 0 and b >= 0]
    assert len(both) / len(pairs) > 0.96
    assert np.mean([a != b for a, b in both]) > 0.44


def described(scenes: list[Scene]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per object: mean colour inside its mask, HOG of its box in grey, label."""
    hog = cv2.HOGDescriptor((64, 64), (16, 16), (8, 8), (8, 8), 9)
    colours, shapes, labels = [], [], []
    for scene in scenes:
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            x1, y1, x2, y2 = map(int, bounds(mask))
            grey = cv2.cvtColor(scene.image[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY)
            colours.append(scene.image[mask].mean(0))
            shapes.append(hog.compute(cv2.resize(grey, (64, 64))).ravel())
            labels.append(label)
    return np.array(colours), np.array(shapes), np.array(labels)


def test_colour_does_not_tell_the_class_but_shape_and_texture_do(scenes: list[Scene]) -> None:
    train, test = described(scenes[:230]), described(scenes[230:])
    accuracy = []
    for feature in (0, 1):
        model = make_pipeline(StandardScaler(), SVC(C=3)).fit(train[feature], train[2])
        accuracy.append(model.score(test[feature], test[2]))
    assert accuracy[0] < 0.12, "chance is 0.05"
    assert accuracy[1] > 0.65


@pytest.mark.parametrize("part", ["shape", "texture"])
def test_a_shape_or_a_texture_alone_is_four_or_five_classes(part: str) -> None:
    texture, shape = zip(*(name.split() for name in CLASSES), strict=True)
    given = shape if part == "shape" else texture
    counts = {given.count(name) for name in given}
    assert counts == ({4} if part == "shape" else {5})
    assert len(set(CLASSES)) == 20


def test_pictures_of_one_object_each(tmp_path: Path) -> None:
    made = component("scenes_objects", n_train=200, n_val=40)
    given = runtime(tmp_path)
    stage, folder = make(made, None, given)
    images = made.load(folder, given.roots[stage.key], "train")
    assert len(images) == 200
    assert images.classes == list(CLASSES)
    assert (images.sizes == 96).all()
    objects = [images.objects(i) for i in range(200)]
    assert all(len(o.labels) == 1 for o in objects)
    labels = np.array([o.labels[0] for o in objects])
    assert single_labels(images).tolist() == labels.tolist()
    counts = np.bincount(labels, minlength=20)
    assert chisquare(counts).pvalue > 0.01, "classes are uniform"
    boxes = np.concatenate([o.boxes for o in objects]).astype(float) / 96
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.abs(middles - 0.5).max() < 0.25
    shares = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    assert shares.min() > 0.1
    assert shares.max() < 0.8, "turned objects have larger boxes than upright ones"
    masks = [draw_object(0, int(images.ids[i])).masks[0] for i in range(5)]
    for mask, (x1, y1, x2, y2) in zip(masks, boxes[:5] * 96, strict=True):
        ys, xs = np.nonzero(mask)
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x1, y1, x2, y2)
