"""POSIX record locks, and one line where a file system has none."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

from bench.core.errors import BadInput

TAKEN = (errno.EACCES, errno.EAGAIN)  # another process has it: POSIX allows both
ABSENT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def take_lock(handle: int, how: int, folder: Path) -> bool:
    """Lock the open file (`how`: LOCK_EX or LOCK_SH, with LOCK_NB to not wait for it); False where
    another process has it.

    Any other answer of the system is BadInput: the file system of `folder` cannot lock, and two
    processes would make the same stage at once.
    """
    try:
        fcntl.lockf(handle, how)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        problem = "has no file locks" if error.errno in ABSENT else "cannot lock a file"
        raise BadInput(
            f"the file system of {folder} {problem} ({error.strerror}); mount it with locks "
            "(NFS 4, or NFS 3 with lockd; Lustre with -o flock), or use a folder on a local disk: "
            "BENCH_HOME=FOLDER bench ..."
        ) from None
    return True
