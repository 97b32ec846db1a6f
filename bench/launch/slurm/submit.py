"""Stages become jobs: dependencies, arrays of like stages, and what each asks Slurm for.

submitit writes the scripts, pickles the stages and starts Python on the node. What it leaves to us
is the end of a job's time: a stage that is asked to stop saves first and returns to the queue then
(`bench.launch.slurm.task`), instead of being left in the middle of a step. States come from squeue
(`bench.launch.slurm.queue`): submitit asks sacct, which needs a database that many clusters lack.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import submitit

from bench.core.errors import BadInput
from bench.core.stage import Stage
from bench.launch.graph import ON_CPU, depths
from bench.launch.jobs import Job
from bench.launch.slurm import queue
from bench.launch.slurm.records import JobRecord, JobRecords
from bench.launch.slurm.request import KEYS, Asked
from bench.launch.slurm.task import make_in_job

# keys of --slurm that are parameters of submitit under other names, or of the same
SUBMITIT = {
    "cpus": "cpus_per_task",
    "gpus": "gpus_per_node",
    "time": "time",
    "partition": "partition",
    "mem": "mem",
}
MOST = 500  # tasks of an array; clusters take 1,000 unless they say otherwise
OF_TRAININGS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "RANK", "LOCAL_RANK", "WORLD_SIZE")


@dataclass(frozen=True)
class Batch:
    """Stages that are submitted together, as an array where there are several. after: what
    `--dependency` is, or nothing."""

    stages: tuple[Stage, ...]
    uses_gpu: bool
    after: str

    @property
    def name(self) -> str:
        """What squeue calls it."""
        kinds = {f"{stage.kind}/{stage.name}" for stage in self.stages}
        return kinds.pop() if len(kinds) == 1 else self.stages[0].kind


def make_batches(stages: Sequence[Stage], jobs: Mapping[str, str]) -> Iterator[Batch]:
    """The stages in batches; `jobs` has the jobs of their inputs, which all must be there before a
    batch is asked for (a caller adds those of each batch to it).

    Stages of one kind that wait for the same jobs are an array. So are those of which each waits
    for another task of one array: the first for task 0, the second for task 1, and so on
    (`aftercorr`).
    """
    depth = depths({stage.key: stage for stage in stages})
    for _, level in groupby(sorted(stages, key=lambda s: depth[s.key]), lambda s: depth[s.key]):
        alike: dict[tuple[str, bool, frozenset[str]], list[Stage]] = {}
        for stage in level:
            inputs = frozenset(jobs[c.key] for c in stage.inputs.values() if c.key in jobs)
            alike.setdefault((stage.kind, stage.kind not in ON_CPU, inputs), []).append(stage)
        single = {key[2]: group[0] for key, group in alike.items() if len(group) == 1}
        rows = list(_find_rows(single))
        together = {stage.key for row, _ in rows for stage in row}
        for (_, uses_gpu, inputs), group in alike.items():
            if group[0].key not in together:
                for start in range(0, len(group), MOST):
                    yield Batch(tuple(group[start : start + MOST]), uses_gpu, _after(inputs))
        for row, after in rows:
            yield Batch(row, row[0].kind not in ON_CPU, after)


def _find_rows(single: Mapping[frozenset[str], Stage]) -> Iterator[tuple[tuple[Stage, ...], str]]:
    """Stages of one kind that wait for tasks 0, 1, 2, ... of one array, and otherwise for the same
    jobs; with their dependency."""
    rows: dict[tuple[str, str, frozenset[str]], dict[int, Stage]] = {}
    for inputs, stage in single.items():
        tasks = [job for job in inputs if "_" in job]
        if len(tasks) == 1:
            array, _, number = tasks[0].partition("_")
            others = inputs - {tasks[0]}
            rows.setdefault((stage.kind, array, others), {})[int(number)] = stage
    for (_, array, others), row in rows.items():
        if len(row) > 1 and sorted(row) == list(range(len(row))):
            after = ",".join(filter(None, (_after(others), f"aftercorr:{array}")))
            yield tuple(row[n] for n in sorted(row)), after


def _after(jobs: Iterable[str]) -> str:
    """`afterok:1:2` of jobs; nothing of none."""
    return ":".join(["afterok", *sorted(jobs)]) if jobs else ""


class Submitter:
    """Submits stages, and keeps records of their jobs."""

    def __init__(self, records: JobRecords, asked: Asked) -> None:
        self.records, self.asked = records, asked
        if not submitit.SlurmExecutor.affinity() > 0:
            raise BadInput(
                "--launcher slurm needs Slurm's commands (sbatch, squeue, srun) on this machine; "
                "try: --launcher local"
            )
        records.logs.mkdir(parents=True, exist_ok=True)
        self.executor = submitit.SlurmExecutor(records.logs)

    def submit(self, jobs: Mapping[str, Job], known: Mapping[str, str]) -> dict[str, str]:
        """The numbers of new jobs of these stages, by key; `known` has those that they may wait
        for. BadInput where Slurm refuses one; the others are taken back then."""
        fresh: dict[str, str] = {}
        every = dict(known)
        try:
            for batch in make_batches([job.stage for job in jobs.values()], every):
                numbers = self._submit_batch(batch, [jobs[s.key] for s in batch.stages])
                for stage, number in zip(batch.stages, numbers, strict=True):
                    fresh[stage.key] = every[stage.key] = number
                    self.records.forget(stage.key)
                    self.records.write(JobRecord(stage.key, str(stage), number, time.time()))
        except submitit.core.utils.FailedJobError as error:
            queue.cancel(fresh.values())
            for key in fresh:
                self.records.forget(key)
            text = str(error).strip().splitlines()[-1][-300:]
            raise BadInput(
                f"Slurm refuses the job ({text}); try: sinfo, and --slurm ..."
            ) from None
        return fresh

    def _submit_batch(self, batch: Batch, jobs: Sequence[Job]) -> list[str]:
        self.executor.parameters.clear()
        self.executor.update_parameters(**parameters(batch, self.asked))
        with leave_own_job():
            if len(jobs) == 1:
                return [self.executor.submit(make_in_job, jobs[0]).job_id]
            return [job.job_id for job in self.executor.map_array(make_in_job, jobs)]


@contextmanager
def leave_own_job() -> Iterator[None]:
    """Meanwhile, the environment is not that of a job or a training that this process is part of,
    whose sizes and addresses the new jobs would inherit. SLURM_CONF stays: without it a command
    may not find its cluster (submitit's `clean_env` drops it)."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name in OF_TRAININGS or (name.startswith("SLURM_") and name != "SLURM_CONF")
    }
    for name in own:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(own)


def parameters(batch: Batch, asked: Asked) -> dict[str, Any]:
    """What submitit is told of a batch."""
    values = asked.values(batch.uses_gpu)
    save = values.pop("save")
    known = {SUBMITIT[key]: value for key, value in values.items() if key in SUBMITIT}
    more: dict[str, Any] = {
        KEYS[key].option: value for key, value in values.items() if key not in SUBMITIT
    }
    if batch.after:
        more |= {"dependency": batch.after, "kill-on-invalid-dep": "yes"}
    return {
        **known,
        "job_name": f"bench:{batch.name}",
        "array_parallelism": len(batch.stages),
        "setup": [f"export BENCH_SLURM_SAVE={save}"],
        "additional_parameters": {**more, "requeue": True, "signal": f"USR1@{save}"},
    }
