"""A weights file as a stage and as a cell: identity, files, what the command line says."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from bench.contracts import registry
from bench.core.errors import BadInput
from bench.core.params import Runtime, canonical
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.nn.backbones import build_backbone, load_backbone
from bench.plan.cell import Cell, Plan
from bench.plan.planner import make_plan
from bench.plan.product import make_cells
from bench.results.db.result_file import describe_cell
from bench.stages.weights import label, weights_stage
from tests.core.test_store import Heard
from tests.e2e.micro import bench

OPTIONS: dict[str, Any] = {
    "method": None,
    "crop": None,
    "task": "coco_det",
    "scale": "tiny",
    "seeds": "0",
    "data": None,
    "task_data": None,
    "sets": (),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    path = tmp_path_factory.mktemp("weights") / "moco_v2 200ep.pth.tar"
    torch.save({"state_dict": {f"module.encoder_q.{k}": v for k, v in state.items()}}, path)
    return path


def runtime(home: Path) -> Runtime:
    return Runtime(home=home, database="sqlite://", tracker="none", devices="cpu", workers=0)


def planned(home: Path, backbone: str | None, **changes: Any) -> Plan:
    cells, paths = make_cells(**{**OPTIONS, **changes}, backbone=backbone)
    return make_plan(cells, runtime(home), paths)


def test_content_is_identity_and_the_path_is_not(file: Path, home: Path, tmp_path: Path) -> None:
    first = weights_stage(str(file), runtime(home))
    moved = tmp_path / "elsewhere.bin"
    shutil.copy(file, moved)
    assert weights_stage(str(moved), runtime(home)).key == first.key
    for stage in (first, first.inputs["file"]):
        assert str(file.parent) not in canonical(stage.record())
        assert "moco" not in canonical(stage.record())
    changed = torch.load(file, weights_only=True)
    changed["state_dict"]["module.encoder_q.bn1.bias"][0] += 1e-6
    torch.save(changed, moved)
    assert weights_stage(str(moved), runtime(home)).key != first.key


def test_planning_says_what_it_saw_in_the_file(file: Path, home: Path) -> None:
    """Its cautions too, before anything is run."""
    said = bench("plan", "--backbone", f"weights={file}", "--task", "knn").stdout
    report = "moco_v2 200ep.pth.tar: resnet18: 120 of 120 tensors match"
    assert report in " ".join(said.split())


def test_the_stage_leaves_a_backbone_and_a_report(file: Path, home: Path) -> None:
    run = runtime(home)
    stage = weights_stage(str(file), run)
    folder = LocalEngine(run, Store(home), Heard()).ensure(stage)
    backbone = build_backbone("resnet18")
    assert load_backbone(folder / "backbone.pth", backbone) == 120
    theirs = torch.load(file, weights_only=True)["state_dict"]
    assert all(
        torch.equal(v, theirs[f"module.encoder_q.{k}"]) for k, v in backbone.state_dict().items()
    )
    assert json.loads((folder / "weights.json").read_text()) == {
        "backbone": "resnet18",
        "tensors": 120,
        "tensors_matched": 120,
        "counters_set_to_0": 0,
        "prefix": "state_dict.module.encoder_q.",
        "left_out": {"state_dict.module.encoder_q.fc": 2},
    }
    again = LocalEngine(run, Store(home), Heard())
    assert again.ensure(stage) == folder
    assert not again.outcome.made


def test_seeds_share_the_backbone(file: Path, home: Path) -> None:
    plan = planned(home, f"weights={file}", seeds="0,1")
    one, two = (c.final for c in plan.cells)
    assert one is not None
    assert two is not None
    assert one.key != two.key
    assert one.inputs["backbone"].key == two.inputs["backbone"].key
    assert [s.kind for s in plan.stages].count("weights") == 1
    assert not [s for s in plan.stages if s.kind == "pretrain"]
    records = [describe_cell(c) for c in plan.cells]
    assert records[0]["group"] == records[1]["group"]
    names = {
        k: records[0][k]
        for k in ("method", "crop", "pretrain_data", "task_data", "pretrain_data_key")
    }
    assert names == {
        "method": "weights:moco_v2_200ep",
        "crop": "-",
        "pretrain_data": "unknown",
        "task_data": "scenes",
        "pretrain_data_key": "",
    }


def test_the_cells_command_makes_the_cell_again(file: Path, home: Path) -> None:
    plan = planned(home, f"weights={file}", sets=("coco_det.iterations=7",))
    words = shlex.split(plan.cells[0].cell.command())
    given = {words[i][2:]: words[i + 1] for i in range(2, len(words), 2) if words[i] != "--set"}
    assert given.pop("backbone") == f"weights={file}"
    sets = tuple(words[i + 1] for i, w in enumerate(words) if w == "--set")
    again = planned(
        home, f"weights={file}", **{k.replace("-", "_"): v for k, v in given.items()}, sets=sets
    )
    assert again.cells[0].final is not None
    assert plan.cells[0].final is not None
    assert again.cells[0].final.key == plan.cells[0].final.key


def test_a_task_that_cannot_judge_it_says_so(home: Path, tmp_path: Path) -> None:
    torch.save({"model": build_backbone("vit_tiny").state_dict()}, tmp_path / "mae.pth")
    (cell,) = planned(home, f"weights={tmp_path / 'mae.pth'}").cells
    assert cell.final is None
    assert "vision transformer" in str(cell.unsupported)


def test_backbone_by_name_is_the_methods_setting(home: Path) -> None:
    named = planned(home, "resnet34", method="byol")
    same = planned(home, None, method="byol", sets=("method.backbone=resnet34",))
    other = planned(home, None, method="byol")
    keys = [p.cells[0].final.key for p in (named, same, other)]  # type: ignore[union-attr]
    assert keys[0] == keys[1] != keys[2]
    assert named.cells[0].cell.overrides == (("method.backbone", "resnet34"),)
    assert "--set method.backbone=resnet34" in named.cells[0].cell.command()


@pytest.mark.parametrize(
    ("backbone", "changes", "message"),
    [
        (None, {}, "--method is missing"),
        ("resnet5", {"method": "byol"}, "unknown backbone 'resnet5' .*resnet50"),
        ("resnet50", {}, "--method is missing"),
        ("weights=", {}, "NAME=FILE, got 'weights='"),
        ("file=/x", {"method": "byol"}, "NAME=FILE, got 'file=/x'"),
        ("weights=/no/such.pth", {}, "no weights file at /no/such.pth"),
        ("weights=/x", {"method": "byol"}, "--method says how to pretrain"),
        ("weights=/x", {"crop": "grid"}, "--crop says how to pretrain"),
        ("weights=/x", {"data": "scenes"}, "--data says how to pretrain"),
    ],
)
def test_bad_input_is_one_line(
    backbone: str | None, changes: dict[str, Any], message: str, home: Path
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        planned(home, backbone, **changes)
    assert "\n" not in str(caught.value)


def test_a_method_setting_has_no_owner_in_a_weights_cell(file: Path, home: Path) -> None:
    with pytest.raises(BadInput, match="method"):
        planned(home, f"weights={file}", sets=("method.epochs=3",))


def in_hub(cache: Path, model: str, state: dict[str, Any]) -> Path:
    """A file where a download of timm's from the hub would have left it."""
    repository = cache / f"models--timm--{model}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    folder = repository / "snapshots" / "abc"
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def test_timms_weights_are_those_on_this_machine(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell of `timm:NAME`; the same stage as that of the file, another than of other weights."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BadInput, match=r"test_vit.r160_in1k are not on this machine, and bench"):
        planned(home, "timm:test_vit", task="knn")
    torch.manual_seed(0)
    net = timm.create_model("test_vit").eval()
    file = in_hub(tmp_path, "test_vit.r160_in1k", net.state_dict())
    (cell,) = planned(home, "timm:test_vit", task="knn").cells
    assert cell.final is not None
    record = describe_cell(cell)
    assert (record["method"], record["crop"]) == ("timm:test_vit", "-")
    assert "--backbone timm:test_vit --task knn" in cell.command()
    (named,) = planned(home, f"timm:test_vit={file}", task="knn").cells
    assert named.final is not None
    assert named.final.inputs["backbone"].key == cell.final.inputs["backbone"].key
    assert f"--backbone timm:test_vit={file} " in named.command()
    run = runtime(home)
    folder = LocalEngine(run, Store(home), Heard()).ensure(weights_stage("timm:test_vit", run))
    backbone = build_backbone("timm:test_vit")
    assert load_backbone(folder / "backbone.pth", backbone) == len(net.state_dict()) - 2 + 2
    report = json.loads((folder / "weights.json").read_text())
    assert (report["tensors"], report["left_out"]) == (len(net.state_dict()) - 2, {"head": 2})


def test_a_folder_is_keyed_by_all_that_says_what_it_is(home: Path, tmp_path: Path) -> None:
    net = timm.create_model("test_vit", num_classes=3)
    timm.models.save_for_hf(net, tmp_path, safe_serialization=True)
    (tmp_path / "README.md").write_text("more")
    run = runtime(home)
    stage = weights_stage(str(tmp_path), run)
    folder = LocalEngine(run, Store(home), Heard()).ensure(stage)
    assert json.loads((folder / "weights.json").read_text())["left_out"] == {"head": 2}
    (tmp_path / "README.md").write_text("less")
    assert weights_stage(str(tmp_path), run).key == stage.key
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.5, 0.5, 0.5]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert weights_stage(str(tmp_path), run).key != stage.key


