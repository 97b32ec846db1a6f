"""How much memory there is and how much a stage may need, in MiB."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bench.core.stage import Stage
from bench.core.store import Store
from bench.plan.estimate import summarise_like_stages

# of a stage whose like this store has not seen: a small training with its loaders
UNKNOWN_MIB = 2048


def available_mib() -> int | None:
    """What can still be used: of the machine, or of the container's limit if that is nearer. None
    where the system does not say (it is not Linux)."""
    limits = []
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(
            int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) // 1024
        )
    with suppress(OSError, ValueError):  # cgroup v2; without a limit the file says "max"
        limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
        limits.append((int(limit.read_text()) - int(used.read_text())) // (1 << 20))
    return min(limits) if limits else None


def resident_mib(pid: int) -> int:
    """What a process holds now; 0 where that cannot be read."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // (1 << 20)
    return 0


def expected_mib(store: Store, stages: Iterable[Stage]) -> dict[str, int]:
    """By stage key: the highest peak of like stages in this store, else `UNKNOWN_MIB`."""
    peaks = summarise_like_stages(store, stages, "peak_memory_mib", max)
    return {key: round(peak) if peak else UNKNOWN_MIB for key, peak in peaks.items()}
