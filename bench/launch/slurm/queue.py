"""Slurm's queue, as its own commands describe it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

COMMAND_SECONDS = 60
FIELDS = "%i|%T|%r|%N|%M|%l"
# states of a job that is over; it has any other one while it waits, runs or is stopped for a while
ENDED = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
    ]
)
RUNNING = frozenset(["COMPLETING", "RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"])

# why jobs wait that only have to wait
USUAL = ("None", "Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit")


@dataclass(frozen=True)
class QueuedJob:
    """A job in the queue: its state, why it waits, the node it runs on, and for how long of which
    limit, as squeue writes them."""

    job: str
    state: str
    reason: str = ""
    node: str = ""
    elapsed: str = ""
    limit: str = ""

    @property
    def held(self) -> str:
        """Why it waits, where that is not its turn."""
        return "" if self.state != "PENDING" or self.reason in USUAL else self.reason

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in ENDED

    @property
    def cut_off(self) -> bool:
        """Whether Slurm has cancelled it by itself: it does so where one job of the array that it
        waits for has failed, though another one is its input."""
        return self.state == "CANCELLED" and self.reason == "DependencyNeverSatisfied"

    @property
    def running(self) -> bool:
        """Whether it has a node now."""
        return self.state in RUNNING


def read_queue() -> dict[str, QueuedJob] | None:
    """The user's jobs by number, tasks of arrays apart, also those that ended within the last
    minutes; None where Slurm does not answer."""
    line = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}"]
    text = _ask([*line, f"--format={FIELDS}"])
    if text is None:
        return None
    jobs = [QueuedJob(*row.split("|")) for row in text.splitlines() if row.count("|") == 5]
    return {job.job: job for job in jobs}


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs that wait or run."""
    if names := list(jobs):
        _ask(["scancel", *names])


def describe(job: str) -> dict[str, str]:
    """What Slurm says of a job, by its names (JobState, EndTime, ...); nothing where it does not
    answer."""
    text = _ask(["scontrol", "--oneliner", "show", "job", job]) or ""
    return dict(re.findall(r"(\w+)=(\S+)", text))


def requeue(job: str) -> bool:
    """Put a running job back into the queue, where its dependents go on waiting for it."""
    return _ask(["scontrol", "requeue", job]) is not None


def _ask(line: list[str]) -> str | None:
    """What a command of Slurm prints; None where it fails."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
