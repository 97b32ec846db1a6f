"""Which job makes which stage: files in `BENCH_HOME/slurm`, so that a command can end and another
one go on with its jobs.

    slurm/<key[:32]>.json            the stage's job
    slurm/<key[:32]>.<job>.report    what the job came to; written by the job
    slurm/logs/                      scripts, pickles and output of jobs, by their numbers
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.files import write_atomically
from bench.core.locks import take_lock
from bench.launch.jobs import Report


@dataclass(frozen=True)
class JobRecord:
    """A stage's job. stage: kind/name. submitted: seconds since 1970. problem: how it failed."""

    key: str
    stage: str
    job: str
    submitted: float
    problem: str = ""


class JobRecords:
    """The records of one `BENCH_HOME`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "slurm"
        self.logs = self.folder / "logs"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a command looks which jobs there are and submits others, so that two commands
        do not submit one stage twice."""
        self.logs.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            take_lock(handle, fcntl.LOCK_EX, self.home)
            yield
        finally:
            os.close(handle)

    def write(self, record: JobRecord) -> None:
        """Keep the record."""
        with write_atomically(self._file(record.key)) as partial:
            partial.write_text(json.dumps(asdict(record), indent=1))

    def read(self, key: str) -> JobRecord | None:
        """The record of a stage's job; None where it has none."""
        return _read(self._file(key))

    def all(self) -> list[JobRecord]:
        """Every record, in the order of submission."""
        records = filter(None, map(_read, self.folder.glob("*.json")))
        return sorted(records, key=lambda record: (record.submitted, record.stage, record.key))

    def forget(self, key: str) -> None:
        """Drop what there is of a stage's jobs but their output."""
        for file in self.folder.glob(f"{key[:32]}.*"):
            file.unlink(missing_ok=True)

    def log(self, job: str) -> Path:
        """The file with a job's output."""
        return self.logs / f"{job}_0_log.err"

    def write_report(self, job: str, report: Report) -> None:
        """Leave what a job came to; called by the job."""
        with write_atomically(self._report_file(report.key, job)) as partial:
            partial.write_bytes(pickle.dumps(report))

    def read_report(self, key: str, job: str) -> Report | None:
        """What a job came to; None where it has not said so."""
        with suppress(FileNotFoundError):
            report: Report = pickle.loads(self._report_file(key, job).read_bytes())
            return report
        return None

    def _file(self, key: str) -> Path:
        return self.folder / f"{key[:32]}.json"

    def _report_file(self, key: str, job: str) -> Path:
        return self.folder / f"{key[:32]}.{job}.report"


def _read(file: Path) -> JobRecord | None:
    with suppress(OSError, ValueError, TypeError):
        return JobRecord(**json.loads(file.read_text()))
    return None
