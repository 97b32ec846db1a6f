"""Classification by fine-tuning: crops, batches and subsets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision.transforms import v2

from bench.contracts.registry import load
from bench.core.errors import BadInput
from tasks._classification.data import TestCrops, TrainCrops
from tasks._classification.subset import choose_balanced, read_listed
from tasks._shared.finetune import StepBatches
from tests.small_set import SmallSet
from tests.tasks.classification import small


def test_batches_from_any_step_are_the_same_and_cover_every_image() -> None:
    whole = list(StepBatches(np.arange(10), 4, 9, 3, 0))
    assert list(StepBatches(np.arange(10), 4, 9, 3, 5)) == whole[5:]
    seen = [k.index for keys in whole for k in keys]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))
    assert seen[:10] != seen[10:20]
    assert len({(k.step, k.place) for keys in whole for k in keys}) == 36
    many = next(iter(StepBatches(np.arange(3), 8, 1, 0, 0)))
    assert Counter(k.index for k in many).most_common()[-1][1] >= 2, (
        "a set smaller than a batch repeats"
    )


def test_a_training_crop_shows_its_image_flipped_half_of_the_time(tmp_path: Path) -> None:
    labelled = small(tmp_path, 3)
    width, height = labelled.images.sizes[1]
    whole = F.interpolate(
        torch.from_numpy(labelled.images.image(1).transpose(2, 0, 1).copy())[None],
        (32, 32),
        mode="bilinear",
        antialias=True,
    )[0]
    crops = TrainCrops(labelled, 32, 1.0, 0)
    flips = 0
    for keys in StepBatches(np.arange(3), 3, 40, 0, 0):
        key = next(k for k in keys if k.index == 1)
        crop, target = crops[key]
        assert crop.dtype == torch.uint8
        assert int(target) == labelled.targets[1]
        assert torch.equal(crop, whole) or torch.equal(crop, whole.flip(-1))
        flips += torch.equal(crop, whole.flip(-1))
    assert 8 < flips < 32
    assert width > height


def test_crops_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    labelled = small(tmp_path, 5)
    found = []
    for workers in (0, 2):
        data = TrainCrops(labelled, 24, 0.08, 1)
        order = StepBatches(np.arange(5), 4, 3, 1, 0)
        found.append(
            list(torch.utils.data.DataLoader(data, batch_sampler=order, num_workers=workers))
        )
    for (crops, targets), (others, wanted) in zip(*found, strict=True):
        assert torch.equal(crops, others)
        assert torch.equal(targets, wanted)


def test_a_test_crop_is_torchvisions(tmp_path: Path) -> None:
    labelled = small(tmp_path, 2)
    found = TestCrops(labelled, 36, 32)[1]
    shown = v2.Compose([v2.Resize(36), v2.CenterCrop(32)])(
        Image.fromarray(labelled.images.image(1))
    )
    expected = np.asarray(shown).transpose(2, 0, 1).astype(int)
    assert np.abs(found.numpy().astype(int) - expected).max() <= 1


def test_a_balanced_draw_takes_equal_numbers_while_classes_last() -> None:
    labels = np.repeat([0, 1, 2], [50, 50, 4])
    for total, wanted in ((3, [1, 1, 1]), (12, [4, 4, 4]), (14, [5, 5, 4]), (104, [50, 50, 4])):
        places = choose_balanced(labels, total, 0)
        assert len(set(places.tolist())) == total
        assert np.bincount(labels[places], minlength=3).tolist() == wanted
    four = [tuple(np.bincount(labels[choose_balanced(labels, 4, seed)])) for seed in range(40)]
    assert set(four) == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}, "which class gives one more is drawn"
    assert np.array_equal(choose_balanced(labels, 12, 0), choose_balanced(labels, 12, 0))
    assert not np.array_equal(choose_balanced(labels, 12, 0), choose_balanced(labels, 12, 1))
    firsts = Counter(int(choose_balanced(labels, 3, seed)[0]) for seed in range(200))
    assert len(firsts) > 40, "any image of a class can be the first"


def test_imagenets_shares_have_the_published_sizes() -> None:
    """SimCLR's lists hold 12,811 and 128,116 of the 1,281,167 images."""
    for name, size in (("imagenet_1pct", 12_811), ("imagenet_10pct", 128_116)):
        p: Any = load("task", name).resolve("paper").params
        assert int(p.fraction * 1_281_167) == size
    labels = np.repeat(np.arange(1000), 1300)
    counts = np.bincount(labels[choose_balanced(labels, 12_811, 0)])
    assert sorted(set(counts.tolist())) == [12, 13]
    assert int((counts == 13).sum()) == 811


def place(tmp_path: Path, text: str | bytes, name: str = "list.txt") -> Path:
    folder = tmp_path / "stage"
    folder.mkdir(exist_ok=True)
    (folder / "stage.json").write_text("{}")
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_a_list_names_images_by_name_or_path(tmp_path: Path) -> None:
    """Lines as in SimCLR's file (a name), and in lists with folder and label."""
    images = SmallSet(tmp_path, 6)
    positions = np.array([1, 2, 4, 5])
    folder = place(tmp_path, "5.png\n\nsome/folder/2.png 17\n")
    assert read_listed(images, positions, folder, "t.subset").tolist() == [1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "5.png\n0.png\n",
            r"t\.subset: 1 of 2 names are no training image of small, the first is '0.png'",
        ),
        ("5.png\n5.png\n", "list.txt names 5.png twice"),
        ("\n", "names no image"),
        (b"\xff\xfe\x00", "is no text file"),
    ],
)
def test_lists_that_are_none(text: str | bytes, message: str, tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 6)
    with pytest.raises(BadInput, match=message):
        read_listed(images, np.array([1, 2, 4, 5]), place(tmp_path, text), "t.subset")
    place(tmp_path, "5.png\n", "other.txt")
    with pytest.raises(BadInput, match="must be one file, not a folder of 2"):
        read_listed(images, np.array([1, 2, 4, 5]), tmp_path / "stage", "t.subset")
