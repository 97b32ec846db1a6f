"""bench data add: a name stands for a set, its folder and its settings in every command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from bench.core.params import Runtime
from bench.plan.named import find_named
from bench.plan.product import plan_product
from tests.cli.conftest import Bench
from tests.data.own import coco, pictures, put_json, save

TRAIN, VAL = pictures("train"), pictures("val")
NAMES = ("--set", "train=our boxes.json:pics", "--set", "coco_json.val=ours/val.json:pics")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A COCO set of nobody's layout, in a folder whose name has a space and quotes."""
    root = tmp_path / 'the "lab"'
    for p in (*TRAIN, *VAL):
        save(root / "pics" / f"{p.name}.png", p)
    put_json(root / "our boxes.json", coco({f"{p.name}.png": p for p in TRAIN}))
    put_json(root / "ours" / "val.json", coco({f"{p.name}.png": p for p in VAL}))
    return root


def plan(home: Path, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "method": "random_init",
        "crop": None,
        "task": "object_knn",
        "scale": "tiny",
        "seeds": "0",
        "data": None,
        "task_data": None,
        "sets": (),
    }
    runtime = Runtime(home=home, database="sqlite://", tracker="none")
    (cell,) = plan_product(runtime, **(options | changes)).cells
    assert cell.final is not None, cell.unsupported
    return cell


def test_a_name_is_its_set_and_no_part_of_the_key(bench: Bench, folder: Path, home: Path) -> None:
    code, out, err = bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES)
    assert code == 0, err
    assert (
        out.splitlines()[-1]
        == "then: bench data check warehouse, or --data warehouse in any command"
    )
    named = plan(home, data="warehouse", task_data="warehouse")
    plain = plan(
        home,
        data=f"coco_json={folder}",
        task_data=f"coco_json={folder}",
        sets=("coco_json.train=our boxes.json:pics", "coco_json.val=ours/val.json:pics"),
    )
    assert named.final.key == plain.final.key
    assert named.cell.names == (("coco_json", "warehouse"),)
    # the printed command says all of it, and plans the same where nothing is named
    words = shlex.split(named.command())
    assert words[:2] == ["bench", "run"]
    at = {w: words[i + 1] for i, w in enumerate(words) if w in ("--data", "--task-data")}
    assert set(at.values()) == {f"coco_json={folder},name=warehouse"}
    bench("data", "remove", "warehouse")
    sets = tuple(words[i + 1] for i, w in enumerate(words) if w == "--set")
    again = plan(home, data=at["--data"], task_data=at["--task-data"], sets=sets)
    assert (again.final.key, again.command()) == (named.final.key, named.command())


def test_settings_of_the_command_come_after_those_of_the_name(
    bench: Bench, folder: Path, home: Path
) -> None:
    bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES)
    key = plan(home, task_data="warehouse").final.key
    turned = ("coco_json.train=ours/val.json:pics",)
    assert plan(home, task_data="warehouse", sets=turned).final.key != key


def test_check_and_list_know_the_name(bench: Bench, folder: Path, home: Path) -> None:
    bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES)
    code, out, err = bench("data", "check", "warehouse", "--workers", "0", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["data"], report["path"]) == ("coco_json", str(folder))
    assert {s: r["images"] for s, r in report["splits"].items()} == {"train": 4, "val": 4}
    rows = {row["name"]: row for row in json.loads(bench("data", "list", "--json")[1])}
    assert rows["warehouse"]["set"] == "coco_json"
    assert rows["warehouse"]["looked_for"] == str(folder)
    text = bench("data", "list")[1]
    assert "warehouse" in text.split("Named by bench data add:")[1]
    (home / "data" / "torn.toml").write_text("set = [")
    code, out, err = bench("data", "list")
    assert code == 0
    assert "warehouse" in out
    assert "torn.toml cannot be read" in err


def test_what_is_kept_is_what_was_typed(bench: Bench, folder: Path) -> None:
    bench("data", "add", "w.1", "coco_json", str(folder), *NAMES)
    named = find_named("w.1")
    assert named is not None
    assert (named.data, named.path) == ("coco_json", folder)
    assert dict(named.settings) == {
        "train": "our boxes.json:pics",
        "val": "ours/val.json:pics",
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("coco", "coco_json"), "'coco' is the name of a data set of bench"),
        (("a/b", "coco_json"), "a name has up to 40 letters"),
        (("w", "coco_jsn"), "did you mean 'coco_json'?"),
        (("w", "scenes"), "is generated here"),
        (("w", "coco_json", "--set", "trian=x"), "did you mean 'train'?"),
        (("w", "coco_json", "--set", "yolo.train=x"), "unknown owner of a setting 'yolo'"),
        (("w", "coco_json", "--set", "train=x.json"), "there is no file 'x.json'"),
        (("w", "coco"), "has no folder train2017/; but it has the COCO file"),
        (("w", "yolo"), "no data.yaml and no classes.txt"),
    ],
)
def test_a_set_that_cannot_be_read_gets_no_name(
    arguments: tuple[str, ...], says: str, bench: Bench, folder: Path, home: Path
) -> None:
    name, data, *more = arguments
    code, _, err = bench("data", "add", name, data, str(folder), *more)
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not (home / "data").exists()


def test_names_are_not_replaced_or_used_by_mistake(bench: Bench, folder: Path, home: Path) -> None:
    bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES)
    before = (home / "data" / "warehouse.toml").read_text()
    code, _, err = bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES[:2])
    assert code == 2
    assert "is a named set already" in err
    assert (home / "data" / "warehouse.toml").read_text() == before
    assert (
        bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES[:2], "--replace")[0]
        == 0
    )
    assert (home / "data" / "warehouse.toml").read_text() != before
    code, _, err = bench("data", "check", "warehose")
    assert code == 2
    assert "did you mean 'warehouse'?" in err
    code, _, err = bench("data", "check", "warehouse=/tmp")
    assert code == 2
    assert "takes no other" in err
    bench("data", "add", "other", "coco_json", str(folder), "--set", "train=ours/val.json:pics")
    code, _, err = bench(
        "plan",
        "-m",
        "random_init",
        "-t",
        "object_knn",
        "--data",
        "warehouse",
        "--task-data",
        "other",
    )
    assert code == 2
    assert "call 'coco_json' 'warehouse' and 'other'" in err
    code, _, err = bench("data", "remove", "warehose")
    assert code == 2
    assert "did you mean 'warehouse'?" in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("set = 5\npath = '/x'\n", "set is 5, not a text"),
        ("set = 'coco'\n", "path is None, not a text"),
        ("set = 'coco'\npath = '/x'\nsize = 3\n", "has 'size', which is none of"),
        ("set = 'coco_jso'\npath = '/x'\n", "did you mean 'coco_json'?"),
        ("set = 'coco'\npath = '/x'\n[settings]\ntrain = 1\n", "not a table of texts"),
        ("set =", "cannot be read"),
    ],
)
def test_a_file_that_was_edited_badly_is_one_line(
    text: str, says: str, bench: Bench, home: Path
) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data" / "mine.toml").write_text(text)
    code, _, err = bench("data", "check", "mine")
    assert code == 2
    assert says in err
    assert "mine.toml" in err
    assert len(err.strip().splitlines()) == 1
