"""What datasets share: results in order for any number of workers, hashes that notice changes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core import processes
from bench.core.errors import BadData
from bench.core.processes import parallel
from bench.core.signals import listen_for_stop
from bench.data.files import fingerprint
from bench.data.index import IndexedImages, Row, write_index
from tests.patience import HANG


def slow_square(n: int) -> int:
    time.sleep(0.02 if n % 7 == 0 else 0)
    return n * n


def fails_at_five(n: int) -> int:
    if n == 5:
        raise BadData("five")
    return n


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_parallel_keeps_the_order(workers: int) -> None:
    assert list(parallel(slow_square, range(50), workers, 3)) == [n * n for n in range(50)]


@pytest.mark.parametrize("workers", [0, 2])
def test_parallel_hands_on_errors(workers: int) -> None:
    with pytest.raises(BadData, match="five"):
        list(parallel(fails_at_five, range(20), workers, 2))


class Heavy:
    """Something that must not be sent to the workers with every item."""

    def __call__(self, item: int) -> int:
        return item + 1

    def __reduce__(self) -> str:
        raise AssertionError("sent with the items")


@pytest.mark.skipif(sys.platform != "linux", reason="without fork it is sent once for each worker")
def test_workers_get_the_function_once() -> None:
    assert list(parallel(Heavy(), range(9), 2, 2)) == list(range(1, 10))


@pytest.mark.skipif(sys.platform != "linux", reason="a spawned process inherits no handler")
@pytest.mark.timeout(60)
def test_a_worker_that_is_late_ends_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is done before it has begun, and this process takes SIGTERM as a wish to stop: it had
    waited for ever."""

    def late(then: Callable[[], None] = processes.die_with_parent) -> None:
        try:
            (tmp_path / "first").touch(exist_ok=False)
        except FileExistsError:
            time.sleep(2)
        then()

    monkeypatch.setattr(processes, "die_with_parent", late)
    with listen_for_stop() as stop:
        assert list(parallel(slow_square, [3], 2)) == [9]
    assert not stop.asked


def test_fingerprints_see_content_names_and_sizes(tmp_path: Path) -> None:
    file, folder, cache = tmp_path / "a.json", tmp_path / "images", tmp_path / "cache"
    folder.mkdir()
    file.write_text("one")
    (folder / "1.jpg").write_bytes(b"xx")
    seen = [fingerprint([file], [folder], cache)]
    file.write_text("two")
    os.utime(file, (5, 5))
    seen.append(fingerprint([file], [folder], cache))
    (folder / "1.jpg").rename(folder / "2.jpg")
    seen.append(fingerprint([file], [folder], cache))
    (folder / "2.jpg").write_bytes(b"xxx")
    seen.append(fingerprint([file], [folder], cache))
    assert len(set(seen)) == 4
    assert fingerprint([file], [folder], cache) == seen[-1]
    assert fingerprint([file], [folder], tmp_path / "other") == seen[-1]


def test_a_damaged_hash_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.files.SETTLED_NS", -(10**12))  # remembered at once
    file, cache = tmp_path / "a", tmp_path / "cache"
    file.write_text("one")
    before = fingerprint([file], [], cache)
    for marker in (cache / "hashes").iterdir():
        marker.write_text('"ab')
    assert fingerprint([file], [], cache) == before


def test_an_index_without_objects(tmp_path: Path) -> None:
    write_index(tmp_path / "i", ["a"], [Row(3, "ü.jpg", (4, 5)), Row(1, "b/c.jpg", (6, 7))])
    images = IndexedImages("toy", "train", tmp_path / "i", tmp_path)
    assert images.ids.tolist() == [1, 3]
    assert [images.file(i).relative_to(tmp_path).as_posix() for i in (0, 1)] == [
        "b/c.jpg",
        "ü.jpg",
    ]
    objects = images.objects(1)
    assert objects.boxes.shape == (0, 4)
    assert objects.labels.dtype == np.int64
    assert objects.segmentations is None
    with pytest.raises(BadData, match="no split 'val'"):
        IndexedImages("toy", "val", tmp_path / "none", tmp_path)


def test_a_network_runs_in_processes_of_a_parent_that_has_threads() -> None:
    """A forked process lacks its parent's OpenMP threads and would wait for them for ever."""
    code = (
        "import torch\n"
        "from bench.data.runner import parallel\n"
        "net = torch.nn.Conv2d(3, 32, 5)\n"
        "def total(i): return float(net(torch.full((1, 3, 64, 64), float(i))).detach().mean())\n"
        "torch.set_num_threads(2)\n"
        "net(torch.randn(8, 3, 64, 64)).sum().backward()\n"
        "here = [total(i) for i in range(4)]\n"
        "there = list(parallel(total, range(4), 2, 1))\n"
        "assert max(abs(a - b) for a, b in zip(here, there, strict=True)) < 1e-4\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], timeout=HANG, check=True, env=environment)
