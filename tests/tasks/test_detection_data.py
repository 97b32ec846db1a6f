"""What detectors make of real layouts: every form of mask, crowds, odd boxes, missing objects, bad
images; and which images a share of a set holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from bench.contracts.images import ImageSet
from bench.contracts.registry import load
from bench.core.errors import BadData
from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell, Plan
from bench.plan.planner import Planner
from tasks._detection.data import TestImages as ShownImages
from tasks._detection.data import TrainImages
from tasks._detection.pipeline import prepare_split, score
from tasks._detection.selection import choose_fraction, find_usable
from tasks._detection.train import make_loader
from tasks._detection.truth import ground_truth
from tasks._shared.finetune import Key
from tests.data import folders, voc_folders
from tests.data.voc_folders import Photo, thing

COCO = load("task", "coco_det").resolve("tiny").params
VOC = load("task", "voc0712_det").resolve("tiny").params


def coco_split(root: Path, home: Path, change: Any = None) -> ImageSet:
    return folders.split(folders.component("coco"), folders.write(root, change), home)


def odd(content: dict[str, Any]) -> None:
    """More objects on image 101 (64 x 42): uncompressed RLE, compressed RLE, one of no height."""
    mask = np.zeros((42, 64), np.uint8, order="F")
    mask[10:20, 30:50] = 1
    text = coco_mask.encode(mask)
    runs = {"size": [42, 64], "counts": [30 * 42 + 10, 10, *[32, 10] * 19, 42 * 64 - 49 * 42 - 20]}
    box = [30.0, 10.0, 20.0, 10.0]
    whole = {"size": [42, 64], "counts": text["counts"].decode()}
    content["annotations"] += [
        folders.annotation(21, 101, 18, box, segmentation=runs),
        folders.annotation(22, 101, 18, box, segmentation=whole),
        folders.annotation(23, 101, 18, [5.0, 5.0, 10.0, 0.0]),
    ]


def sample(
    images: ImageSet, index: int, kinds: tuple[str, ...], flip: bool = False
) -> dict[str, Any]:
    """The training sample of a place whose coin falls as asked, at the original size."""
    size = int(images.sizes[index].min())
    for step in range(50):
        made = TrainImages(images, (size,), 2000, 0, kinds)[Key(step, 0, index)]
        source = images.image(index)
        if (not np.array_equal(made["image"].numpy().transpose(1, 2, 0), source)) == flip:
            return made
    raise AssertionError("no such coin in 50 throws")


def test_every_form_of_mask_and_no_crowd(tmp_path: Path, home: Path) -> None:
    images = coco_split(tmp_path / "coco", home, odd)
    crowded, mixed = (images.ids.tolist().index(i) for i in (100, 101))
    made = sample(images, crowded, COCO.kinds)
    assert len(made["boxes"]) == len(made["masks"]) == 2  # the crowd is not trained on
    assert images.objects(crowded).crowd.tolist().count(True) == 1
    made = sample(images, mixed, COCO.kinds)
    assert len(made["boxes"]) == 3  # the box of no height is dropped
    area = torch.zeros(42, 64, dtype=torch.uint8)
    area[10:20, 30:50] = 1
    assert [int(m.sum()) for m in made["masks"]] == [64 * 42, 200, 200]
    assert torch.equal(made["masks"][1], area)
    assert torch.equal(made["masks"][2], area)
    mirrored = sample(images, mixed, COCO.kinds, flip=True)
    assert torch.equal(mirrored["masks"][1], area.flip(1))
    assert mirrored["boxes"][1].tolist() == [64 - 50, 10, 64 - 30, 20]


def test_images_without_objects_are_scored_but_not_trained_on(tmp_path: Path, home: Path) -> None:
    images = coco_split(tmp_path / "coco", home)
    assert images.ids[find_usable(images, COCO.kinds)].tolist() == [100, 101]
    assert len(ShownImages(images, 40, 100)) == 3
    truth = ground_truth(images)
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
        for a in truth["annotations"]
        if not a["iscrowd"]
    ]
    for one in found:
        if isinstance(one["segmentation"], list):
            size = next(
                [i["height"], i["width"]] for i in truth["images"] if i["id"] == one["image_id"]
            )
            rle = coco_mask.merge(coco_mask.frPyObjects(one["segmentation"], *size))
            one["segmentation"] = {"size": size, "counts": rle["counts"].decode()}
    perfect, _ = score(images, found, COCO)
    assert perfect["AP_bbox"] == pytest.approx(100)
    assert perfect["AP_segm"] == pytest.approx(100)
    crowd = next(a for a in truth["annotations"] if a["iscrowd"])
    on_crowd = {
        **found[0],
        "category_id": crowd["category_id"],
        "bbox": crowd["bbox"],
        "score": 0.99,
    }
    on_crowd |= {"image_id": crowd["image_id"], "segmentation": crowd["segmentation"]}
    on_empty = {**found[0], "image_id": 102, "score": 0.99}
    assert score(images, [*found, on_crowd], COCO)[0]["AP_bbox"] == pytest.approx(
        100
    )  # neither right nor wrong
    assert score(images, [*found, on_empty], COCO)[0]["AP_bbox"] < 95


def test_a_set_without_any_usable_object_is_one_line(tmp_path: Path, home: Path) -> None:
    def bare(content: dict[str, Any]) -> None:
        content["annotations"] = [a for a in content["annotations"] if a["iscrowd"]]

    images = coco_split(tmp_path / "coco", home, bare)
    with pytest.raises(BadData, match="no image with an object that is no crowd"):
        make_loader(images, COCO, 0, 2, 0, 0)


@pytest.mark.parametrize("mask", [None, []])
def test_an_object_without_a_mask_is_named(mask: Any, tmp_path: Path, home: Path) -> None:
    def strip(content: dict[str, Any]) -> None:
        next(a for a in content["annotations"] if a["id"] == 12)["segmentation"] = mask

    images = coco_split(tmp_path / "coco", home, strip)
    with pytest.raises(BadData, match="annotation 12 of image 101 has no mask"):
        make_loader(images, COCO, 0, 2, 0, 0)
    assert len(find_usable(images)) == 2  # boxes alone need none


def test_sets_that_lack_what_the_protocol_needs(tmp_path: Path, home: Path) -> None:
    voc = folders.split(folders.component("voc2012"), voc_folders.write_2012(tmp_path / "v"), home)
    with pytest.raises(BadData, match="voc2012/train has no masks"):
        prepare_split(voc, COCO)
    with pytest.raises(BadData, match="voc2012/train has no keypoints"):
        prepare_split(voc, load("task", "coco_keypoints").resolve("tiny").params)
    assert prepare_split(voc, VOC) is voc


def test_voc_boxes_count_from_one_and_difficult_objects_train(tmp_path: Path, home: Path) -> None:
    """xmin = xmax is a box one pixel wide, xmax < xmin is none; difficult objects train."""
    more = Photo(
        "2010_000001",
        [
            thing("cow", (5, 6, 5, 20)),
            thing("cow", (9, 9, 8, 20)),
            thing("dog", (1, 1, 60, 40), 1),
        ],
    )
    images = folders.split(
        folders.component("voc2012"), voc_folders.write_2012(tmp_path / "v", more), home
    )
    at = images.ids.tolist().index(2010000001)
    made = sample(images, at, VOC.kinds)
    assert made["boxes"].tolist() == [[4, 5, 5, 20], [0, 0, 60, 40]]
    assert made["labels"].tolist() == [10, 12]  # cow and dog, counted from 1
    assert set(made) == {"image", "boxes", "labels", "scale"}
    assert sample(images, at, VOC.kinds, flip=True)["boxes"].tolist() == [
        [55, 5, 56, 20],
        [0, 0, 60, 40],
    ]
    empty = images.ids.tolist().index(2011003000)
    assert at in find_usable(images)
    assert empty not in find_usable(images)


@pytest.mark.parametrize("name", ["coco", "voc2012"])
def test_an_image_cut_short_is_named(name: str, tmp_path: Path, home: Path) -> None:
    """Before the data stage is made, and after."""
    write = folders.write if name == "coco" else voc_folders.write_2012
    root = write(tmp_path / "data")
    images = folders.split(folders.component(name), root, home)
    file = images.file(0)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData, match=f"{file.name} does not decode"):
        TrainImages(images, (40,), 100, 0, ("bbox",))[Key(0, 0, 0)]
    with pytest.raises(BadData, match=f"{file.name} does not decode"):
        ShownImages(images, 40, 100)[0]
    with pytest.raises(BadData, match=f"{file.name} does not decode"):
        folders.split(folders.component(name), root, tmp_path / "other")


MICRO = {
    "iterations": "4",
    "steps": "2,3",
    "warmup": "1",
    "batch_size": "2",
    "precise_bn": "1",
    "rois": "8",
    "proposals": "16",
    "sizes": "64,80",
    "test_size": "80",
}


def run_real(
    task: str, data: str, root: Path, home: Path, **more: str
) -> tuple[Path, dict[str, float]]:
    sets = {f"{task}.{k}": v for k, v in MICRO.items()} | more
    sets |= {"scenes.n_train": "8", "scenes.n_val": "2"}
    sets["random_init.backbone"] = "resnet18_quarter"
    cell = Cell("random_init", "image", task, "scenes", data, "tiny", 0, tuple(sets.items()))
    runtime = Runtime(home=home, database="sqlite://", workers=2, tracker="none", devices="cpu")
    planned = Planner(cell, runtime, {data: root}).plan()
    outcome = LocalEngine(runtime, Store(home), folders.Deaf()).run(Plan([planned]))
    assert not outcome.errors, outcome.errors
    assert planned.final is not None
    folder = Store(home).folder(planned.final)
    return folder, json.loads((folder / "metrics.json").read_text())


@pytest.mark.real_data
def test_voc_end_to_end(real_data: Path, home: Path) -> None:
    """The hundred images whose difficult flags are real; from nothing in four steps AP is near
    zero."""
    root = real_data / "VOCdevkit"
    sets = {"voc2012.train": "train", "voc2012.val": "extra2007"}
    folder, metrics = run_real("voc0712_det", "voc2012", root, home, **sets)
    assert set(metrics) == {"AP", "AP50", "AP75"}
    assert 0 <= metrics["AP"] < 20
    per_class = json.loads((folder / "per_class.json").read_text())
    assert 10 < len(per_class) <= 20
    assert json.loads((folder / "weights.json").read_text())["tensors_matched"] == 120


@pytest.mark.real_data
def test_real_voc_objects_score_100_against_themselves(real_data: Path, home: Path) -> None:
    root, data = real_data / "VOCdevkit", folders.component("voc2012", val="extra2007")
    images = folders.split(data, root, home, "val")
    everything = ground_truth(images)["annotations"]
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5} for a in everything
    ]
    assert sum(int(images.objects(i).difficult.sum()) for i in range(len(images))) > 10
    metrics, _ = score(images, found, VOC)
    assert metrics["AP"] == pytest.approx(100)


@pytest.mark.real_data
def test_keypoints_end_to_end(real_data: Path, home: Path) -> None:
    folder, metrics = run_real(
        "coco_keypoints",
        "coco",
        real_data / "tiny_coco",
        home,
        **{"coco_keypoints.keypoint_convs": "1"},
    )
    assert {"AP_keypoints", "AP50_keypoints", "AP_bbox"} <= set(metrics)
    assert 0 <= metrics["AP_keypoints"] < 20
    found = json.loads((folder / "detections.json").read_text())
    assert all(len(d["keypoints"]) == 51 and d["category_id"] == 1 for d in found)
    data = folders.component("coco")
    images = prepare_split(
        folders.split(data, real_data / "tiny_coco", home, "val"),
        load("task", "coco_keypoints").resolve("tiny").params,
    )
    official = json.loads(
        (real_data / "tiny_coco/annotations/person_keypoints_val2017.json").read_text()
    )["annotations"]
    labelled = [a for a in official if a["num_keypoints"] > 0]
    mine = [a for a in ground_truth(images)["annotations"] if a["num_keypoints"] > 0]
    assert len(mine) == len(labelled) > 20
    assert sorted(a["num_keypoints"] for a in mine) == sorted(a["num_keypoints"] for a in labelled)
    perfect = [
        {k: a[k] for k in ("image_id", "category_id", "bbox", "keypoints")} | {"score": 0.5}
        for a in mine
    ]
    p = load("task", "coco_keypoints").resolve("tiny").params
    assert score(images, perfect, p)[0]["AP_keypoints"] == pytest.approx(100)


def test_a_subset_is_known_from_seed_and_ids() -> None:
    ids = np.array([900, 4, 17, 58, 132, 7, 21, 33, 40, 61])
    first = choose_fraction(ids, 0.3, 0)
    assert len(first) == 3
    # not the order
    assert set(ids[first]) == {int(i) for i in np.sort(ids)[choose_fraction(np.sort(ids), 0.3, 0)]}
    assert set(ids[first]) <= set(
        ids[choose_fraction(ids, 0.6, 0)]
    )  # larger subsets hold smaller ones
    assert {tuple(choose_fraction(ids, 0.3, s)) for s in range(6)} != {tuple(first)}
    assert choose_fraction(ids, 1.0, 0).tolist() == list(range(10))
    hashed = __import__("hashlib").sha256
    assert set(ids[first]) == set(
        sorted(ids, key=lambda i: hashed(f"0/{i}".encode()).hexdigest())[:3]
    )
