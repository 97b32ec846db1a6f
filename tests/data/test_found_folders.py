"""Folders, lists and XML as people have them: what is there is read, what is left out is named.
The kinds are those of docs/design/data.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.image import read_rgb
from bench.data.walk import walk_images
from tasks._detection.data import fit_size, resize_image
from tests.data.folders import component, make, runtime

CLASSES = ("blue", "green", "red")


def picture(number: int, size: tuple[int, int] = (24, 18)) -> Image.Image:
    return Image.fromarray(np.full((size[1], size[0], 3), 20 + number % 200, np.uint8))


def put(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {".jpeg": "JPEG", ".jpg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
    kind = kinds.get(path.suffix.lower(), path.suffix[1:].upper())
    picture(number).save(path, kind)
    return path


def index(
    name: str, root: Path, home: Path, **params: Any
) -> tuple[dict[str, ImageSet], dict[str, Any]]:
    data, given = component(name, **params), runtime(home)
    stage, folder = make(data, root, given)
    report = json.loads((folder / "report.json").read_text())
    return {s: data.load(folder, given.roots[stage.key], s) for s in report}, report


def refused(name: str, root: Path, home: Path, **params: Any) -> list[str]:
    with pytest.raises(BadData) as error:
        index(name, root, home, **params)
    return list(error.value.findings) or [str(error.value)]


# I: files that are not seen, or should not be


def write_classes(root: Path, count: int = 2) -> Path:
    for split in ("train", "val"):
        for k, name in enumerate(CLASSES):
            for i in range(count):
                put(root / split / name / f"{i:03d}.jpg", 10 * k + i)
    return root


@pytest.mark.parametrize(
    "hidden",
    [
        ".ipynb_checkpoints/0-checkpoint.jpg",
        "@eaDir/0.jpg",
        "__MACOSX/0.jpg",
        "._red/0.jpg",
        "lost+found/0.jpg",
        ".Trash-1000/files/0.jpg",
    ],
)
def test_i_hidden_folders_are_no_classes(tmp_path: Path, home: Path, hidden: str) -> None:
    root = write_classes(tmp_path / "set")
    put(root / "train" / hidden)
    splits, report = index("imagenet", root, home)
    assert splits["train"].classes == list(CLASSES)
    assert report["train"]["images"] == report["val"]["images"] == 6
    assert report["train"]["remarks"] == [f"hidden names are left out: {hidden.split('/')[0]}"]


@pytest.mark.parametrize(
    "suffix", [".PNG", ".webp", ".JPG", ".Jpeg", ".bmp", ".TIF", ".tiff", ".JPEG"]
)
def test_i_suffixes_count_in_any_case(tmp_path: Path, home: Path, suffix: str) -> None:
    root = write_classes(tmp_path / "set")
    for split in ("train", "val"):
        put(root / split / "blue" / f"x{suffix}", 70)
    splits, report = index("imagenet", root, home)
    assert len(splits["train"]) == len(splits["val"]) == 7
    assert report["train"]["remarks"] == []
    image_class = splits["train"].image_class()
    assert image_class is not None
    assert image_class.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_i_what_is_left_out_is_counted_and_named(tmp_path: Path, home: Path) -> None:
    root = write_classes(tmp_path / "set")
    (root / "train/red/labels.txt").write_text("x")
    (root / "train/red/more.txt").write_text("x")
    (root / "train/readme").write_text("x")
    (root / "train/red/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    put(root / "train/loose.jpg")
    _, report = index("imagenet", root, home)
    assert report["train"]["remarks"] == [
        "5 files that are no images are left out: 2 .txt, 1 broken link, 1 loose images, "
        "1 without a suffix"
    ]
    assert report["val"]["remarks"] == []


def test_i_classes_may_have_folders_of_their_own(tmp_path: Path, home: Path) -> None:
    root = write_classes(tmp_path / "set")
    put(root / "train/red/2021/may/a.jpg", 99)
    splits, _ = index("imagenet", root, home)
    assert len(splits["train"]) == 7


def test_l_a_class_that_only_val_has(tmp_path: Path, home: Path) -> None:
    """The cause, all of them, and no download; an empty folder says that a class is meant."""
    root = write_classes(tmp_path / "set")
    for name in (f"{CLASSES[0]}s", "unknown"):
        put(root / "val" / name / "1.jpg", 7)
    found = refused("imagenet", root, home)
    assert len(found) == 2
    assert f"has class '{CLASSES[0]}s' with 1 images, which train/ lacks" in found[0]
    assert f"(did you mean {CLASSES[0]!r}?)" in found[0]
    assert not any("ILSVRC" in line for line in found)
    for line in found:
        Path(line.rpartition("mkdir '")[2].rstrip("'")).mkdir()
    images, _ = index("imagenet", root, home)
    assert images["train"].classes == images["val"].classes
    assert images["val"].classes == sorted([*CLASSES, f"{CLASSES[0]}s", "unknown"])
    shown = {
        images["val"].classes[int(images["val"].objects(i).labels[0])]
        for i in range(len(images["val"]))
    }
    assert shown == {*CLASSES, f"{CLASSES[0]}s", "unknown"}


def elsewhere(root: Path) -> Path:
    place = root.parent / "elsewhere"
    for i in range(3):
        put(place / f"{i}.jpg", 50 + i)
    return place


def link_folder(root: Path) -> None:
    (root / "b").symlink_to(elsewhere(root))


def link_inside(root: Path) -> None:
    (root / "a/b").symlink_to(elsewhere(root))


def link_twice(root: Path) -> None:
    (root.parent / "one").symlink_to(elsewhere(root))
    (root / "b").symlink_to(root.parent / "one")


def link_files(root: Path) -> None:
    for file in sorted(elsewhere(root).iterdir()):
        (root / f"l{file.name}").symlink_to(file)


def link_loop(root: Path) -> None:
    link_folder(root)
    (root / "a/again").symlink_to(root)


LINKS: dict[str, Callable[[Path], None]] = {
    "a linked folder": link_folder,
    "a linked folder in a folder": link_inside,
    "a link to a link": link_twice,
    "linked files": link_files,
    "a loop beside them": link_loop,
}


@pytest.mark.parametrize("name", LINKS)
def test_i_links_are_followed_and_loops_end(tmp_path: Path, home: Path, name: str) -> None:
    root = tmp_path / "set"
    for i in range(2):
        put(root / f"a/{i}.jpg", i)
    LINKS[name](root)
    splits, report = index("images", root, home)
    assert len(splits["train"]) == 5
    loops = [r for r in report["train"]["remarks"] if "link to a folder around it" in r]
    assert bool(loops) == ("loop" in name)


def test_i_two_folders_that_link_to_each_other(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        put(tmp_path / f"{name}/{name}.jpg")
        (tmp_path / f"{name}/to_{other}").symlink_to(tmp_path / other)
    walk = walk_images(tmp_path)
    assert walk.files == ["a/a.jpg", "a/to_b/b.jpg", "b/b.jpg", "b/to_a/a.jpg"]


# H: values no real set has; M: XML that declares other encodings


def xml(name: str, objects: str, head: str = "") -> str:
    return (
        f"{head}<annotation><filename>{name}.png</filename><size><width>24</width>"
        f"<height>18</height><depth>3</depth></size>{objects}</annotation>"
    )


def thing(name: str, box: tuple[Any, ...]) -> str:
    sides = "".join(
        f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><difficult>0</difficult><bndbox>{sides}</bndbox></object>"


def write_voc(root: Path, make_xml: Callable[[str], bytes | str]) -> Path:
    folder = root / "VOC2007"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for number, split in enumerate(("trainval", "test")):
        names = [f"{number * 3 + i:06d}" for i in range(1, 4)]
        for name in names:
            put(folder / f"JPEGImages/{name}.jpg", int(name))
            text = make_xml(name)
            data = text.encode() if isinstance(text, str) else text
            (folder / f"Annotations/{name}.xml").write_bytes(data)
        (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(names))
    return root


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((20, 2, 3, 12), "xmin 20 is larger than xmax 3"),
        ((3, 12, 20, 2), "ymin 12 is larger than ymax 2"),
        ((20, 12, 3, 2), "xmin 20 is larger than xmax 3"),
        (("20.5", 2, "3.25", 12), "xmin 20.5 is larger than xmax 3.25"),
        ((9, 2, 7, 12), "xmin 9 is larger than xmax 7"),
    ],
)
def test_h_exchanged_corners_are_damage(
    tmp_path: Path, home: Path, box: tuple[Any, ...], words: str
) -> None:
    root = write_voc(tmp_path / "VOCdevkit", lambda name: xml(name, thing("dog", box)))
    lines = refused("voc2007", root, home)
    assert len(lines) == 6, "each file of both splits has its line"
    assert all(words in line for line in lines)


@pytest.mark.parametrize(
    "objects",
    [
        thing("dog", (2, 2, 9, 9)).replace("object>", "Object>"),
        f"<objects>{thing('dog', (2, 2, 9, 9))}</objects>",
        thing("dog", (2, 2, 9, 9)).replace("object>", "OBJECT>"),
        f"<data>{thing('dog', (2, 2, 9, 9))}</data>",
        thing("dog", (2, 2, 9, 9)) + thing("cat", (2, 2, 9, 9)).replace("object>", "Object>"),
    ],
    ids=["Object", "objects", "OBJECT", "nested", "mixed"],
)
def test_h_objects_elsewhere_are_not_taken_for_none(
    tmp_path: Path, home: Path, objects: str
) -> None:
    root = write_voc(tmp_path / "VOCdevkit", lambda name: xml(name, objects))
    assert all("the only ones that are read" in line for line in refused("voc2007", root, home))


def test_h_a_split_without_any_object_is_remarked(tmp_path: Path, home: Path) -> None:
    _, report = index("voc2007", write_voc(tmp_path / "VOCdevkit", lambda n: xml(n, "")), home)
    assert report["train"]["remarks"] == report["val"]["remarks"] == ["no object at all"]


@pytest.mark.parametrize(
    "encoding", ["GBK", "gb2312", "Shift_JIS", "EUC-KR", "Big5", "utf-16", "iso-8859-1", "UTF-8"]
)
def test_m_xml_is_decoded_as_it_declares(tmp_path: Path, home: Path, encoding: str) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    objects = thing("dog", (2, 3, 12, 13))
    root = write_voc(
        tmp_path / "VOCdevkit", lambda name: xml(name, objects, head).encode(encoding)
    )
    splits, _ = index("voc2007", root, home)
    assert splits["train"].objects(0).boxes.tolist() == [[1, 2, 12, 13]]


@pytest.mark.parametrize(
    "data",
    [
        b'<?xml version="1.0" encoding="klingon"?><annotation/>',
        b'<?xml version="1.0" encoding="GBK"?><annotation>\xff\xff</annotation>',
        b'<?xml version="1.0" encoding="UTF-8"?><annotation>\xc4\xe3</annotation>',
        b'<?xml version="1.0" encoding="GBK"?><annotation>',
        b"",
        b"{}",
    ],
    ids=["unknown", "not GBK", "not UTF-8", "cut GBK", "empty", "json"],
)
def test_m_xml_that_does_not_decode_is_one_line(tmp_path: Path, home: Path, data: bytes) -> None:
    root = write_voc(tmp_path / "VOCdevkit", lambda name: data)
    lines = refused("voc2007", root, home)
    assert len(lines) == 6
    assert all(re.search(r"annotation \S+\.xml cannot be read \(", line) for line in lines)
    assert all("\n" not in line for line in lines)


COLUMNS = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,"
    "IsDepiction,IsInside"
)


def write_openimages(root: Path, sides: tuple[Any, ...]) -> Path:
    for start, split, csv in (
        (1, "train", "oidv6-train-annotations-bbox.csv"),
        (17, "validation", "validation-annotations-bbox.csv"),
    ):
        rows = [COLUMNS]
        for i in range(3):
            name = f"{start + i:016x}"
            put(root / split / f"{name}.jpg", start + i)
            for box in ((0.25, 0.75, 0.25, 0.75), sides):
                rows.append(f"{name},x,/m/01,1,{','.join(map(str, box))},0,0,0,0,0")
        (root / csv).write_text("\n".join(rows) + "\n")
    (root / "class-descriptions-boxable.csv").write_text("/m/01,Thing\n")
    return root


SUBSET = {"min_images": 1, "min_classes": 1}


def test_h_openimages_counts_what_it_drops(tmp_path: Path, home: Path) -> None:
    root = write_openimages(tmp_path / "set", (0.5, 0.5, 0.1, 0.9))
    splits, report = index("openimages", root, home, **SUBSET)
    assert report["train"]["dropped"] == report["val"]["dropped"] == 3
    assert splits["train"].objects(0).boxes.tolist() == [[6, 4.5, 18, 13.5]]


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        ((0.75, 0.25, 0.1, 0.9), "a minimum is larger than its maximum"),
        ((0.1, 0.9, 0.8, 0.2), "a minimum is larger than its maximum"),
        ((12, 80, 4, 60), "not shares of the image in 0..1"),
        (("left", 0.9, 0.1, 0.9), "not shares of the image in 0..1"),
        (("nan", 0.9, 0.1, 0.9), "not shares of the image in 0..1"),
        (("", 0.9, 0.1, 0.9), "not shares of the image in 0..1"),
    ],
    ids=["x exchanged", "y exchanged", "pixels", "text", "nan", "empty"],
)
def test_h_openimages_boxes_that_are_none_are_refused(
    tmp_path: Path, home: Path, sides: tuple[Any, ...], words: str
) -> None:
    lines = refused("openimages", write_openimages(tmp_path / "set", sides), home, **SUBSET)
    assert len(lines) == 3
    assert all(words in line for line in lines)
    assert "bbox.csv line 3: " in lines[0]


# F: the end of a JPEG in sets of which only the header and the end are read


@pytest.mark.parametrize("behind", [0, 1, 4094, 6000, 100_000])
def test_f_what_lies_behind_the_end_of_a_jpeg_does_not_matter(
    tmp_path: Path, home: Path, behind: int
) -> None:
    root = write_classes(tmp_path / "set")
    file = root / "train/red/000.jpg"
    file.write_bytes(file.read_bytes() + b"\0" * behind)
    assert len(index("imagenet", root, home)[0]["train"]) == 6
    file.write_bytes(file.read_bytes().partition(b"\xff\xd9")[0] + b"\0" * behind)
    assert "has no end, a truncated JPEG" in refused("imagenet", root, tmp_path / "other")[0]


# O: elongated pictures


@pytest.mark.parametrize(
    ("width", "height"), [(4000, 3), (3, 4000), (10_000, 1), (1, 10_000), (30_000, 20), (2, 5000)]
)
def test_o_a_side_has_at_least_one_pixel(width: int, height: int) -> None:
    size = fit_size(width, height, 112, 224)
    assert min(size) >= 1
    assert max(size) == 224
    assert resize_image(np.zeros((height, width, 3), np.uint8), size).shape == (3, *size[::-1])


def test_the_usual_sizes_are_as_before() -> None:
    assert fit_size(640, 480, 800, 1333) == (1067, 800)
    assert fit_size(1200, 3, 800, 1333) == (1333, 3)


def test_h_float_tiffs_of_a_folder_are_not_black(tmp_path: Path, home: Path) -> None:
    levels = np.linspace(0, 1, 80, dtype=np.float32).reshape(8, 10)
    for i in range(2):
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(levels * (i + 1) / 2).save(tmp_path / "set" / f"{i}.tif")
    splits, _ = index("images", tmp_path / "set", home)
    assert [int(read_rgb(splits["train"].file(i)).max()) for i in range(2)] == [128, 255]
