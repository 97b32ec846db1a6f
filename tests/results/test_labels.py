"""What boards call data, weights and rows: contents never share a label, and a user may name
them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from click.testing import CliRunner
from PIL import Image

from bench.cli import cli
from bench.core.errors import BadInput
from bench.core.stage import Stage
from bench.launch.tracked import describe_stage
from bench.plan.cell import Cell, PlannedCell
from bench.plan.options import split_name
from bench.results.db.database import Database, open_database
from bench.results.db.listener import DatabaseListener
from bench.results.db.result_file import describe_cell, describe_result
from bench.results.views.entries import load_entries
from bench.results.views.labels import Content, label_contents
from bench.results.views.placement import make_table
from tests.plan.test_cell import parse_command, planned
from tests.results.test_damaged_store import commit


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def database(home: Path) -> Database:
    return open_database(f"sqlite:///{home / 'results.db'}")


def stored(
    ap: float,
    seed: int = 0,
    method: str = "byol",
    learned: str = "a",
    scored: str = "a",
    weights: str = "",
    names: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    """A result of a cell on coco, whose contents are told apart by `learned`, `scored` and
    `weights`."""
    data = {k: Stage("data", "coco", 1, {"fingerprint": k}, "x:y") for k in (learned, scored)}
    backbone = Stage("pretrain", method, 1, {"seed": seed}, "x:y", {"data": data[learned]})
    if weights:
        backbone = Stage("weights", "weights", 1, {"content": weights}, "x:y")
    inputs = {"backbone": backbone, "data": data[scored]}
    final = Stage("evaluate", "coco_det", 1, {"seed": seed}, "x:y", inputs)
    crop, source = ("-", "unknown") if weights else ("image", "coco")
    cell = Cell(method, crop, "coco_det", source, "coco", "tiny", seed, (), weights, names)
    metrics = {"AP_bbox": ap, "AP50_bbox": ap + 10}
    return describe_result(PlannedCell(cell, final, ""), final, metrics, {"seconds": 1.0})


def test_two_files_of_one_name_are_two_rows_that_can_be_told_apart(database: Database) -> None:
    for content, ap in (("of run 1", 31.0), ("of run 2", 52.0)):
        for seed in (0, 1):
            result = stored(ap, seed, method="weights:checkpoint", weights=content)
            database.record_result(result)
    text = invoke("leaderboard")
    labels = re.findall(r"weights:checkpoint \[[0-9a-f]{6}\]", text)
    assert len(set(labels)) == 2
    rows = json.loads(invoke("leaderboard", "--json"))
    assert len({row["pretraining"] for row in rows}) == 2
    best = next(row for row in rows if row["metrics"]["AP_bbox"]["mean"] == 52.0)
    assert f"[{best['pretraining'][:6]}]" in labels[0], "the best row is the first"


def test_one_file_needs_no_digest(database: Database) -> None:
    database.record_result(stored(31.0, method="weights:checkpoint", weights="of run 1"))
    database.record_result(stored(33.0))
    assert "[" not in invoke("leaderboard")


def test_two_contents_of_a_set_are_two_tables(database: Database) -> None:
    database.record_result(stored(31.0, learned="a"))
    database.record_result(stored(52.0, learned="b", scored="b"))
    text = invoke("leaderboard")
    titles = re.findall(r"coco_det \(tiny; pretrained on (.*?), scored on (.*?)\)", text)
    assert len(titles) == 2
    assert len(set(titles)) == 2
    for learned, scored in titles:
        assert re.fullmatch(r"coco \[[0-9a-f]{6}\]", learned)
        assert scored == learned
    rows = json.loads(invoke("leaderboard", "--json"))
    assert len({row["pretrain_data_key"] for row in rows}) == 2
    assert len({row["task_data_key"] for row in rows}) == 2


def test_the_limit_is_of_each_of_them(database: Database) -> None:
    for method, ap in (("byol", 30.0), ("orl", 31.0), ("simclr", 32.0)):
        database.record_result(stored(ap, method=method, learned="a"))
        database.record_result(stored(ap + 50, method=method, learned="b"))
    text = invoke("leaderboard", "--limit", "2")
    assert text.count("simclr") == text.count("orl") == 2
    assert "byol" not in text


def test_named_data_bear_their_names(database: Database) -> None:
    named = (("coco", "warehouse"),)
    database.record_result(stored(31.0, seed=0, learned="a", names=named))
    database.record_result(stored(31.5, seed=1, learned="a"))  # a seed that was run without it
    database.record_result(stored(52.0, learned="b", scored="b"))
    text = invoke("leaderboard")
    assert "pretrained on coco:warehouse, scored on coco:warehouse" in text
    assert "pretrained on coco, scored on coco)" in text, "no digest where the labels differ"
    rows = json.loads(invoke("leaderboard", "--json"))
    assert {(row["pretrain_name"], len(row["seeds"])) for row in rows} == {
        ("warehouse", 2),
        ("", 1),
    }
    lines = list(csv.DictReader(io.StringIO(invoke("results", "export", "--format", "csv"))))
    assert {line["pretrain_name"] for line in lines} == {"warehouse", ""}
    assert len({line["pretrain_data_key"] for line in lines}) == 2


def test_the_dashboards_table_has_the_names_of_its_contents(database: Database) -> None:
    database.record_result(stored(31.0, learned="a", names=(("coco", "warehouse"),)))
    database.record_result(stored(52.0, learned="b"))
    with database.engine.connect() as connection:
        table = make_table(load_entries(connection, "tiny", "coco"))
    assert len(table.contents) == 2
    assert sorted(table.names.values()) == ["warehouse"]
    (column,) = table.columns
    assert column.note.startswith("warehouse")


def test_labels_of_contents_by_hand() -> None:
    labels = label_contents(
        [
            Content("coco", "aaaaaaaa", ""),
            Content("coco", "bbbbbbbb", ""),
            Content("coco", "cccccccc", "mine"),
            Content("coco", "cccccccc", ""),
            Content("voc2007", "dddddddd", ""),
            Content("coco", "", ""),
        ]
    )
    assert labels == {
        ("coco", "aaaaaaaa"): "coco [aaaaaa]",
        ("coco", "bbbbbbbb"): "coco [bbbbbb]",
        ("coco", "cccccccc"): "coco:mine",
        ("voc2007", "dddddddd"): "voc2007",
        ("coco", ""): "coco [unknown]",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(3):
        Image.new("RGB", (40, 40), (n, n, n)).save(folder / f"{n}.png")
    return folder


def test_a_name_of_data_enters_no_key_and_is_part_of_the_command(
    home: Path, folder: Path, tmp_path: Path
) -> None:
    options = {"method": "byol", "task": "knn"}
    (plain,) = planned(home, **options, data=f"images={folder}").cells
    (named,) = planned(home, **options, data=f"images={folder},name=warehouse").cells
    assert plain.final is not None
    assert named.final is not None
    assert named.final.key == plain.final.key
    records = describe_cell(plain), describe_cell(named)
    assert records[0]["group"] == records[1]["group"]
    assert [r["pretrain_name"] for r in records] == ["", "warehouse"]
    assert [r["task_name"] for r in records] == ["", ""]
    cells, paths = parse_command(records[1]["command"], tmp_path / "empty")
    assert cells == [named.cell]
    assert paths == {"images": folder}


def test_a_name_of_weights_enters_no_key_and_is_their_label(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    options: dict[str, Any] = {"method": None, "crop": None, "task": "knn"}
    (plain,) = planned(home, **options, backbone=f"weights={file}").cells
    (named,) = planned(home, **options, backbone=f"weights={file},name=mine").cells
    assert plain.final is not None
    assert named.final is not None
    assert named.final.key == plain.final.key
    assert [c.cell.method for c in (plain, named)] == ["weights:checkpoint", "weights:mine"]
    assert f"--backbone weights={file},name=mine" in named.command()
    assert parse_command(named.command(), tmp_path / "empty")[0] == [named.cell]


def test_a_result_gets_the_name_of_a_later_command(home: Path, database: Database) -> None:
    cell, place = commit(home)
    DatabaseListener(database).cell_done(cell, place)
    names = (("scenes", "small"),)
    later = PlannedCell(Cell(**{**vars(cell.cell), "names": names}), cell.final, cell.engine)
    DatabaseListener(database).cell_done(later, place)
    assert [r["pretrain_name"] for r in database.read_rows()] == ["small"]
    DatabaseListener(database).cell_done(cell, place)
    assert [len(r["cells"]) for r in database.read_rows()] == [1]


def test_the_trackers_group_has_the_name(home: Path) -> None:
    cell, _ = commit(home)
    names = (("scenes", "small"), ("weights", "mine"))
    named = PlannedCell(Cell(**{**vars(cell.cell), "names": names}), cell.final, cell.engine)
    assert named.final is not None
    run = describe_stage(named.final, [named])
    assert run.group.startswith("byol-image-coco_det-scenes:small-tiny-")
    assert run.config["data"] == "small"


@pytest.mark.parametrize("name", ["", "a b", "x/y", "\x1b[31m", "n" * 41])
def test_an_odd_name_is_one_line(home: Path, name: str) -> None:
    with pytest.raises(BadInput, match="a name has up to 40 letters"):
        planned(home, method="byol", data=f"scenes,name={name}")


def test_two_names_of_one_set_are_one_line(home: Path) -> None:
    with pytest.raises(BadInput, match="try: one name for both"):
        planned(home, data="scenes,name=a", task_data="scenes,name=b")
    assert split_name("coco=/a,b=c,name=x") == ("coco=/a,b=c", "x")
