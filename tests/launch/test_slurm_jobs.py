"""What jobs of Slurm are, and what they do, without Slurm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.contracts.context import StageContext
from bench.core import signals
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch import session
from bench.launch.jobs import Job, Report
from bench.launch.slurm import queue, task
from bench.launch.slurm.queue import QueuedJob
from bench.launch.slurm.records import JobRecord, JobRecords
from bench.launch.slurm.request import parse, parse_time
from bench.launch.status import find_makers, read_jobs
from tests.e2e.faults import plan
from tests.launch.toys import toy

FAKE_SBATCH = """#!/bin/bash
cd "$(dirname "$0")"
n=$(($(ls scripts | wc -l) + 1))
cp "$1" scripts/$n
env > environment
if [ $n -gt ${ACCEPTED:-99} ]; then echo "sbatch: error: invalid partition" >&2; exit 1; fi
echo "Submitted batch job $n"
"""


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30", 30),
        ("0:30", 1),
        ("90:01", 91),
        ("4:00:00", 240),
        ("1-0", 1440),
        ("2-12:30", 3630),
        ("1-00:00:01", 1441),
    ],
)
def test_times_are_those_of_slurm(text: str, minutes: int) -> None:
    assert parse_time(text) == minutes


def test_values_may_hold_commas_and_stages_without_a_gpu_have_their_own() -> None:
    asked = parse("partition=gpu,nodelist=a,b,gpus=2,time=1-0,cpu.partition=long,cpu.mem=8G")
    common = {"nodelist": "a,b", "time": 1440, "save": 120}
    assert asked.values(True) == {"partition": "gpu", "gpus": 2, **common}
    assert asked.values(False) == {"partition": "long", "mem": "8G", **common}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitoin=gpu", "did you mean 'partition'"),
        ("gpu", "--slurm is KEY=VALUE"),
        ("time=4h", "a time such as 4:00:00"),
        ("time=0", "a time such as 4:00:00"),
        ("gpus=-1", "a number of GPUs"),
        ("cpus=0", "a number of cores"),
        ("mem=lots", "an amount such as 16G"),
        ("partition=", "a name"),
        ("time=2", "would save from its first second on"),
    ],
)
def test_what_slurm_could_not_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parse(text)


def test_slurm_options_go_with_slurm_alone(home: Path) -> None:
    runtime = Runtime(home=home, database="sqlite://", slurm="gpus=1")
    with pytest.raises(BadInput, match="--launcher slurm"), session.open_engine(runtime, None):  # type: ignore[arg-type]
        pass


def job_of(home: Path, stage: Stage) -> Job:
    return Job(stage, Runtime(home=home, database="sqlite://", tracker="none"), "group", None)


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process is job 7; what Slurm would say of it; the jobs that it was asked to requeue are
    under `requeued`."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("BENCH_SLURM_SAVE", "60")
    monkeypatch.setattr(signals, "_last", float("-inf"))  # no echo of another test's request
    about = {"JobState": "RUNNING", "TimeLimit": "00:10:00"}
    monkeypatch.setattr(queue, "describe", lambda job: about)
    monkeypatch.setattr(queue, "requeue", lambda job: bool(about.__setitem__("requeued", job)))
    return about


def in_seconds(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + seconds))


def stop(ctx: StageContext) -> None:
    """Saves, if it is to, and is asked to stop by Slurm."""
    time.sleep(0.01)
    if ctx.params["saves"]:
        (ctx.scratch / "checkpoint").write_text("1")
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(5)


def test_a_job_leaves_its_stage_and_a_report(home: Path, in_job: dict[str, str]) -> None:
    stage = toy("a", seed=1)
    records = JobRecords(home)
    with records.lock():
        records.write(JobRecord(stage.key, str(stage), "7", 1.0))
    task.make_in_job(job_of(home, stage))
    assert Store(home).has(stage)
    report = records.read_report(stage.key, "7")
    assert report is not None
    assert [made.key for made, _ in report.made] == [stage.key]
    assert records.read_report(stage.key, "8") is None
    records.forget(stage.key)
    assert records.all() == []
    assert records.read_report(stage.key, "7") is None


def test_a_stage_that_fails_fails_its_job(home: Path, in_job: dict[str, str]) -> None:
    """So that Slurm cancels what depends on it; the command gets the error itself."""
    stage = toy("a", run="fail")
    with JobRecords(home).lock(), pytest.raises(task.JobFailed, match="toy/a"):
        task.make_in_job(job_of(home, stage))
    report = JobRecords(home).read_report(stage.key, "7")
    assert report is not None
    assert report.error is not None
    assert report.error.exit_code == 1


@pytest.mark.parametrize("left", [30, 3000])  # time is nearly up, or the job is preempted
def test_a_job_that_has_saved_is_requeued(home: Path, in_job: dict[str, str], left: int) -> None:
    in_job["EndTime"] = in_seconds(left)
    stage = Stage("toy", "a", 1, {"saves": True}, f"{__name__}:stop", {})
    with JobRecords(home).lock(), pytest.raises(SystemExit):
        task.make_in_job(job_of(home, stage))
    assert in_job["requeued"] == "7"
    assert JobRecords(home).read_report(stage.key, "7") is None


@pytest.mark.parametrize(("left", "ends"), [(30, True), (3000, False)])
def test_a_job_whose_time_is_too_short_to_save_ends(
    home: Path, in_job: dict[str, str], left: int, ends: bool
) -> None:
    """It would begin anew each time. One that was preempted may have saved nothing yet."""
    in_job["EndTime"] = in_seconds(left)
    stage = Stage("toy", "a", 1, {"saves": False}, f"{__name__}:stop", {})
    error = task.JobFailed if ends else SystemExit
    with JobRecords(home).lock(), pytest.raises(error):
        task.make_in_job(job_of(home, stage))
    assert ("requeued" in in_job) is not ends


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING"])
def test_a_job_that_its_user_cancels_is_not_requeued(
    home: Path, in_job: dict[str, str], state: str
) -> None:
    """Slurm calls it COMPLETING while its processes are being ended; it is PENDING where Slurm has
    requeued it itself."""
    in_job["JobState"] = state
    stage = Stage("toy", "a", 1, {"saves": True}, f"{__name__}:stop", {})
    with JobRecords(home).lock(), pytest.raises(SystemExit):
        task.make_in_job(job_of(home, stage))
    assert "requeued" not in in_job


def test_status_says_how_each_job_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, store = JobRecords(home), Store(home)
    names = ("waits", "runs", "failed", "made", "lost", "gone", "cut")
    stages = {name: toy(name) for name in names}
    with records.lock():
        for n, (name, stage) in enumerate(stages.items()):
            problem = "its job was cancelled" if name == "gone" else ""
            records.write(JobRecord(stage.key, str(stage), f"9_{n}", float(n), problem))
    records.log("9_1").write_text("step 10\nstep 20\n\n")
    records.write_report("9_2", Report(stages["failed"].key, error=BadInput("no such crop")))
    records.write_report("9_3", Report(stages["made"].key))
    known = [
        QueuedJob("9_0", "PENDING", "Dependency"),
        QueuedJob("9_1", "RUNNING", "None", "n1", "0:10", "4:00:00"),
        QueuedJob("9_2", "FAILED"),
        QueuedJob("9_6", "CANCELLED", "DependencyNeverSatisfied"),
    ]
    monkeypatch.setattr(queue, "read_queue", lambda: {job.job: job for job in known})
    with store.lock(stages["runs"]):
        jobs = {job["stage"].split()[0].partition("/")[2]: job for job in read_jobs(home)}
    assert {name: job["state"] for name, job in jobs.items()} == {
        "waits": "queued",
        "runs": "running",
        "failed": "failed",
        "made": "done",
        "lost": "lost",
        "gone": "failed",
        "cut": "failed",
    }
    assert (jobs["runs"]["last"], jobs["runs"]["node"]) == ("step 20", "n1")
    assert jobs["failed"]["reason"] == "no such crop"
    monkeypatch.setattr(queue, "read_queue", lambda: None)
    assert {job["stage"].split()[0]: job["state"] for job in read_jobs(home)}["toy/waits"] == (
        "unknown"
    )
    assert list(find_makers(home)) == []  # the lock above is this process's own


class Cluster:
    """A cluster that takes scripts and runs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        for name, text in {"sbatch": FAKE_SBATCH, "srun": "#!/bin/sh\n"}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.cancelled: list[str] = []

    def options(self, number: int) -> dict[str, str]:
        """The #SBATCH options of a script."""
        lines = (self.folder / "scripts" / str(number)).read_text().splitlines()
        words = [x.removeprefix("#SBATCH --") for x in lines if x.startswith("#SBATCH")]
        return {w.partition("=")[0]: w.partition("=")[2] for w in words}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    made = Cluster(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    monkeypatch.setattr(queue, "cancel", made.cancelled.extend)
    return made


def submit(
    home: Path, stages: Mapping[str, Stage], slurm: str = "", known: dict[str, str] | None = None
) -> dict[str, str]:
    from bench.launch.slurm.submit import Submitter

    submitter = Submitter(JobRecords(home), parse(slurm))
    submitter.executor._throttling = 0.0  # no server to spare
    return submitter.submit({k: job_of(home, s) for k, s in stages.items()}, known or {})


def test_like_stages_are_arrays_and_wait_for_their_inputs(home: Path, fake: Cluster) -> None:
    stages = {s.key: s for s in plan(3).stages}
    numbers = submit(home, stages, "partition=gpu,time=1:30:00,gpus=1,cpu.partition=cpus,qos=high")
    kinds = {numbers[key]: stage.kind for key, stage in stages.items()}
    assert set(kinds.values()) == {"data", "pretrain", "evaluate"}
    assert sorted(kinds) == ["1", "2_0", "2_1", "2_2", "3_0", "3_1", "3_2"]
    data, pretrain, evaluate = (fake.options(n) for n in (1, 2, 3))
    assert "dependency" not in data
    assert pretrain["dependency"] == "afterok:1"
    assert evaluate["dependency"] == "afterok:1,aftercorr:2"
    assert pretrain["array"] == "0-2%3"
    for key, stage in stages.items():  # task n of the one is the backbone of task n of the other
        if stage.kind == "evaluate":
            backbone = numbers[stage.inputs["backbone"].key]
            assert backbone.partition("_")[2] == numbers[key].partition("_")[2]
    assert (data["partition"], pretrain["partition"]) == ("cpus", "gpu")
    assert "gpus-per-node" not in data
    assert pretrain["gpus-per-node"] == "1"
    assert {x["time"] for x in (data, pretrain, evaluate)} == {"90"}
    assert {x["qos"] for x in (data, pretrain)} == {"high"}
    assert pretrain["signal"] == "USR1@120"
    assert "requeue" in pretrain
    assert pretrain["kill-on-invalid-dep"] == "yes"
    records = JobRecords(home).all()
    assert {r.key: r.job for r in records} == numbers


def test_stages_that_wait_for_one_job_are_one_array(home: Path, fake: Cluster) -> None:
    """Where no task of another array stands for each of them; and tasks 1 and 2 without 0 are
    jobs of their own."""
    base = toy("base")
    several = [Stage("evaluate", f"t{n}", 1, {}, "", {"x": base}) for n in range(2)]
    submit(home, {s.key: s for s in [base, *several]})
    assert fake.options(2)["array"] == "0-1%2"
    assert fake.options(2)["dependency"] == "afterok:1"
    inputs = [toy(f"i{n}") for n in range(2)]
    users = [Stage("evaluate", f"u{n}", 1, {}, "", {"x": i}) for n, i in enumerate(inputs)]
    known = {inputs[0].key: "8_1", inputs[1].key: "8_2"}
    numbers = submit(home, {s.key: s for s in users}, known=known)
    assert sorted(numbers.values()) == ["3", "4"]
    after = {numbers[u.key]: known[i.key] for u, i in zip(users, inputs, strict=True)}
    assert {n: fake.options(int(n))["dependency"] for n in after} == {
        n: f"afterok:{job}" for n, job in after.items()
    }


def test_large_arrays_are_divided(
    home: Path, fake: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters limit the number of tasks; each part's evaluations follow its own trainings."""
    monkeypatch.setattr("bench.launch.slurm.submit.MOST", 2)
    numbers = submit(home, {s.key: s for s in plan(5).stages})
    names = "1 2_0 2_1 3_0 3_1 4 5 6_0 6_1 7_0 7_1"
    assert sorted(numbers.values()) == names.split()
    after = sorted(fake.options(n)["dependency"] for n in (5, 6, 7))
    assert after == ["afterok:1,aftercorr:2", "afterok:1,aftercorr:3", "afterok:1:4"]


def test_a_refused_job_takes_the_others_back(
    home: Path, fake: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCEPTED", "1")
    with pytest.raises(BadInput, match="invalid partition"):
        submit(home, {s.key: s for s in plan(1).stages})
    assert fake.cancelled == ["1"]
    assert JobRecords(home).all() == []


def test_a_job_does_not_inherit_the_job_of_its_command(
    home: Path, fake: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_CONF", "SLURM_MEM_PER_CPU", "MASTER_ADDR", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "here")
    stage = toy("a")
    submit(home, {stage.key: stage})
    names = {x.partition("=")[0] for x in (fake.folder / "environment").read_text().splitlines()}
    assert {"SLURM_CONF", "SBATCH_ACCOUNT"} <= names
    assert not {"SLURM_MEM_PER_CPU", "MASTER_ADDR"} & names
    assert os.environ["SLURM_MEM_PER_CPU"] == "here"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nodes": 2}, "--nodes 2"),
        ({"max_parallel": 2}, "--max-parallel"),
        ({"devices": 2, "slurm": "gpus=1"}, "gpus=2"),
    ],
)
def test_options_that_contradict_the_queue_are_refused(
    home: Path, fields: dict[str, Any], words: str
) -> None:
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    from bench.core.progress import Progress
    from bench.launch.local import Silent
    from bench.launch.slurm.engine import launch

    runtime = Runtime(home=home, database="sqlite://", launcher="slurm", **fields)
    with pytest.raises(BadInput, match=words):
        launch(runtime, Store(home), Silent(), Progress())


@pytest.mark.parametrize(
    ("reason", "again"), [("DependencyNeverSatisfied", True), ("None", False)]
)
def test_what_slurm_cancels_by_itself_is_submitted_again(
    reason: str, again: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cancels a task of an array, before it begins, where another task of the array that it
    waits for has failed; what a user cancels stays so."""
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    from bench.launch.slurm.engine import SlurmEngine

    stage = Stage("evaluate", "knn", 1, {}, "")
    nobody: Any = SimpleNamespace()
    engine = SlurmEngine(Runtime(home=home, database="sqlite://"), Store(home), nobody, Progress())
    engine.records, engine.wanted = JobRecords(home), {stage.key: stage}
    engine.jobs = {stage.key: "13_0"}
    submitted: list[str] = []
    monkeypatch.setattr(engine, "_submit", submitted.extend)
    monkeypatch.setattr(queue, "cancel", lambda jobs: None)
    report = engine._submit_again(stage, QueuedJob("13_0", "CANCELLED", reason))
    assert submitted == ([stage.key] if again else [])
    assert (report is None) is again
