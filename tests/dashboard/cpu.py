"""CPU time and memory of processes with all that they started, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def list_family(pid: int) -> list[int]:
    """The process and its descendants that live now."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(int(_fields(stat)[1]), []).append(int(stat.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    family, waiting = [], [pid]
    while waiting:
        family.append(waiting.pop())
        waiting += children.get(family[-1], [])
    return family


def cpu_seconds(pid: int) -> float:
    """CPU seconds of the process and of its descendants so far."""
    total = 0
    for member in list_family(pid):
        try:
            total += sum(map(int, _fields(Path(f"/proc/{member}/stat"))[11:15]))
        except OSError:
            continue
    return total / TICK


def memory_mib() -> float:
    """Memory of this process that is in RAM now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _fields(stat: Path) -> list[str]:
    """What follows the name, which may hold spaces and brackets: state, parent, ..."""
    return stat.read_text().rpartition(") ")[2].split()
