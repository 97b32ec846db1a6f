"""Which process this is, among those of every machine and container that share a folder or a
database."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def pid_space() -> str:
    """Where a process number means the same process: the boot of the machine's kernel and the
    PID namespace (its inode), "BOOT.NAMESPACE". Containers of one host name differ in it; ""
    where the system does not tell."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
    return ""


def process_name() -> str:
    """host:pid:START/BOOT.NAMESPACE of this process; the start tells it from a later process with
    its number, the rest (`pid_space`) from one of another container."""
    return f"{socket.gethostname()}:{os.getpid()}:{read_start(os.getpid())}/{pid_space()}"


def read_start(pid: int) -> str:
    """When the process started, in clock ticks since the boot; "" where it is not known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_dead(name: str) -> bool:
    """True where `process_name` was that of a process that is no more. Only what ran under this
    host name, boot and PID namespace can be told; False for all others."""
    place, _, rest = name.rpartition(":")
    host, _, pid = place.rpartition(":")
    start, _, space = rest.partition("/")
    here = host == socket.gethostname() and bool(space) and space == pid_space()
    if not here or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return bool(start) and read_start(int(pid)) != start
