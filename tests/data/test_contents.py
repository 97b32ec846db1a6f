"""Images replaced by others: under the same names, sizes and time stamps, at any moment, the
numbers of one are never those of the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.data import Data
from bench.core.errors import BadData
from bench.core.files import hash_file
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.data import contents, files
from bench.data.contents import Hashes, identify, read_hashes
from bench.data.files import ignore_remembered
from bench.data.runner import write_sample
from bench.launch.local import LocalEngine, Silent
from tests.data.test_remembered_hashes import swap_keeping_time, write_keeping_time

SETS = ["images", "imagenet", "openimages", "coco", "voc2007", "cityscapes", "flowers"]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file may be remembered at once, as if it were old."""
    monkeypatch.setattr(files, "SETTLED_NS", -(10**12))


def runtime(home: Path) -> Runtime:
    return Runtime(home=home, database="sqlite://", tracker="none", devices="cpu", workers=0)


def component(name: str) -> Data:
    cls: Any = registry.load("data", name)
    settings = dict(s.split("=") for s in cls.sample_settings)
    made: Data = cls.resolve("tiny", settings)
    return made


def make(data: Data, root: Path, home: Path) -> Stage:
    """Plan the set at `root` and make its index."""
    run = runtime(home)
    stage = identify(data, root, run)
    LocalEngine(run, Store(home), Silent()).ensure(stage)
    return stage


def plan(data: Data, root: Path, home: Path) -> str:
    return identify(data, root, runtime(home)).key


def pictures(data: Data, stage: Stage, root: Path, home: Path) -> list[Path]:
    """The files of the training images."""
    folder = Store(home).folder(stage)
    images = data.load(folder, root, "train")
    return [images.file(i) for i in range(len(images))]


def other_pixels(file: Path) -> bytes:
    """Another image in a file of the same size."""
    size = file.stat().st_size
    with Image.open(file) as image:
        turned = Image.fromarray(255 - np.asarray(image.convert("RGB")))
        for quality in range(90, 0, -10):
            part = file.with_name("other" + file.suffix)
            turned.save(part, quality=quality)
            content = part.read_bytes()
            part.unlink()
            if len(content) <= size:
                return content + b"\0" * (size - len(content))  # decoders stop at the end
    raise AssertionError("no image of that size")


CHANGES = [write_keeping_time, swap_keeping_time]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", SETS)
def test_one_other_image_is_another_set(
    name: str, change: Callable[[Path, bytes], None], home: Path, tmp_path: Path
) -> None:
    data, root = component(name), tmp_path / "set"
    write_sample(type(data), root, 6, 3)
    first = make(data, root, home)
    assert plan(data, root, home) == first.key
    file = pictures(data, first, root, home)[2]
    before = file.read_bytes()
    change(file, other_pixels(file))
    second = make(data, root, home)
    assert second.key != first.key
    assert "images" in second.params
    assert plan(data, root, home) == second.key
    change(file, before)
    assert plan(data, root, home) == first.key, "the first content has its key again"


def test_all_images_of_a_folder_replaced_by_others_are_seen(home: Path, tmp_path: Path) -> None:
    """Uncompressed images always keep their size."""
    root = tmp_path / "set"
    root.mkdir()
    for n in range(5):
        Image.new("RGB", (40, 30), (n, 0, 0)).save(root / f"{n}.bmp")
    data = component("images")
    first = make(data, root, home)
    for n in range(5):
        Image.new("RGB", (40, 30), (0, n + 1, 0)).save(root / f"{n}.bmp")
    assert plan(data, root, home) != first.key


def test_a_copy_elsewhere_and_new_time_stamps_are_the_same_set(home: Path, tmp_path: Path) -> None:
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 5, 2)
    first = make(data, root, home)
    for file in root.rglob("*"):
        os.utime(file)
    assert plan(data, root, home) == first.key
    shutil.copytree(root, tmp_path / "copy")
    assert plan(data, tmp_path / "copy", home) == first.key


def test_only_changed_images_are_read_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 8, 2)
    stage = make(data, root, home)
    reads: list[Path] = []

    def count(file: Path) -> str:
        reads.append(file)
        return hash_file(file)

    monkeypatch.setattr(contents, "hash_file", count)
    assert plan(data, root, home) == stage.key
    assert reads == [], "hashed when the index was made"
    listed = pictures(data, stage, root, home)
    os.utime(listed[3])
    assert plan(data, root, home) == stage.key
    assert reads == [listed[3]]
    plan(data, root, home)
    assert reads == [listed[3]]
    with ignore_remembered():
        plan(data, root, home)
    assert len(reads) == 1 + len(listed), "bench data check reads every file"


