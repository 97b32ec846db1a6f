"""Plans with crops: what enters a key, what is shared, settings of a crop and a generator of one
name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage, walk
from bench.plan.cell import Cell, Plan
from bench.plan.planner import Planner, make_plan, plan_each
from bench.plan.product import make_cells

NAMED_ALIKE = ("bing", "edge_boxes", "selective_search")


def planned(home: Path, crop: str, *sets: str) -> Plan:
    cells, paths = make_cells("byol", crop, "coco_det", "tiny", "0", None, None, sets)
    return make_plan(cells, Runtime(home=home, database="sqlite://"), paths)


def stage_of(plan: Plan, kind: str, name: str = "") -> Stage:
    (found,) = [s for s in plan.stages if s.kind == kind and (not name or s.name == name)]
    return found


def crop_of(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = stage_of(plan, "pretrain", "byol").params["crop"]["params"]
    return found


@pytest.mark.parametrize("name", NAMED_ALIKE)
def test_a_setting_goes_to_whichever_of_the_two_has_it(name: str, home: Path) -> None:
    plain = planned(home, name)
    generator = stage_of(plain, "proposals")
    assert generator.name == name
    crop_only = planned(home, name, f"{name}.n_crops=3")
    assert crop_of(crop_only)["n_crops"] == 3
    # made once for any number of crops
    assert stage_of(crop_only, "proposals").key == generator.key
    both = planned(home, name, f"{name}.max_side=99", f"{name}.n_crops=3")
    assert stage_of(both, "proposals").params["proposals"]["params"]["max_side"] == 99
    assert crop_of(both)["n_crops"] == 3
    bare = planned(home, name, "max_side=99", "n_crops=3")
    assert [s.key for s in bare.stages] == [s.key for s in both.stages]
    by_kind = planned(home, name, "proposals.max_side=99", "crop.n_crops=3")
    assert [s.key for s in by_kind.stages] == [s.key for s in both.stages]
    with pytest.raises(
        BadInput, match=rf"unknown setting of {name} 'n_crop' \(did you mean 'n_crops'"
    ):
        planned(home, name, f"{name}.n_crop=3")


def test_a_paired_crop_names_its_source(home: Path) -> None:
    plain = planned(home, "obj_scene")
    assert stage_of(plain, "proposals").name == "bing"
    other = planned(home, "obj_scene", "obj_scene.proposals=edge_boxes", "edge_boxes.top=50")
    assert stage_of(other, "proposals").name == "edge_boxes"
    assert stage_of(other, "proposals").params["proposals"]["params"]["top"] == 50
    with pytest.raises(
        BadInput, match=r"unknown proposals 'edge_box' \(did you mean 'edge_boxes'"
    ):
        planned(home, "obj_scene", "obj_scene.proposals=edge_box")


def test_crops_of_one_source_share_its_boxes(home: Path) -> None:
    plan = planned(home, "obj_scene,obj_obj,obj_obj_dilate,obj_obj_shift,dilate_dilate,bing")
    assert len([s for s in plan.stages if s.kind == "proposals"]) == 1
    assert len([s for s in plan.stages if s.kind == "pretrain"]) == 6


def test_iterations_matched_is_another_training_on_the_same_boxes(home: Path) -> None:
    plain, matched = (  # matched is what tiny has
        planned(home, "coarse", "coarse.iterations_matched=false"),
        planned(home, "coarse"),
    )
    assert stage_of(plain, "proposals").key == stage_of(matched, "proposals").key
    assert stage_of(plain, "pretrain", "byol").key != stage_of(matched, "pretrain", "byol").key
    assert crop_of(plain)["iterations_matched"] is False
    assert crop_of(matched)["iterations_matched"] is True
    network = stage_of(plain, "proposals").inputs["network"]
    assert (network.name, network.params["crop"]["name"]) == ("moco_v2", "image")


def test_the_coarse_crops_network_is_a_choice(home: Path) -> None:
    plan = planned(home, "coarse", "anchors_scda.phi=random_init")
    assert stage_of(plan, "proposals").inputs["network"].name == "random_init"
    same = planned(home, "coarse", "anchors_scda.phi=byol")
    image = planned(home, "image")
    assert stage_of(same, "proposals").inputs["network"].key == stage_of(image, "pretrain").key


def stats(
    home: Path, crop: str, split: str = "train", source: str = "boxes", seeds: int = 1, **more: Any
) -> Stage:
    cell = Cell("", crop, "", "scenes", "scenes", "tiny", 0, tuple(more.items()))
    ((_, stage),) = plan_each(
        [cell],
        Runtime(home=home, database="sqlite://"),
        {},
        lambda p: p.crop_stats(source, seeds),
        split=split,
    )
    return stage


def test_statistics_are_keyed_by_what_they_depend_on(home: Path) -> None:
    base = stats(home, "bing")
    changes = [
        stats(home, "edge_boxes"),
        stats(home, "bing", split="val"),
        stats(home, "bing", source="masks"),
        stats(home, "bing", seeds=2),
        stats(home, "bing", **{"bing.n_crops": "3"}),
        stats(home, "bing", **{"bing.top": "9"}),
        stats(home, "bing", **{"scenes.n_train": "9"}),
    ]
    assert len({s.key for s in [base, *changes]}) == 8
    assert stats(home, "bing").key == base.key


def test_statistics_of_val_learn_from_train(home: Path) -> None:
    """Boxes are of the split that is measured; what makes them learns from the training split."""
    for crop, role in (("bing", "model"), ("coarse", "network")):
        train, val = (stats(home, crop, split=s).inputs["regions"] for s in ("train", "val"))
        assert (train.params["split"], val.params["split"]) == ("train", "val")
        assert train.inputs[role].key == val.inputs[role].key
        assert train.inputs[role].params["split"] == "train"


def test_generators_may_learn_from_other_data_than_they_work_on(
    home: Path, tmp_path: Path
) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    runtime = Runtime(home=home, database="sqlite://")
    cell = Cell("", "coarse", "", "scenes", "images", "tiny", 0)
    for crop, role in (("bing", "model"), ("coarse", "network")):
        planner = Planner(cell, runtime, {"images": tmp_path})
        planner.learn_from = planner.data("scenes")
        regions = planner.component("crop", crop).stages(planner, planner.data("images"))[
            "regions"
        ]
        assert regions.inputs["data"].name == "images"
        assert [s.name for s in walk(regions.inputs[role]) if s.kind == "data"] == ["scenes"]
