"""bench data: the list, reports of damage; every set is written, checked and read alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.contracts import registry
from bench.contracts.data import HowToGet, size_text
from bench.data.runner import write_sample
from bench.data.semantic import image_labels, single_labels
from tests.data.folders import component, runtime
from tests.data.folders import make as make_stage

WITH_LAYOUT = [name for name in registry.names("data") if registry.load("data", name).sample()]  # type: ignore[attr-defined]
BOXES = {"coco", "openimages", "voc0712", "voc2007", "voc2012", "voc2012_seg"}
BOXES |= {"coco_json", "voc_layout", "yolo"}
MASKS = {"camvid", "cityscapes", "voc0712", "voc2007", "voc2012", "voc2012_seg"}

Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Bench:
    """Exit code, stdout, stderr of a command in this process."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["data", *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def settings(name: str) -> dict[str, Any]:
    cls: Any = registry.load("data", name)
    return dict(s.split("=") for s in cls.sample_settings)


@pytest.mark.parametrize("name", WITH_LAYOUT)
def test_make_check_and_load_agree(name: str, bench: Bench, tmp_path: Path, home: Path) -> None:
    root = tmp_path / "set"
    code, out, _ = bench("make", name, "--out", str(root), "--train", "10", "--val", "4")
    assert code == 0
    # the command it prints is the one that works
    check = out.strip().splitlines()[-1].removeprefix("then: bench data ").split()
    assert check[:2] == ["check", f"{name}={root}"]
    code, out, err = bench(*check, "--workers", "0", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["damage"] == []

    data, given = component(name, **settings(name)), runtime(home)
    stage, folder = make_stage(data, root, given)
    assert stage.key == report["stage"], "what was checked is what a run uses"
    for split, n in zip(data.splits, (10, 4), strict=False):
        images = data.load(folder, given.roots[stage.key], split)
        found = report["splits"][split]
        assert found["images"] == len(images) == n
        assert found.get("masks", 0) == images.has_semantic().sum()
        assert found.get("classes", 0) == len(images.classes)
        assert images.image(0).shape == (*images.sizes[0][::-1], 3)
        if name in BOXES:
            assert found["objects"] == sum(len(images.objects(i).boxes) for i in range(n)) > n
            assert found["classes_shown"] == (image_labels(images) >= 0).any(0).sum() > 1
        elif name not in MASKS | {"images"}:
            assert found["classes_shown"] == len(set(single_labels(images).tolist())) > 1
        assert (name in MASKS) == ("masks" in found)


def test_boxes_and_masks_of_voc_are_the_scenes(tmp_path: Path, home: Path) -> None:
    """Against the scenes themselves: boxes are the extents of visible pixels, which have the
    class."""
    import numpy as np

    from bench.data.scenes.draw import draw_scene

    write_sample(registry.load("data", "voc2012"), tmp_path, 3, 1)  # type: ignore[arg-type]
    given = runtime(home)
    stage, folder = make_stage(component("voc2012"), tmp_path, given)
    images = component("voc2012").load(folder, given.roots[stage.key], "train")
    for i in range(3):
        scene = draw_scene(0, i + 1)
        objects, pixels = images.objects(i), images.semantic(i)
        assert pixels is not None
        assert objects.labels.tolist() == scene.labels.tolist()
        for box, label, mask in zip(objects.boxes, scene.labels, scene.masks, strict=True):
            ys, xs = np.nonzero(mask)
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert (pixels[mask] == label + 1).all()
        assert set(np.unique(pixels[~scene.masks.any(0)])) == {0, 255}


def test_keypoints_of_coco_lie_in_their_person(tmp_path: Path, home: Path) -> None:
    write_sample(registry.load("data", "coco"), tmp_path, 12, 1)  # type: ignore[arg-type]
    given = runtime(home)
    stage, folder = make_stage(component("coco"), tmp_path, given)
    images = component("coco").load(folder, given.roots[stage.key], "train")
    assert images.classes[0] == "person"
    seen = 0
    for i in range(12):
        objects = images.objects(i)
        assert objects.keypoints is not None
        for box, label, points in zip(
            objects.boxes, objects.labels, objects.keypoints, strict=True
        ):
            assert (points[:, 2] > 0).all() == (label == 0)
            if label == 0:
                seen += 1
                assert (points[:, :2] >= box[:2]).all()
                assert (points[:, :2] < box[2:]).all()
                left, right = (
                    images.keypoint_names.index("left_hip"),
                    images.keypoint_names.index("right_hip"),
                )
                assert points[left, 0] >= points[right, 0], "a person seen from the front"
    assert seen


def test_every_damaged_image_has_its_line(bench: Bench, tmp_path: Path) -> None:
    bench("make", "cub", "--out", str(tmp_path / "set"), "--train", "4", "--val", "4")
    assert bench("check", f"cub={tmp_path / 'set'}", "--workers", "0")[0] == 0
    images = sorted((tmp_path / "set/images").rglob("*.jpg"), key=lambda f: f.stem[-4:])
    # two of train, one of val; no name or size changes, so
    for file in (images[0], images[1], images[7]):
        # the key of the whole set that was checked stays
        file.write_bytes(b"\0" * file.stat().st_size)
    code, out, _ = bench("check", f"cub={tmp_path / 'set'}", "--workers", "0")
    assert code == 2
    lines = out.splitlines()
    damaged = [line for line in lines if line.startswith("  damaged: ")]
    assert [any(str(f) in line for line in damaged) for f in images] == [
        True,
        True,
        *[False] * 5,
        True,
    ]
    assert len(damaged) == 3
    assert lines[-1] == "3 findings of damage"
    code, out, _ = bench("check", f"cub={tmp_path / 'set'}", "--workers", "0", "--json")
    assert code == 2
    assert len(json.loads(out)["damage"]) == 3


@pytest.mark.parametrize(
    ("name", "harm", "says"),
    [
        ("coco", lambda r: next((r / "val2017").glob("*.jpg")).unlink(), "lacks 1 of 3 images"),
        (
            "voc2007",
            lambda r: (r / "VOC2007/Annotations/000001.xml").write_text("<a>"),
            "000001.xml",
        ),
        ("cityscapes", lambda r: _void(next((r / "gtFine/val").rglob("*.png"))), "holds 200"),
        (
            "cifar10",
            lambda r: (r / "cifar10_jpeg.npz").write_bytes(b"PK"),
            "is damaged or is not an .npz",
        ),
        ("flowers", lambda r: (r / "setid.mat").write_bytes(b"MATLAB"), "setid.mat"),
        ("imagenet", lambda r: _cut(next((r / "val").rglob("*.JPEG"))), "truncated JPEG"),
        ("places205", lambda r: _cut(next((r / "images256").rglob("*.jpg"))), "truncated JPEG"),
        ("images", lambda r: (r / "000/000001.jpg").write_bytes(b"no image"), "000001.jpg"),
    ],
)
def test_damage_of_every_kind_ends_with_code_2(
    name: str, harm: Callable[[Path], None], says: str, bench: Bench, tmp_path: Path
) -> None:
    bench("make", name, "--out", str(tmp_path / "set"), "--train", "4", "--val", "3")
    harm(tmp_path / "set")
    code, out, err = bench("check", f"{name}={tmp_path / 'set'}", "--workers", "0")
    assert code == 2, err
    (line,) = [line for line in out.splitlines() if line.startswith("  damaged: ")]
    assert says in line
    assert "Traceback" not in err


def test_openimages_that_are_cut(bench: Bench, tmp_path: Path) -> None:
    bench("make", "openimages", "--out", str(tmp_path / "set"), "--train", "4", "--val", "3")
    for file in sorted((tmp_path / "set/train").glob("*.jpg"))[:2]:
        _cut(file)
    every = ("--set", "min_images=1", "--set", "min_classes=1", "--workers", "0")
    code, out, _ = bench("check", f"openimages={tmp_path / 'set'}", *every)
    assert code == 2
    assert sum("truncated JPEG" in line for line in out.splitlines()) == 2
    code, _, err = bench("check", f"openimages={tmp_path / 'set'}", "--workers", "0")
    assert code == 2
    assert "has 900 images; try: --set openimages.min_images=0" in err, "a setting, no damage"


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def _void(file: Path) -> None:
    import numpy as np
    from PIL import Image

    Image.fromarray(np.full(np.array(Image.open(file)).shape, 200, np.uint8), mode="L").save(file)


def test_counts_that_differ_from_the_published_ones_are_said(bench: Bench, tmp_path: Path) -> None:
    bench("make", "voc0712", "--out", str(tmp_path / "set"), "--train", "4", "--val", "3")
    code, out, _ = bench("check", f"voc0712={tmp_path / 'set'}", "--workers", "0")
    assert code == 0
    assert "  train: 4 images, but the published lists have 16,551" in out.splitlines()
    bench("make", "images", "--out", str(tmp_path / "more"), "--train", "4")
    assert "published" not in bench("check", f"images={tmp_path / 'more'}", "--workers", "0")[1]


def test_published_numbers_follow_the_settings() -> None:
    assert component("voc0712").published() == {"train": 5011 + 11540, "val": 4952}
    assert component("voc2012_seg", train="Segmentation/trainval").published() == {
        "train": 2913,
        "val": 1449,
    }
    assert component("flowers").published() == {"train": 2040, "val": 6149}
    assert component("voc2007", train="mine").published() == {"val": 4952}
    assert component("openimages").published() == {}


def test_a_split_that_is_not_there_is_said(bench: Bench, tmp_path: Path) -> None:
    bench("make", "cars", "--out", str(tmp_path / "set"), "--train", "4", "--val", "3")
    (tmp_path / "set/cars_test_annos_withlabels.mat").unlink()
    code, out, _ = bench("check", f"cars={tmp_path / 'set'}", "--workers", "0")
    assert code == 0
    assert "  val: missing" in out.splitlines()


def test_prepare_makes_the_stage_once_and_settings_count(
    bench: Bench, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench("make", "dtd", "--out", str(tmp_path / "dtd"), "--train", "4", "--val", "3")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    code, out, _ = bench("prepare", "dtd", "--workers", "0", "--json")
    assert code == 0
    first = json.loads(out)
    done = list((home / "store").rglob("done"))
    assert len(done) == 1
    stamp = done[0].stat().st_mtime_ns
    code, out, _ = bench("prepare", f"dtd={tmp_path / 'dtd'}", "--workers", "0")
    assert code == 0
    assert out.splitlines()[-1].startswith(
        f"ready: {first['stage'][:12]}; use it with --data dtd="
    )
    assert done[0].stat().st_mtime_ns == stamp
    code, out, _ = bench("prepare", "dtd", "--workers", "0", "--set", "dtd.train=train1", "--json")
    assert json.loads(out)["splits"]["train"]["images"] == 2
    code, _, err = bench("prepare", "dtd", "--set", "coco.train=train1")
    assert code == 2
    assert "unknown owner of a setting 'coco'" in err


@pytest.mark.parametrize("name", registry.names("data"))
def test_prepare_tells_what_to_get_where_a_set_is_absent(
    name: str, bench: Bench, tmp_path: Path
) -> None:
    cls: Any = registry.load("data", name)
    if not cls.needs_path:
        return
    code, out, _ = bench("prepare", f"{name}={tmp_path / 'nowhere'}")
    assert code == 2
    assert out.splitlines()[0] == f"{name} is not at {tmp_path / 'nowhere'}"
    get: HowToGet = cls.how_to_get
    for file in get.files:
        assert file in out
    assert get.site in out
    assert get.layout in out
    assert f"--data {name}=PATH" in out
    row = json.loads(bench("prepare", f"{name}={tmp_path / 'nowhere'}", "--json")[1])
    assert row["get"]["files"] == dict(get.files)
    assert row["stage"] is None


def test_generated_sets_are_prepared_without_a_path(bench: Bench, tmp_path: Path) -> None:
    few = ("--set", "n_train=3", "--set", "scenes.n_val=2", "--workers", "0")
    code, out, _ = bench("check", "scenes", *few)
    assert code == 0
    assert "train: 3 images" in out
    code, _, err = bench("make", "scenes", "--out", str(tmp_path / "set"))
    assert code == 2
    assert "has no layout to write; try: --data scenes" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("check koko", "unknown data 'koko'"),
        ("check coco", "--data coco=PATH"),
        ("check coco=/no/such/folder", "no COCO folder at /no/such/folder"),
        ("check images", "data 'images' needs a path"),
        ("check scenes=/tmp", "takes no path"),
        ("prepare voc2012 --scale huge", "unknown scale 'huge'"),
        ("make pest --out x", "did you mean 'pets'?"),
        ("make pets --out .", "not an empty folder"),
        ("make pets", "--out"),
        ("list extra", "extra"),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(
    arguments: str, message: str, bench: Bench
) -> None:
    code, _, err = bench(*arguments.split())
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_list_knows_size_tasks_and_place(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "VOCdevkit").mkdir()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    rows = {row["name"]: row for row in json.loads(bench("list", "--json")[1])}
    assert sorted(rows) == registry.names("data")
    assert rows["voc2007"]["found"]
    assert rows["voc2007"]["looked_for"] == str(tmp_path / "VOCdevkit")
    assert not rows["coco"]["found"]
    assert rows["coco"]["looked_for"] == str(tmp_path / "coco")
    assert rows["coco"]["megabytes"] == 19_241
    assert {"coco_det", "coco_keypoints"} <= set(rows["coco"]["tasks"])
    assert rows["images"]["looked_for"] is rows["scenes"]["looked_for"] is None
    text = bench("list")[1]
    assert "19.2 GB; not found at" in text
    assert f"found at {tmp_path / 'VOCdevkit'}; voc07_det" in text


def test_how_to_get_reads_after_get() -> None:
    get = HowToGet({"a.tar": 2750, "b.zip": 241, "c.mat": 0}, "example.org", "unpacked")
    assert str(get) == "a.tar (2.75 GB), b.zip (241 MB) and c.mat from example.org, unpacked"
    assert str(HowToGet(layout="any folder")) == "nothing: any folder"
    assert [size_text(mb) for mb in (0.2, 999, 1000, 561_000)] == [
        "1 MB",
        "999 MB",
        "1 GB",
        "561 GB",
    ]
