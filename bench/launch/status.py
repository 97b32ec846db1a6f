"""What is queued, running and failed: jobs of Slurm, and the processes that make stages now."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypedDict

from bench.core.locks import take_lock
from bench.core.running import list_work
from bench.launch.slurm import queue
from bench.launch.slurm.queue import QueuedJob
from bench.launch.slurm.records import JobRecord, JobRecords

State = Literal["queued", "running", "failed", "done", "lost", "unknown"]
TAIL = 4096  # bytes at the end of an output that its last line is looked for in


class JobStatus(TypedDict):
    """A stage's job. state: `done` where the stage is made and no command has recorded it yet,
    `lost` where the job is over without a result, `unknown` where Slurm does not answer. reason:
    why it waits or failed. last: the last line of its output, the file `output`."""

    stage: str
    key: str
    job: str
    state: State
    reason: str
    node: str
    elapsed: str
    limit: str
    output: str
    last: str


class Maker(TypedDict):
    """A process that makes a stage now, on some machine. key: the first 12 digits of the stage's;
    stage: kind/name, "" where its work has only begun."""

    key: str
    stage: str
    owner: str


def read_jobs(home: Path) -> list[JobStatus]:
    """Every stage that was submitted to Slurm and not recorded as made yet, in the order of
    submission."""
    records = JobRecords(home)
    every = records.all()
    jobs = queue.read_queue() if every else {}
    return [_describe(records, record, jobs) for record in every]


def _describe(
    records: JobRecords, record: JobRecord, jobs: dict[str, QueuedJob] | None
) -> JobStatus:
    job = (jobs or {}).get(record.job)
    state, reason = _find_state(records, record, job)
    if jobs is None and state == "lost":
        state, reason = "unknown", "Slurm does not answer"
    log = records.log(record.job)
    return {
        "stage": record.stage,
        "key": record.key,
        "job": record.job,
        "state": state,
        "reason": reason,
        "node": job.node if job else "",
        "elapsed": job.elapsed if job else "",
        "limit": job.limit if job else "",
        "output": str(log),
        "last": _read_last_line(log),
    }


def _find_state(
    records: JobRecords, record: JobRecord, job: QueuedJob | None
) -> tuple[State, str]:
    if job and not job.ended:
        return ("running", "") if job.running else ("queued", job.reason)
    report = records.read_report(record.key, record.job)
    if report:
        return ("failed", str(report.error)) if report.error else ("done", "")
    if record.problem:
        return "failed", record.problem
    if job and job.state == "CANCELLED":
        return "failed", f"its job was cancelled ({job.reason})"
    return "lost", f"Slurm: {job.state}" if job else "not in Slurm's queue any more"


def _read_last_line(log: Path) -> str:
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def find_makers(home: Path) -> Iterator[Maker]:
    """The processes that make stages now, on every machine that shares the home."""
    works = {work["stage"]["key"][:32]: work["stage"] for _, work in list_work(home)}
    for file in sorted((home / "locks").glob("*.lock")):
        with suppress(OSError), file.open("r+b") as handle:
            if take_lock(handle.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB, home):
                continue
            words = handle.read(400).decode(errors="replace").split()
            owner = " ".join(words[:3]) or "another process"
            stage = works.get(file.stem)
            name = f"{stage['kind']}/{stage['name']}" if stage else ""
            yield {"key": file.name[:12], "stage": name, "owner": owner}
