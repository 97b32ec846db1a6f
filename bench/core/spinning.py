"""How long OpenMP's threads wait by spinning.

A parallel step ends when its slowest thread does. The others spin until then, which is quickest
where every thread has a core. Where other processes use the cores too, they spin while the slowest
one waits for a core, and a training takes many times as long. So a process that begins while
others use the cores lets its threads sleep after a short wait. This has to be settled before
PyTorch is loaded. Numbers do not depend on it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

SHORT = "1000"  # turns of GNU OpenMP's waiting loop
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # by which somebody settles it
BUSY = 0.25  # cores that others use
INTERVAL = 0.1  # seconds over which to look, at least: Linux counts hundredths
STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Usage:
    """Seconds, since some moment: of the clock, that the cores of this process were used by
    anybody, and that this process used."""

    clock: float
    cores: float
    own: float


def measure_usage() -> Usage | None:
    """Now; None where the system does not tell (not Linux)."""
    try:
        text = STAT.read_text()
        cores = sum_busy(text, os.sched_getaffinity(0)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    return Usage(time.monotonic(), cores, sum(os.times()[:4]))


def sum_busy(stat: str, cores: set[int]) -> int:
    """Ticks that these cores were not idle, from the text of /proc/stat: all but the columns idle
    and iowait; guests' time, the last two columns, is in user's already.

    >>> sum_busy("cpu  9 9 9 9 9\\ncpu0 5 1 2 100 7 0 1 3 4 0\\ncpu1 9 0 0 50 0 0 0 0 0 0", {0})
    12
    """
    busy = 0
    for line in stat.splitlines():
        name, *columns = line.split() or [""]
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
            ticks = [int(c) for c in columns[:8]]
            busy += sum(ticks) - sum(ticks[3:5])
    return busy


def count_others(before: Usage, now: Usage) -> float:
    """How many cores other processes used, on average, between two moments."""
    used = (now.cores - before.cores) - (now.own - before.own)
    return max(0.0, used / max(now.clock - before.clock, 1e-9))


_first: Usage | None = None


def begin_watching() -> None:
    """Note what is used now, for `settle_waiting` to compare with."""
    global _first
    _first = measure_usage()


def settle_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let the threads of this process, and of those it starts, wait briefly if others have used
    its cores since `begin_watching`. Not where somebody has settled it, PyTorch is loaded, or too
    little time has passed to tell: nothing is waited for."""
    global _first
    before, _first = _first, None  # what was noted for an earlier command says nothing of now
    if before is None or "torch" in sys.modules or any(n in environment for n in VARIABLES):
        return
    now = measure_usage()
    if now is None or now.clock - before.clock < INTERVAL:
        return
    if count_others(before, now) > BUSY:
        environment["GOMP_SPINCOUNT"] = SHORT


def describe_waiting(environment: MutableMapping[str, str] = os.environ) -> str:
    """What is in force, for `bench doctor`."""
    settled = [f"{name}={environment[name]}" for name in VARIABLES if name in environment]
    if settled:
        return f"as set: {', '.join(settled)}"
    before = measure_usage()
    if before is None:
        return "as OpenMP does (the load of the cores is not known here)"
    time.sleep(INTERVAL)
    now = measure_usage()
    others = count_others(before, now) if now else 0.0
    if others > BUSY:
        return f"briefly (GOMP_SPINCOUNT={SHORT}): other processes use {others:.1f} cores"
    return f"as OpenMP does, by spinning: other processes use {others:.1f} cores"
