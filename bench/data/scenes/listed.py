"""Generated scenes in the layouts of the sets with published lists; every image has one class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.scenes.classes import CLASSES
from bench.data.scenes.layouts import Drawn, draw_scenes, put

NAMES = [name.replace(" ", "_") for name in CLASSES]


def write_lines(file: Path, *rows: str) -> None:
    """A text file of one row a line."""
    put(file, "".join(f"{row}\n" for row in rows).encode())


def halves(scenes: list[Drawn]) -> tuple[list[Drawn], list[Drawn]]:
    """The first half, rounded up, and the rest."""
    cut = (len(scenes) + 1) // 2
    return scenes[:cut], scenes[cut:]


def write_cub(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """CUB-200-2011 with 20 species."""
    scenes = _scenes(n_train, n_val, seed)
    files = [f"{d.label + 1:03d}.{NAMES[d.label]}/{NAMES[d.label]}_{n:04d}.jpg" for n, d in scenes]
    for (_, d), file in zip(scenes, files, strict=True):
        put(root / "images" / file, d.jpeg())
    write_lines(root / "images.txt", *(f"{n} {file}" for n, file in enumerate(files, 1)))
    write_lines(
        root / "classes.txt", *(f"{k:d} {k:03d}.{name}" for k, name in enumerate(NAMES, 1))
    )
    write_lines(root / "image_class_labels.txt", *(f"{n} {d.label + 1}" for n, d in scenes))
    write_lines(root / "train_test_split.txt", *(f"{n} {int(n <= n_train)}" for n, _ in scenes))


def write_flowers(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Oxford Flowers 102, of which 20 are there;
    half of the training images are the list `valid`."""
    from scipy.io import savemat

    scenes = _scenes(n_train, n_val, seed)
    for n, d in scenes:
        put(root / f"jpg/image_{n:05d}.jpg", d.jpeg())
    savemat(
        root / "imagelabels.mat",
        {"labels": np.array([[d.label + 1 for _, d in scenes]], np.uint8)},
    )
    ends = np.split(np.arange(1, len(scenes) + 1), [(n_train + 1) // 2, n_train])
    sets = {name: ids[None] for name, ids in zip(("trnid", "valid", "tstid"), ends, strict=True)}
    savemat(root / "setid.mat", sets)


def cars_table(rows: list[tuple[str, int | None]]) -> dict[str, np.ndarray]:
    """The struct array of the Cars devkit, with a box; rows (file, class from 1). Without classes
    it is as in `cars_test_annos.mat`."""
    fields = [
        *(f"bbox_{side}" for side in ("x1", "y1", "x2", "y2")),
        *(["class"] if rows[0][1] is not None else []),
        "fname",
    ]
    table = np.zeros((1, len(rows)), [(name, object) for name in fields])
    for i, (name, label) in enumerate(rows):
        table[0, i] = (1, 1, 30, 30, *([label] if label is not None else []), name)
    return {"annotations": table}


def write_cars(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Stanford Cars with 20 models, the labels of the test images beside the devkit."""
    from scipy.io import savemat

    (root / "devkit").mkdir(parents=True, exist_ok=True)
    names: Any = np.empty((1, len(CLASSES)), object)
    names[0] = CLASSES
    savemat(root / "devkit/cars_meta.mat", {"class_names": names})
    places = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for (part, place), scenes in zip(places.items(), _sides(n_train, n_val, seed), strict=True):
        rows: list[tuple[str, int | None]] = []
        for n, d in enumerate(scenes, 1):
            put(root / f"cars_{part}/{n:05d}.jpg", d.jpeg())
            rows.append((f"{n:05d}.jpg", d.label + 1))
        savemat(root / place, cars_table(rows))


def write_aircraft(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """FGVC-Aircraft with 20 variants, and 20 white rows where the originals have a credit line."""
    train, val = _sides(n_train, n_val, seed)
    one, other = halves(train)
    for d in (*train, *val):
        put(root / f"data/images/{d.number:07d}.jpg", d.jpeg(foot=20))
    write_lines(root / "data/variants.txt", *CLASSES)
    for part, scenes in (("train", one), ("val", other), ("trainval", train), ("test", val)):
        write_lines(
            root / f"data/images_variant_{part}.txt",
            *(f"{d.number:07d} {CLASSES[d.label]}" for d in scenes),
        )


def write_indoor67(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """MIT Indoor 67 with the rooms that are shown."""
    parts = zip(("TrainImages.txt", "TestImages.txt"), _sides(n_train, n_val, seed), strict=True)
    for name, scenes in parts:
        files = [f"{NAMES[d.label]}/{NAMES[d.label]}_{d.number}.jpg" for d in scenes]
        for d, file in zip(scenes, files, strict=True):
            put(root / "Images" / file, d.jpeg())
        write_lines(root / name, *files)


def write_pets(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Oxford-IIIT Pets with the breeds that are shown, numbered without gaps."""
    sides = _sides(n_train, n_val, seed)
    breeds = sorted({d.label for scenes in sides for d in scenes})
    seen = Counter[int]()
    for part, scenes in zip(("trainval", "test"), sides, strict=True):
        rows = []
        for d in scenes:
            seen[d.label] += 1
            name = f"{NAMES[d.label]}_{seen[d.label]}"
            put(root / f"images/{name}.jpg", d.jpeg())
            rows.append(f"{name} {breeds.index(d.label) + 1} 1 1")
        write_lines(root / f"annotations/{part}.txt", *rows)


def write_dtd(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Describable Textures, division 1; half of the training images are the list `val1`."""
    train, val = _sides(n_train, n_val, seed)
    one, other = halves(train)
    seen = Counter[int]()
    for part, scenes in (("train1", one), ("val1", other), ("test1", val)):
        files = []
        for d in scenes:
            seen[d.label] += 1
            files.append(f"{NAMES[d.label]}/{NAMES[d.label]}_{seen[d.label]:04d}.jpg")
            put(root / "images" / files[-1], d.jpeg())
        write_lines(root / f"labels/{part}.txt", *files)


def _sides(n_train: int, n_val: int, seed: int) -> tuple[list[Drawn], list[Drawn]]:
    return list(draw_scenes("train", n_train, seed)), list(draw_scenes("val", n_val, seed))


def _scenes(n_train: int, n_val: int, seed: int) -> list[tuple[int, Drawn]]:
    """All scenes numbered from 1, those of train first."""
    sides: Iterable[list[Drawn]] = _sides(n_train, n_val, seed)
    return list(enumerate((d for scenes in sides for d in scenes), 1))
