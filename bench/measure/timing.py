"""Ratios of times: several ways of doing the same, timed in turns in one run on one machine."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-contrib-python",
    "pillow",
    "lightning",
    "lightly",
    "pycocotools",
    "hotcoco",
    "scikit-learn",
)


@dataclass(frozen=True)
class Race:
    """Two ways to one result. `ours` and `plain` do the work once; `difference` is the largest
    absolute difference of what they computed, at most `tolerance` for a ratio to mean anything."""

    name: str
    ours: Callable[[], Any]
    plain: Callable[[], Any]
    difference: Callable[[], float]
    tolerance: float


@dataclass(frozen=True)
class Timing:
    """Seconds of one timing: `wall`, and `cpu` of all threads of this process and of those it
    waited for."""

    wall: float
    cpu: float


class Summary(TypedDict):
    """Of several timings: wall seconds, the median of CPU seconds, and how many times faster this
    is than the base it is compared with."""

    median: float
    fastest: float
    slowest: float
    cpu: float
    repeats: int
    ratio: NotRequired[float]
    cpu_ratio: NotRequired[float]


class Machine(TypedDict):
    """What was measured on; see `machine`."""

    cpu: str
    cores: int
    load: float
    bf16: bool
    python: str
    versions: dict[str, str]


def time_in_turns(
    ways: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1
) -> dict[str, list[Timing]]:
    """Timings of every way, `repeats` of each, the ways taking turns so that what else the machine
    does meets all of them alike; each round starts with another one. `warm_up` rounds before are
    not counted."""
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(warm_up + repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wall, cpu = time.perf_counter(), cpu_seconds()
            ways[name]()
            if turn >= warm_up:
                timings[name].append(Timing(time.perf_counter() - wall, cpu_seconds() - cpu))
    return timings


def cpu_seconds() -> float:
    """CPU seconds of this process and of the processes it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def summary(
    timings: Sequence[Timing], base: Sequence[Timing] | None = None, n: int = 1
) -> Summary:
    """The summary of doing the work once, where each timing did it `n` times. With `base`, `ratio`
    and `cpu_ratio` are the base's median over this one's.

    CPU seconds do not count the time in which other programs had the cores, but they do count
    threads that wait by spinning: with one thread on a busy machine, trust `cpu_ratio`.
    """
    wall, cpu = (_median(timings, kind) / n for kind in ("wall", "cpu"))
    every = [timing.wall / n for timing in timings]
    result: Summary = {
        "median": wall,
        "fastest": min(every),
        "slowest": max(every),
        "cpu": cpu,
        "repeats": len(timings),
    }
    if base is None:
        return result
    ratio, cpu_ratio = (_median(base, kind) / _median(timings, kind) for kind in ("wall", "cpu"))
    return {**result, "ratio": ratio, "cpu_ratio": cpu_ratio}


def _median(timings: Sequence[Timing], kind: str) -> float:
    return max(statistics.median(getattr(timing, kind) for timing in timings), 1e-9)


def choose_repeats(work: Callable[[], Any], at_least: float = 0.02) -> int:
    """How often to do `work` so that one timing takes `at_least` seconds; 1 for slow work."""
    start = time.perf_counter()
    work()
    once = time.perf_counter() - start
    return max(1, min(1000, round(at_least / max(once, 1e-7))))


def repeat(work: Callable[[], Any], n: int) -> Callable[[], None]:
    """`work`, n times."""

    def repeated() -> None:
        for _ in range(n):
            work()

    return repeated


def machine() -> Machine:
    """What is measured on: the processor, the cores that this process may use, the load average
    (processes that want a core, over the last minute; more than 0 before a measurement means that
    other programs are running), and versions of packages."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "bf16": has_bf16(),
        "python": platform.python_version(),
        "versions": {name: number for name in PACKAGES if (number := _version(name))},
    }


def cpu_name() -> str:
    """The processor's name."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def has_bf16() -> bool:
    """Does the processor multiply bfloat16 (AVX-512 BF16, AMX or Arm's BF16)? Only Linux
    tells; elsewhere the answer is no."""
    flags = (_cpu_field("flags") or _cpu_field("Features")).split()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
