"""A plan's stages as jobs of a Slurm cluster.

All jobs are submitted at once, each waiting for those of its inputs, so that this process is only
needed for the record: it may end, and the same command follows the jobs again, whose numbers are
in the store (`bench.launch.slurm.records`). What is not in the queue any more and has left neither
a stage nor a report was lost, and is submitted again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from bench.core.errors import BadInput, StageFailed
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.stage import Stage, walk
from bench.core.store import Store
from bench.launch.graph import GraphEngine, by_depth
from bench.launch.jobs import Report
from bench.launch.local import Listener
from bench.launch.slurm import queue
from bench.launch.slurm.queue import QueuedJob
from bench.launch.slurm.records import JobRecords
from bench.launch.slurm.request import Asked, parse
from bench.launch.slurm.submit import Submitter

RETRIES = 3  # of a stage whose job was lost
LOOK_SECONDS = 3.0  # between looks at the queue
LATE_SECONDS = 15.0  # by which a file may be seen after the job that wrote it is over
SILENT_SECONDS = 30.0  # without an answer of Slurm, after which a note says so


def launch(runtime: Runtime, store: Store, listener: Listener, progress: Progress) -> SlurmEngine:
    """The engine of `--launcher slurm`."""
    if runtime.nodes > 1:
        raise BadInput(
            f"--nodes {runtime.nodes} goes with --launcher local only; try: without --nodes"
        )
    if runtime.max_parallel:
        raise BadInput(
            "--max-parallel is not for --launcher slurm, whose queue decides how many jobs run; "
            "try: without --max-parallel"
        )
    asked = parse(runtime.slurm)
    gpus = asked.values(True).get("gpus")
    if isinstance(runtime.devices, int) and gpus is not None and runtime.devices > int(gpus):
        raise BadInput(
            f"--devices {runtime.devices}, but a job has {gpus} GPUs; try: --slurm "
            f"gpus={runtime.devices}"
        )
    return SlurmEngine(runtime, store, listener, progress, asked=asked)


@dataclass
class SlurmEngine(GraphEngine):
    """Slurm runs the stages; this process keeps the record."""

    interrupted: ClassVar[str] = "its jobs stay in Slurm's queue; the same command follows them"
    asked: Asked = field(default_factory=Asked)
    jobs: dict[str, str] = field(default_factory=dict)  # stage -> job
    lost: dict[str, int] = field(default_factory=dict)  # stage -> how often its job was
    gone_since: dict[str, float] = field(default_factory=dict)  # stage -> its job was over

    def reports(self, wanted: Mapping[str, Stage]) -> Iterator[Report]:
        self.records = JobRecords(self.store.home)
        self.submitter = Submitter(self.records, self.asked)
        waiting = by_depth(wanted)
        self._submit(waiting)
        answered = time.monotonic()
        while waiting:
            jobs = queue.read_queue()
            if jobs is not None:
                answered = time.monotonic()
                for key in list(waiting):
                    useful = self.is_useful(key)
                    report = self._look(wanted[key], jobs) if useful else None
                    if not useful:  # an input failed, and Slurm cancels its job
                        self.records.forget(key)
                    if report or not useful:
                        waiting.remove(key)
                    if report:
                        yield report
            elif time.monotonic() - answered > SILENT_SECONDS:
                self._note_once("silent", "squeue does not answer; its jobs are left alone")
            if self._rest(bool(waiting)):
                self.progress.note(
                    f"{len(waiting)} job(s) stay in Slurm's queue (bench status shows them); the "
                    "same command follows them, and scancel ends them"
                )
                return

    def _rest(self, more: bool) -> bool:
        """Wait until the next look; whether this process was asked to stop."""
        until = time.monotonic() + (LOOK_SECONDS if more else 0)
        while time.monotonic() < until and not self.stop.asked:
            time.sleep(0.1)
        return more and self.stop.asked

    def _submit(self, keys: list[str]) -> None:
        """Submit what has no job in the queue; follow the jobs that others have submitted."""
        with self.records.lock():
            jobs = queue.read_queue()
            if jobs is None:
                raise BadInput("Slurm does not answer; try: squeue, sinfo")
            for key in keys:
                record = self.records.read(key)
                if record and record.job in jobs and not jobs[record.job].ended:
                    self.jobs[key] = record.job
            fresh = [key for key in keys if key not in self.jobs]
            if both := [self.jobs[key] for key in keys if key in self.jobs and key in self.forced]:
                raise BadInput(
                    f"--force, but {len(both)} of the stages are in Slurm's queue already; try: "
                    f"scancel {' '.join(both)}, or without --force"
                )
            if len(fresh) < len(keys):
                self.progress.note(
                    f"{len(keys) - len(fresh)} stage(s) are in Slurm's queue already"
                )
            made = {key: self.job(self.wanted[key], self.runtime) for key in fresh}
            numbers = self.submitter.submit(made, self.jobs)
            self.jobs |= numbers
        arrays = {job.partition("_")[0] for job in numbers.values()}
        if numbers:
            self.progress.note(
                f"{len(numbers)} stage(s) submitted to Slurm as {len(arrays)} job(s): "
                f"{', '.join(sorted(arrays, key=int))}"
            )

    def _look(self, stage: Stage, jobs: Mapping[str, QueuedJob]) -> Report | None:
        """What has come of a stage; None while that is open."""
        number = self.jobs[stage.key]
        job = jobs.get(number)
        if job and not job.ended:
            self.gone_since.pop(stage.key, None)
            self._note_state(stage, job)
            return None
        report = self.records.read_report(stage.key, number)
        if report and report.error:
            return report
        if self.store.has(stage):
            self.records.forget(stage.key)
            del self.jobs[stage.key]
            return report or Report(stage.key)
        since = self.gone_since.setdefault(stage.key, time.monotonic())
        if time.monotonic() - since < LATE_SECONDS:
            return None
        return self._submit_again(stage, job)

    def _note_state(self, stage: Stage, job: QueuedJob) -> None:
        if job.running:
            self._note_once(f"{job.job} {job.node}", f"{stage}: job {job.job} on {job.node}")
            self.note_begun(stage.key)
        elif job.held:
            self._note_once(job.held, f"{stage}: job {job.job} waits: {job.held}")

    def _submit_again(self, stage: Stage, job: QueuedJob | None) -> Report | None:
        """The job of a stage is over without a result: submit it again with all that waits for it,
        unless its user has cancelled it or it was lost too often."""
        number, how = self.jobs[stage.key], job.state if job else "gone from the queue"
        times = self.lost[stage.key] = self.lost.get(stage.key, 0) + 1
        if job and job.state == "CANCELLED" and not job.cut_off:
            problem = f"{stage}: its job {number} was cancelled; the same command submits it again"
        elif times > RETRIES:
            problem = (
                f"{stage}: its job is {how}, {times} times in all (output: "
                f"{self.records.log(number)}); perhaps it lacks memory, or its node does not see "
                f"{self.store.home}; the same command goes on"
            )
        else:
            self.progress.note(f"{stage}: job {number} is {how}; it goes on in another")
            again = [
                key
                for key, other in self.wanted.items()
                if key in self.jobs
                and key not in self.outcome.made
                and any(each.key == stage.key for each in walk(other))
            ]
            queue.cancel({self.jobs.pop(key) for key in again} - {number})
            for key in again:
                self.records.forget(key)
                self.gone_since.pop(key, None)
            self._submit(again)
            return None
        record = self.records.read(stage.key)
        if record:
            self.records.write(replace(record, problem=problem))
        return Report(stage.key, error=StageFailed(problem))
