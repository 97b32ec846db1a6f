"""The data set `images`: any folder, or one file, without annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts import registry
from bench.core.errors import BadData
from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from tests.core.test_store import Heard

IMAGES: Any = registry.load("data", "images")


def picture(path: Path, size: tuple[int, int], orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path, exif=exif)


def load(home: Path, root: Path, workers: int = 0):  # type: ignore[no-untyped-def]
    runtime = Runtime(home=home, database="sqlite://", workers=workers, tracker="none")
    data = IMAGES(IMAGES.Params())
    stage = data.stage(root, runtime)
    folder = LocalEngine(runtime, Store(home), Heard()).ensure(stage)
    return stage, folder, data.load(folder, root, "train")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_in_the_order_of_its_paths(home: Path, tmp_path: Path, workers: int) -> None:
    root = tmp_path / "photos"
    picture(root / "b.jpg", (30, 20), orientation=6)
    picture(root / "a" / "z.PNG", (9, 8))
    picture(root / "a" / "deep" / "er" / "y.jpeg", (5, 7))
    (root / "notes.txt").write_text("no image")
    _, folder, images = load(home, root, workers)
    assert [str(images.file(i).relative_to(root)) for i in range(len(images))] == [
        "a/deep/er/y.jpeg",
        "a/z.PNG",
        "b.jpg",
    ]
    assert images.ids.tolist() == [1, 2, 3]
    # the frame in which it is read: upright
    assert images.sizes.tolist() == [[5, 7], [9, 8], [20, 30]]
    assert [images.image(i).shape[1::-1] for i in range(3)] == [(5, 7), (9, 8), (20, 30)]
    assert images.classes == []
    assert json.loads((folder / "report.json").read_text()) == {
        "train": {"images": 3, "remarks": ["1 file that is no image is left out: 1 .txt"]}
    }
    with pytest.raises(BadData, match="images' has no annotations; try: --data coco=PATH"):
        images.objects(0)
    assert not images.has_semantic().any()


def test_a_single_file(home: Path, tmp_path: Path) -> None:
    picture(tmp_path / "one.jpg", (6, 4))
    picture(tmp_path / "other.jpg", (6, 4))
    _, _, images = load(home, tmp_path / "one.jpg")
    assert len(images) == 1
    assert images.file(0) == tmp_path / "one.jpg"


def test_the_key_follows_the_files_not_the_place(home: Path, tmp_path: Path) -> None:
    for place in ("x", "y"):
        picture(tmp_path / place / "1.jpg", (6, 4))
        picture(tmp_path / place / "2.jpg", (8, 4))
    one, two = (load(home, tmp_path / place)[0] for place in ("x", "y"))
    assert one.key == two.key
    picture(tmp_path / "y" / "3.jpg", (8, 4))
    assert load(home, tmp_path / "y")[0].key != one.key


def test_what_cannot_be_is_one_line(home: Path, tmp_path: Path) -> None:
    runtime = Runtime(home=home, database="sqlite://")
    data = IMAGES(IMAGES.Params())
    for root, message in [
        (None, "needs a path"),
        (tmp_path / "nowhere", "no image under"),
        (tmp_path, "no image under"),
    ]:
        with pytest.raises(BadData, match=message) as caught:
            data.stage(root, runtime)
        assert "\n" not in str(caught.value)
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    with pytest.raises(BadData, match=r"a\.jpg does not decode"):
        load(home, tmp_path)
    picture(tmp_path / "a.jpg", (6, 4))
    _, folder, _ = load(home, tmp_path)
    with pytest.raises(BadData, match="has the split train only, not 'val'"):
        data.load(folder, tmp_path, "val")
