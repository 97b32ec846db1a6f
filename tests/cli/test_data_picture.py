"""bench data check --picture: a sheet of random images with their boxes and class names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import BadData
from bench.core.picture import PALETTE
from bench.data.sheet import CELL, COUNT, TITLE, draw_image, draw_sheet
from tests.cli.conftest import Bench
from tests.data.own import Picture, coco, open_set, pictures, put_json, save

NAMES = ("Kätzchen", "fork lift")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """32 x 24 pixels, so that a cell shows it ten times as large; one box of each class."""
    boxes = (("fork lift", 2, 4, 12, 14), ("Kätzchen", 16, 6, 30, 20))
    folder = tmp_path / "set"
    files = {}
    for i in range(20):
        picture = Picture(f"p{i:02d}", (32, 24), boxes if i else ())
        save(folder / f"{picture.name}.png", Picture(picture.name, (32, 24), ()))
        files[f"{picture.name}.png"] = picture
    put_json(folder / "all.json", coco(files, names=NAMES))
    return folder


def test_boxes_lie_where_the_annotations_say_in_the_colour_of_the_class(
    root: Path, home: Path
) -> None:
    images = open_set("coco_json", root, home)
    shown, plain = draw_image(images, 1), draw_image(images, 0)
    assert shown.shape == (CELL[1] + TITLE, CELL[0], 3)
    for label, (x1, y1, x2, y2) in ((1, (2, 4, 12, 14)), (0, (16, 6, 30, 20))):
        right, bottom = 10 * x2 - 1, 10 * y2 - 1 + TITLE
        for x, y in ((right, 10 * y1 + TITLE + 50), (10 * x1 + 50, bottom), (right, bottom)):
            assert tuple(shown[y, x]) == PALETTE[label]
            assert tuple(plain[y, x]) == (40, 40, 40)
        assert tuple(shown[bottom + 2, right]) == (40, 40, 40)
    # the name stands in a field of the colour, in the corner of its box
    field = shown[10 * 4 + TITLE + 1 : 10 * 4 + TITLE + 14, 22:70].reshape(-1, 3)
    assert (field == PALETTE[1]).all(1).mean() > 0.4
    assert (field.max(1) < 60).mean() > 0.05, "black letters"


def test_a_seed_chooses_images_of_every_split(root: Path, home: Path) -> None:
    images = open_set("coco_json", root, home)
    sheet = draw_sheet([images, images], 3)
    assert np.array_equal(sheet, draw_sheet([images, images], 3))
    assert not np.array_equal(sheet, draw_sheet([images, images], 4))
    assert sheet.shape[0] == 2 * COUNT // 4 * (CELL[1] + TITLE + 6)
    assert sheet.shape[1] == 4 * (CELL[0] + 6)


def test_the_command_ends_with_the_picture(bench: Bench, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    code, out, err = bench(
        "data", "check", f"coco_json={root}", "--workers", "0", "--picture", str(file)
    )
    assert code == 0, err
    assert f"picture: {file}" in out.splitlines()
    with Image.open(file) as picture:
        assert picture.size == (4 * (CELL[0] + 6), 3 * (CELL[1] + TITLE + 6))
    file.unlink()
    (root / "p03.png").write_bytes(b"no image")
    code, out, _ = bench(
        "data", "check", f"coco_json={root}", "--workers", "0", "--picture", str(file)
    )
    assert code == 2
    assert not file.exists(), "damage has its lines, and no picture"


def test_sets_without_boxes_are_shown_too(tmp_path: Path, home: Path) -> None:
    for p in pictures("train"):
        save(tmp_path / "pics" / f"{p.name}.png", p)
    images = open_set("images", tmp_path / "pics", home)
    with pytest.raises(BadData):
        images.objects(0)
    assert draw_sheet([images]).shape == (CELL[1] + TITLE + 6, 4 * (CELL[0] + 6), 3)


@pytest.mark.parametrize("file", ["out.jpg", "no/such/folder/out.png"])
def test_a_picture_that_cannot_be_written_is_said_first(
    file: str, bench: Bench, root: Path, tmp_path: Path
) -> None:
    command = ("data", "check", f"coco_json={root}", "--picture", str(tmp_path / file))
    code, out, err = bench(*command)
    assert code == 2
    assert not out
    assert "--picture" in err
    assert len(err.strip().splitlines()) == 1
