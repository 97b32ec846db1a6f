"""What a job of Slurm does: one stage, in the node's process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from bench.core.errors import StageFailed
from bench.core.line_progress import LineProgress
from bench.core.running import NOTE
from bench.core.signals import listen_for_stop
from bench.core.store import Store
from bench.launch.jobs import Job, Report, limit_threads, make, threads_of
from bench.launch.slurm import queue
from bench.launch.slurm.records import JobRecords

RESTARTS = 1000  # of one job: Slurm would begin anew for ever with a stage that never ends
CLOCK_SECONDS = 90  # by which Slurm may send the signal early


class JobFailed(Exception):
    """The job's stage failed. Slurm then cancels the jobs that depend on it."""


def number_of_job(environment: Mapping[str, str]) -> str:
    """This job's number as the queue has it: `12`, or `12_3` for a task of an array."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]


def make_in_job(job: Job) -> None:
    """Make the stage and leave a report. Raises JobFailed where it failed, and SystemExit where
    Slurm asked the job to stop: it has saved then, and waits in the queue again, unless a user has
    cancelled it."""
    started, number = time.time(), number_of_job(os.environ)
    records = JobRecords(job.runtime.home)
    threads = threads_of(job.runtime, int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
    limit_threads(threads)
    own = job.runtime.model_copy(update={"threads": threads})
    report = Report(job.stage.key, stopped=True)
    with suppress(KeyboardInterrupt), listen_for_stop(at_once=True), LineProgress() as progress:
        progress.note(f"{job.stage}: job {number} on {os.environ.get('SLURMD_NODENAME', '?')}")
        report = make(replace(job, runtime=own), progress)
    if report.stopped:
        report.error = _go_on_later(job, number, started)
        if report.error is None:
            raise SystemExit(1)
        report.stopped = False
    records.write_report(number, report)
    if report.error:
        raise JobFailed(str(report.error))


def _go_on_later(job: Job, number: str, started: float) -> StageFailed | None:
    """Put the job, which was asked to stop, back into the queue; or why it would stop there again
    and again."""
    about = queue.describe(number)
    if (
        about.get("JobState", "RUNNING") != "RUNNING"
    ):  # cancelled by its user, or requeued by Slurm
        return None
    work = Store(job.runtime.home).work(job.stage)
    if _is_time_up(about) and not _has_saved(work, started):
        return StageFailed(
            f"{job.stage}: job {number} saved nothing before its time of "
            f"{about.get('TimeLimit', '?')} was up, and would begin anew each time; try: --slurm "
            "time=... with more"
        )
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= RESTARTS:
        return StageFailed(f"{job.stage}: job {number} has begun {RESTARTS} times without an end")
    queue.requeue(number)
    return None


def _is_time_up(about: Mapping[str, str]) -> bool:
    """Whether a job's end is near, and so the reason why it was asked to stop."""
    with suppress(KeyError, ValueError):
        left = datetime.fromisoformat(about["EndTime"]).timestamp() - time.time()
        save = int(os.environ.get("BENCH_SLURM_SAVE", "0"))
        return left < save + CLOCK_SECONDS
    return False


def _has_saved(work: Path, started: float) -> bool:
    """Whether a file of the work folder was written since, but for the note of what runs."""
    files = (f for f in work.rglob("*") if f.is_file() and f.name != NOTE)
    return any(f.stat().st_mtime > started for f in files)