def test_a_network_of_timms_can_be_trained(home: Path) -> None:
    named = planned(home, "timm:test_vit,depth=2", method="byol", task="knn").cells[0]
    assert named.final is not None
    learned = named.final.inputs["backbone"].params["method"]["params"]
    assert learned["backbone"] == "timm:test_vit,depth=2"
    words = shlex.split(named.cell.command())
    assert "method.backbone=timm:test_vit,depth=2" in words


@pytest.mark.parametrize(
    ("network", "tasks"),
    [
        ("timm:test_resnet", "coco_det,coco_det_c4,voc12_seg,knn,voc07_svm"),
        ("timm:test_convnext", "coco_det,voc12_seg,coco_retinanet,coco_keypoints,voc07_finetune"),
        ("timm:swin_tiny_patch4_window7_224", "coco_det,coco_retinanet,object_knn,pets"),
        ("timm:test_vit", "knn,voc07_svm,voc07_finetune,object_knn"),
    ],
)
def test_tasks_say_which_networks_of_timms_they_judge(network: str, tasks: str) -> None:
    everything = "coco_det,coco_det_c4,coco_retinanet,coco_vitdet,voc12_seg,knn,voc07_svm,pets"
    everything += ",coco_keypoints,object_knn,voc07_finetune"
    can = {}
    for name in everything.split(","):
        kind: Any = registry.load("task", name)
        can[name] = kind.resolve("tiny", {}).supports(network)
    assert {t for t in tasks.split(",") if can[t] is not None} == set()
    judged = {"timm:test_resnet": 10, "timm:test_convnext": 9, "timm:test_vit": 5}
    assert sum(reason is None for reason in can.values()) == judged.get(network, 8)
    assert all("\n" not in reason for reason in can.values() if reason)