def test_a_file_that_has_just_changed_is_read_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next change may have the same time."""
    monkeypatch.setattr(files, "SETTLED_NS", 2 * 10**9)
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 4, 2)
    stage = make(data, root, home)
    file = pictures(data, stage, root, home)[0]
    real, stat = os.stat, os.stat(file)
    file.write_bytes(other_pixels(file))

    def same_times(path: Any, **how: Any) -> os.stat_result:
        return stat if str(path) == str(file) else real(path, **how)

    monkeypatch.setattr(contents.os, "stat", same_times)
    assert plan(data, root, home) != stage.key


def test_the_record_outlives_the_index(home: Path, tmp_path: Path) -> None:
    """`bench gc --stages` and `--force` may delete the index; results under its key remain."""
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 5, 2)
    first = make(data, root, home)
    file = pictures(data, first, root, home)[1]
    Store(home).discard(first)
    shutil.rmtree(home / "cache")
    swap_keeping_time(file, other_pixels(file))
    assert plan(data, root, home) != first.key


def test_hashes_are_sha256sums(home: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    names = ["a b.png", "new\nline.png", "back\\slash.png", "größe.png", "x/y.png"]
    (root / "x").mkdir()
    for n, name in enumerate(names):
        Image.new("RGB", (8, 8), (n, n, n)).save(root / name)
    stage = make(component("images"), root, home)
    file = Store(home).folder(stage) / "images.sha256"
    subprocess.run(["sha256sum", "--check", "--strict", file], cwd=root, check=True)
    hashes = read_hashes(file)
    assert hashes is not None
    assert hashes.names == sorted(names)
    assert hashes.lines() == file.read_bytes()
    for name, sha in zip(hashes.names, hashes.shas, strict=True):
        assert sha.tobytes().hex() == hash_file(root / name)


@pytest.mark.parametrize("content", [b"", b"ab", b"zz  a\n", b"\x00" * 40, b"ab  a\n"])
def test_a_torn_record_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    with pytest.raises(BadData, match="is damaged") as caught:
        read_hashes(file)
    assert "\n" not in str(caught.value)
    assert read_hashes(tmp_path / "none") is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x93NUMPY"])
def test_a_torn_cache_costs_the_hashing_again(home: Path, tmp_path: Path, content: bytes) -> None:
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 4, 2)
    stage = make(data, root, home)
    (cache,) = (home / "cache" / "images").iterdir()
    cache.write_bytes(content)
    assert plan(data, root, home) == stage.key


def swap_while_it_is_made(ctx: StageContext) -> None:
    """A stage on images, one of which is replaced while it is made."""
    file = Path(ctx.params["swap"])
    if ctx.params["now"]:
        swap_keeping_time(file, other_pixels(file))
    (ctx.work / "out.txt").write_text("made")


def test_a_stage_whose_images_are_replaced_while_it_is_made_is_dropped(
    home: Path, tmp_path: Path
) -> None:
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 5, 2)
    run = runtime(home)
    source = identify(data, root, run)
    engine = LocalEngine(run, Store(home), Silent())
    engine.ensure(source)
    file = pictures(data, source, root, home)[0]
    here = "tests.data.test_contents:swap_while_it_is_made"
    calm = Stage("toy", "a", 1, {"swap": str(file), "now": False}, here, {"data": source})
    assert (engine.ensure(calm) / "out.txt").exists()
    upset = Stage("toy", "b", 1, {"swap": str(file), "now": True}, here, {"x": calm})
    with pytest.raises(BadData, match=r"changed since this run began; run the same command"):
        engine.ensure(upset)
    assert not Store(home).has(upset)
    assert not list((home / "work").iterdir()), "nobody knows what it was made from"


def lose_the_folder(ctx: StageContext) -> None:
    """A stage at whose end the images' folder is away, as a file system that is not mounted."""
    (ctx.scratch / "checkpoint.pt").write_text("days of training")
    folder = Path(ctx.params["folder"])
    folder.rename(folder.with_name("away"))


def test_work_stays_where_the_images_cannot_be_read_at_its_end(home: Path, tmp_path: Path) -> None:
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 5, 2)
    run = runtime(home)
    source = identify(data, root, run)
    engine = LocalEngine(run, Store(home), Silent())
    engine.ensure(source)
    here = "tests.data.test_contents:lose_the_folder"
    stage = Stage("toy", "c", 1, {"folder": str(root)}, here, {"data": source})
    with pytest.raises(BadData):
        engine.ensure(stage)
    assert not Store(home).has(stage)
    assert list((home / "work").glob("*/_scratch/checkpoint.pt"))


def test_images_replaced_while_their_index_is_made_are_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index of a content that is known already, and a swap between plan and making."""
    data, root = component("images"), tmp_path / "set"
    write_sample(type(data), root, 5, 2)
    first = make(data, root, home)
    file = pictures(data, first, root, home)[0]
    swap_keeping_time(file, other_pixels(file))
    run = runtime(home)
    second = identify(data, root, run)
    other = pictures(data, first, root, home)[1]
    swap_keeping_time(other, other_pixels(other))
    with pytest.raises(BadData, match="changed since this run began"):
        LocalEngine(run, Store(home), Silent()).ensure(second)


def test_generated_sets_have_no_record(home: Path) -> None:
    data: Any = registry.load("data", "scenes").resolve("tiny", {"n_train": 4, "n_val": 2})
    stage = identify(data, None, runtime(home))
    assert stage.key == data.stage(None, runtime(home)).key
    assert "images" not in stage.params


def test_a_digest_is_of_names_and_hashes() -> None:
    one = Hashes(["a", "b"], np.arange(64, dtype=np.uint8).reshape(2, 32))
    assert one.digest != Hashes(["a", "c"], one.shas).digest
    assert one.digest != Hashes(["a", "b"], one.shas[::-1].copy()).digest
    assert one.digest == Hashes(["a", "b"], one.shas.copy()).digest


def test_the_look_at_many_files_is_a_matter_of_seconds(home: Path, tmp_path: Path) -> None:
    """3,000 files: a plan asks the system for each and reads none."""
    root = tmp_path / "many"
    root.mkdir()
    names = [f"{n:06d}.bin" for n in range(3_000)]
    for name in names:
        (root / name).touch()
    cache = tmp_path / "cache.npz"
    shas = np.zeros((len(names), 32), np.uint8)
    contents._remember(cache, contents._stat(root, names), shas)
    start = time.process_time()
    looked = contents._look(Hashes(names, shas), root, cache)
    assert time.process_time() - start < 1
    assert np.array_equal(looked.shas, shas)
