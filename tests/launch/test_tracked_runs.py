"""What a command leaves in its tracker beside the database: runs, config, groups, tags, tables."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.api.request import Request, make_runtime
from bench.api.sweeping import spell_tracking
from bench.cli._tracking import take_tracking
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.launch.local import LocalEngine, Silent
from bench.launch.tracked import clip_tags, describe_stage, digest_without_seed, flatten_settings
from bench.launch.tracking import check_tracker
from bench.plan.cell import Plan, PlannedCell
from tests.launch.toys import engine
from tests.launch.wandb_files import OfflineRun, read_runs
from tests.sweep.small import finish, opened, work

FEW = {
    "scenes.n_train": 24,
    "scenes.n_val": 8,
    "scenes_objects.n_train": 24,
    "scenes_objects.n_val": 8,
}
TRAINED = {**FEW, "byol.epochs": 1, "byol.batch_size": 8, "byol.lr": 0.25}


def make_plan(**options: str) -> Plan:
    given = {"method": "byol", "crop": "gt", "task": "knn", **options}
    return Request(**given, sets=("byol.lr=0.25",)).plan(make_runtime({}))


def users(plan: Plan, stage: Stage) -> list[PlannedCell]:
    """The cells that need a stage, by the definition of a graph."""

    def needs(top: Stage) -> bool:
        return top.key == stage.key or any(map(needs, top.inputs.values()))

    return [c for c in plan.cells if c.final and needs(c.final)]


def test_a_group_is_the_same_for_all_seeds_and_for_nothing_else() -> None:
    plan = make_plan(crop="gt,image", task="knn,object_knn", seeds="0-2")
    groups = defaultdict(list)
    for planned in plan.cells:
        assert planned.final is not None
        run = describe_stage(planned.final, users(plan, planned.final))
        assert run.config["seed"] == planned.cell.seed
        groups[run.group].append((planned.cell.crop, planned.cell.task))
    assert len(groups) == 4
    assert all(len(cells) == 3 and len(set(cells)) == 1 for cells in groups.values())
    changed = make_plan(crop="gt", task="knn", precision="bf16").cells[0].final
    assert changed is not None
    assert describe_stage(changed, []).group not in groups


def test_the_seed_of_the_data_is_no_seed_of_the_cell() -> None:
    data = [Stage("data", "scenes", 1, {"params": {"seed": n}, "seed": 0}, "") for n in (1, 2)]
    tops = [
        Stage("pretrain", "byol", 1, {"seed": s}, "", {"data": d}) for d in data for s in (1, 2)
    ]
    digests = [digest_without_seed(stage) for stage in tops]
    assert digests[0] == digests[1] != digests[2] == digests[3]


def test_a_pretraining_says_which_cells_share_it() -> None:
    plan = make_plan(task="knn,object_knn")
    (stage,) = (s for s in plan.stages if s.kind == "pretrain")
    run = describe_stage(stage, users(plan, stage))
    assert run.config["shared"] is True
    assert (run.config["cells"], run.config["tasks"]) == (2, "knn, object_knn")
    assert "task" not in run.config, "its cells have different ones"
    assert (run.config["method"], run.config["crop"], run.config["byol-lr"]) == (
        "byol",
        "gt",
        0.25,
    )
    assert run.tags == ("shared",)
    assert run.notes == "Shared by 2 cells: byol x gt x knn, byol x gt x object_knn."
    alone = describe_stage(stage, users(plan, stage)[:1])
    assert (alone.config["shared"], alone.tags, alone.notes) == (False, (), "")


def test_a_stage_of_another_method_has_the_name_of_its_own() -> None:
    """ORL's first stage is plain BYOL."""
    plan = make_plan(method="orl", crop="image")
    names = {
        describe_stage(s, users(plan, s)).config["method"]
        for s in plan.stages
        if s.kind == "pretrain"
    }
    assert names == {"byol", "orl"}


def test_another_process_gets_what_the_command_knows_of_a_stage(home: Path) -> None:
    plan = make_plan(task="knn,object_knn")
    driver = engine(home)
    for planned in plan.cells:
        driver._label(planned)
    (stage,) = (s for s in plan.stages if s.kind == "pretrain")
    job = driver.job(stage, driver.runtime)
    assert job.run == describe_stage(stage, users(plan, stage))
    worker = LocalEngine(job.runtime, driver.store, Silent())
    assert worker.tracked_run(stage).config.get("tasks") == ""
    worker.runs[stage.key] = job.run
    assert worker.tracked_run(stage).config["tasks"] == "knn, object_knn"


def test_settings_are_values_under_names_without_dots() -> None:
    pairs = [
        ("byol.lr", "0.1"),
        ("a.b", "text"),
        ("c", "true"),
        ("d", "NaN"),
        ("e", "1,2"),
        ("f", 3),
    ]
    assert flatten_settings(pairs) == {
        "byol-lr": 0.1,
        "a-b": "text",
        "c": True,
        "d": "NaN",
        "e": "1,2",
        "f": 3,
    }


def test_tags_fit_and_are_there_once() -> None:
    assert clip_tags(["a", " a ", "", "study:" + "x" * 60 + "-1a2b3c"]) == (
        "a",
        "x" * 57 + "-1a2b3c",
    )


def test_an_unknown_tracker_is_one_line() -> None:
    with pytest.raises(
        bench.BadInput, match=r"tracker in --tracker 'wandbb' \(did you mean 'wandb'"
    ):
        check_tracker("wandbb", "--tracker")


