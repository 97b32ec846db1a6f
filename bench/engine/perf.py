"""Ratios, not absolute times: ways of doing one thing, timed in turns in one run on one machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "numpy", "opencv-contrib-python", "lightning", "lightly")


@dataclass(frozen=True)
class Race:
    """Two ways to one result. `ours` and `plain` do the work once; `difference` is the largest absolute
    difference of what they computed, at most `tolerance` for a ratio to mean anything."""

    name: str
    ours: Callable[[], Any]
    plain: Callable[[], Any]
    difference: Callable[[], float]
    tolerance: float


def peer(reference: str) -> Callable[..., Any]:
    """The function a component's `peer` ("module:function") names."""
    module, _, function = reference.partition(":")
    return getattr(import_module(module), function)  # type: ignore[no-any-return]


def in_turns(ways: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every way, `repeats` times, the ways taking turns so that what else the machine does meets
    all of them alike; each round starts with another one. `warm_up` rounds before are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(warm_up + repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            ways[name]()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: Sequence[float], base: Sequence[float] | None = None) -> dict[str, Any]:
    """{"median", "fastest", "slowest" (seconds), "repeats", "ratio"}: `ratio` is the base's median over this
    one's, how many times faster than `base`; 1 without a base."""
    median = statistics.median(seconds)
    return {
        "median": median, "fastest": min(seconds), "slowest": max(seconds), "repeats": len(seconds),
        "ratio": statistics.median(base) / median if base is not None else 1.0,
    }  # fmt: skip


def many(work: Callable[[], Any], at_least: float = 0.02) -> int:
    """How often to do `work` so that one timing takes `at_least` seconds; 1 for slow work."""
    start = time.perf_counter()
    work()
    once = time.perf_counter() - start
    return max(1, min(1000, round(at_least / max(once, 1e-7))))


def times(work: Callable[[], Any], n: int) -> Callable[[], None]:
    """`work`, n times."""

    def repeated() -> None:
        for _ in range(n):
            work()

    return repeated


def machine() -> dict[str, Any]:
    """What was measured on: processor, cores this process may use, load average (processes that want a core,
    over the last minute; more than 0 before a measurement means that others work here too), versions."""
    return {
        "cpu": cpu_name(), "cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2),
        "bf16": has_bf16(), "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }  # fmt: skip


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def has_bf16() -> bool:
    """Does the processor multiply bfloat16 (AVX-512 BF16, AMX or Arm's BF16)? Linux tells; else no."""
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
