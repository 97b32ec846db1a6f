"""bench data split: lists of train and val, whole groups, the same for the same seed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import BadInput
from bench.data.divide import divide, group_names
from tests.cli.conftest import Bench
from tests.data.own import Picture, check_truth, coco, open_set, pictures, put_json, put_text, save
from tests.data.test_own_voc import put as put_voc
from tests.data.test_own_yolo import LISTED, NUMBERED
from tests.data.test_own_yolo import put as put_yolo

MADE = [
    Picture(f"cam{k}/shot {k}_frame{i:03d}", p.size, p.boxes)
    for k in range(5)
    for i, p in enumerate(pictures("train", 4))
]
FLAT = [Picture(p.name.rpartition("/")[2], p.size, p.boxes) for p in MADE]


def write_coco(root: Path) -> None:
    for p in MADE:
        save(root / "pics" / f"{p.name}.png", p)
    put_json(
        root / "all.json", coco({f"{p.name}.png": p for p in MADE}) | {"info": {"year": 2031}}
    )


def write_voc(root: Path) -> None:
    put_voc(root / "Annotations", root / "images", FLAT)


def write_yolo(root: Path) -> None:
    put_yolo(root / "images", root / "labels", FLAT)
    put_text(
        root / "classes.txt", LISTED.removeprefix("names: [").replace("]", "").replace(", ", "\n")
    )


SETS: dict[str, Callable[[Path], None]] = {
    "coco_json": write_coco,
    "voc_layout": write_voc,
    "yolo": write_yolo,
}


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


@pytest.mark.parametrize("name", SETS)
def test_a_divided_set_is_read_by_the_command_that_is_printed(
    name: str,
    bench: Bench,
    tmp_path: Path,
    home: Path,
) -> None:
    root = tmp_path / "our set"
    SETS[name](root)
    before = snapshot(root)
    code, out, err = bench("data", "split", f"{name}={root}", "--val", ".3")
    assert code == 0, err
    after = snapshot(root)
    new = set(after) - set(before)
    assert {Path(f).parent.as_posix() for f in new} == {"splits/val0.3-seed0"}
    assert {f: after[f] for f in before} == before, "nothing that was there is changed"
    words = shlex.split(out.splitlines()[-1].removeprefix("then: "))
    assert words[:4] == ["bench", "data", "add", "NAME"]
    assert bench(*["ours" if w == "NAME" else w for w in words[1:]])[0] == 0
    code, out, _ = bench("data", "check", "ours", "--workers", "0", "--json")
    report = json.loads(out)
    assert code == 0
    assert {s: r["images"] for s, r in report["splits"].items()} == {"train": 14, "val": 6}
    settings = dict(
        w.split("=", 1) for w in words if "=" in w and w.split("=")[0] in ("train", "val", "yaml")
    )
    parts = [open_set(name, root, home, split, **settings) for split in ("train", "val")]
    stems = [{images.file(i).stem for i in range(len(images))} for images in parts]
    assert not stems[0] & stems[1]
    for images, those in zip(parts, stems, strict=True):
        check_truth(images, [p for p in FLAT if p.name in those], 1e-3)
    if name == "coco_json":
        list_ = json.loads((root / "splits/val0.3-seed0/val.json").read_text())
        assert list_["info"] == {"year": 2031}


def test_groups_stay_together_and_seeds_differ(
    bench: Bench,
    tmp_path: Path,
) -> None:
    root = tmp_path / "set"
    write_coco(root)

    def cameras(seed: int) -> tuple[set[str], set[str]]:
        command = ("data", "split", f"coco_json={root}", "--val", ".2", "--seed", str(seed))
        code, out, err = bench(*command, "--group", r"(.*)_frame\d+", "--json")
        assert code == 0, err
        report = json.loads(out)
        assert (report["groups"], report["images"]) == (5, {"train": 16, "val": 4})
        folder = Path(report["folder"])
        content = [json.loads((folder / f"{s}.json").read_text()) for s in ("train", "val")]
        train, val = ({i["file_name"].split("/")[0] for i in c["images"]} for c in content)
        return train, val

    chosen = [cameras(seed) for seed in range(6)]
    assert all(len(train) == 4 and len(val) == 1 and not train & val for train, val in chosen)
    assert len({next(iter(val)) for _, val in chosen}) > 1
    assert chosen == [cameras(seed) for seed in range(6)], "and the same again"


def test_the_choice_is_near_the_share_and_hardly_moves_with_more_images() -> None:
    names = [f"{i}.png" for i in range(1000)]
    parts = divide(group_names(names, None), 0.2, 0)
    assert len(parts["val"]) == 200
    assert parts["train"] + parts["val"] != names
    assert sorted(parts["train"] + parts["val"]) == sorted(names)
    more = divide(group_names([*names, "new.png"], None), 0.2, 0)
    assert len(set(parts["val"]) ^ set(more["val"])) <= 2
    groups = {"large": ["a"] * 90, "small": ["b"] * 9, "one": ["c"]}
    for seed in range(5):
        assert set(divide(groups, 0.1, seed)["val"]) == {"b", "c"}
    assert set(divide({"a": ["a"] * 5, "b": ["b"] * 6}, 0.01, 1)["val"]) == {"a"}
    assert set(divide({"a": ["a"] * 5, "b": ["b"] * 6}, 0.99, 1)["train"]) in ({"a"}, {"b"})
    with pytest.raises(BadInput, match="1 group of images cannot be divided"):
        divide({"a": ["x", "y"]}, 0.5, 0)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--group", "("), "--group is a regular expression"),
        (("--group", "cam(9)"), "is of no group"),
        (("--group", "shot"), "1 group of images cannot be divided"),
        (("--out", "/tmp/x"), "--out: '/tmp/x' is absolute"),
        (("--out", "../x"), "leads out of its folder"),
        (("--val", "1.5"), "1.5 is not in the range"),
        (("--set", "coco_json.train=none.json"), "there is no file 'none.json'"),
        (("--set", "coco_json.val=all.json"), "has a val of 20 images"),
    ],
)
def test_bad_input_writes_nothing(
    more: tuple[str, ...],
    says: str,
    bench: Bench,
    tmp_path: Path,
) -> None:
    write_coco(tmp_path / "set")
    before = snapshot(tmp_path / "set")
    code, _, err = bench("data", "split", f"coco_json={tmp_path / 'set'}", "--val", ".2", *more)
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert snapshot(tmp_path / "set") == before


def test_lists_of_others_are_left_as_they_are(bench: Bench, tmp_path: Path) -> None:
    write_voc(tmp_path)
    put_text(tmp_path / "mine" / "val.txt", "mine\n")
    command = ("data", "split", f"voc_layout={tmp_path}", "--val", ".2", "--out", "mine")
    code, _, err = bench(*command)
    assert code == 2
    assert "is there with another content" in err
    assert not (tmp_path / "mine" / "train.txt").exists()
    code, _, err = bench("data", "split", "scenes", "--val", ".2")
    assert code == 2
    assert "cannot be divided, only coco_json, voc_layout, yolo can" in err


def test_names_of_another_description_stay(
    bench: Bench,
    tmp_path: Path,
    home: Path,
) -> None:
    """A yolo set whose train is another data.yaml keeps that one's names."""
    put_yolo(tmp_path / "a" / "images", tmp_path / "a" / "labels", FLAT)
    put_text(tmp_path / "a" / "ours.yaml", f"train: images\n{NUMBERED}")
    put_text(tmp_path / "data.yaml", "train: none\nnames: [x]\n")
    command = ("data", "split", f"yolo={tmp_path}", "--val", ".2", "--set", "train=a/ours.yaml")
    code, out, err = bench(*command, "--json")
    assert code == 0, err
    settings = {k.removeprefix("yolo."): v for k, v in json.loads(out)["settings"].items()}
    images = open_set("yolo", tmp_path, home, "val", **settings)
    stems = {images.file(i).stem for i in range(len(images))}
    check_truth(images, [p for p in FLAT if p.name in stems], 1e-3)