def by_type(home: Path) -> dict[str, list[OfflineRun]]:
    runs: dict[str, list[OfflineRun]] = defaultdict(list)
    for run in read_runs(home):
        runs[run.job_type].append(run)
    return runs


def test_a_command_leaves_its_cells_its_pretraining_and_its_board(home: Path) -> None:
    results = bench.run(
        ["byol"],
        "gt",
        ["knn", "object_knn"],
        set=TRAINED,
        workers=0,
        progress=False,
        tracker="wandb",
        wandb_tags=("paper",),
        wandb_notes="First try.",
        wandb_system=False,
    )
    runs = by_type(home)
    assert set(runs) == {"pretrain", "evaluate", "leaderboard"}, "data and features show nothing"
    (pretrained,), (board,) = runs["pretrain"], runs["leaderboard"]
    for result, run in zip(results, sorted(runs["evaluate"], key=lambda r: r.name), strict=True):
        assert run.id == result.key[:16]
        plain = ("method", "crop", "task", "data", "task_data", "scale", "seed", "key")
        assert {name: run.config[name] for name in plain} == {
            **dict(method="byol", crop="gt", task=result.task, data="scenes", scale="tiny"),
            **dict(task_data="scenes_objects" if result.task == "knn" else "scenes", seed=0),
            "key": result.key,
        }
        assert run.config["byol-lr"] == 0.25
        assert "byol.lr=0.25" in run.config["overrides"].split()
        assert run.config["backbone"] == pretrained.id
        assert run.tags == ["paper"]
        assert {name: run.summary[name] for name in result.metrics} == result.metrics
    assert pretrained.config["shared"] is True
    assert pretrained.tags == ["paper", "shared"]
    assert pretrained.notes.startswith("First try. Shared by 2 cells: ")
    assert [len(pretrained.media(name)) for name in ("crops", "views")] == [1, 1]
    assert pretrained.history[-1]["lr"] > 0
    table = board.table("leaderboard")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    measured = bench.leaderboard()
    assert [(r["method"], r["task"]) for r in rows] == [
        *zip(measured["method"], measured["task"], strict=True)
    ]
    for row, (_, mine) in zip(rows, measured.iterrows(), strict=True):
        assert row["mean"] == pytest.approx(mine[row["metric"]])
        assert (row["ci95"], row["seeds"], row["mark"]) == (None, 1, "unknown")
    again = bench.run(["byol"], "gt", "knn", set=TRAINED, progress=False, tracker="wandb")
    assert again[0].state == "done"
    assert len(read_runs(home)) == 4, "what is only reused leaves no run"


def test_a_sweep_is_a_group_of_trials_with_the_values_as_config(home: Path) -> None:
    few = [word for name, value in FEW.items() for word in ("--set", f"{name}={value}")]
    cheap = ["--method", "random_init", "--task", "knn", *few]
    sweep, runtime = opened("--param", "knn.k=1,3", *cheap)
    runtime = runtime.model_copy(update={"tracker": "wandb", "wandb_system": False})
    work(sweep, runtime)
    finish(sweep, runtime)
    runs = by_type(home)
    trials = sorted(runs["trial"], key=lambda r: r.config["trial"])
    assert {run.group for run in trials} == {sweep.name}
    assert [(r.config["trial"], r.config["knn-k"]) for r in trials] == [(0, 1), (1, 3)]
    assert [r.summary["top1"] for r in trials] == [t.value for t in sweep.trials()]
    assert {r.summary["state"] for r in trials} == {"complete"}
    (tag,) = clip_tags([f"study:{sweep.name}"])
    assert len(runs["evaluate"]) == 3, "two trials and the winner on the test images"
    assert all(tag in run.tags for run in [*trials, *runs["evaluate"]])
    (winner,) = (run for run in runs["evaluate"] if "winner" in run.tags)
    best = max(sweep.trials(), key=lambda t: t.value or 0.0)
    assert winner.config["knn-k"] == best.user_attrs["values"]["knn.k"]


def test_the_workers_of_a_sweep_track_as_their_command_does(home: Path) -> None:
    from bench.cli.sweep import command

    fields: dict[str, Any] = {
        "tracker": "wandb",
        "wandb_project": "crops",
        "wandb_entity": "us",
        "wandb_tags": ("a", "b c"),
        "wandb_notes": "--odd, note",
        "wandb_system": False,
    }
    words = spell_tracking(Runtime(home=home, database="sqlite://", **fields))
    options = command.make_context("sweep", words).params
    assert take_tracking(options) == fields


def test_tensorboard_reads_the_same(home: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    results = bench.run(
        "byol", "gt", "knn", set=TRAINED, workers=0, progress=False, tracker="tensorboard"
    )
    assert not (home / "wandb").exists()
    (pretrained,) = (home / "tensorboard").glob("*/pretrain-byol-*")
    (judged,) = (home / "tensorboard").glob(f"*/evaluate-knn-{results[0].key[:16]}")
    assert list((home / "tensorboard").glob("leaderboard/*"))
    events = reader.EventAccumulator(str(pretrained)).Reload()
    assert {"loss", "lr", "std"} <= set(events.Tags()["scalars"])
    assert {"crops", "views"} <= set(events.Tags()["images"])
    scores = reader.EventAccumulator(str(judged)).Reload()
    assert scores.Scalars("top1")[0].value == pytest.approx(results[0].metrics["top1"])