def test_labels() -> None:
    assert label("timm:vit_small,depth=2") == "timm:vit_small_depth_2"
    assert label("timm:vit_small,depth=2=/a/mine.pth") == "weights:mine"
    assert label("/a/b/moco_v2_800ep_pretrain.pth.tar") == "weights:moco_v2_800ep_pretrain"
    assert label("x,y z.ckpt") == "weights:x_y_z"
    assert len(label("a" * 300 + ".pth")) < 128
    assert Cell("a", "b", "c", "d", "e", "f", 0).weights == ""


@pytest.mark.slow
def test_the_command_ends_with_a_row(file: Path, home: Path) -> None:
    sets = (
        "scenes.n_train=12",
        "scenes.n_val=4",
        "coco_det.iterations=2",
        "coco_det.steps=1,2",
        "coco_det.precise_bn=1",
        "coco_det.warmup=1",
    )
    more = [x for s in sets for x in ("--set", s)]
    done = bench("run", "--backbone", f"weights={file}", "--task", "coco_det", *more)
    assert done.returncode == 0, done.stderr
    assert (
        "resnet18: 120 of 120 tensors match under 'state_dict.module.encoder_q.'"
        in done.stderr + done.stdout
    )
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert (row["method"], row["crop"], row["pretrain_data"]) == (
        "weights:moco_v2_200ep",
        "-",
        "unknown",
    )
    again = bench("run", "--backbone", f"weights={file}", "--task", "coco_det", *more)
    assert "0 stage(s) made" in again.stdout
    assert bench("results", "check").returncode == 0
