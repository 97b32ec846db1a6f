"""bench data add: a name stands for a set, its folder and its settings in every command."""

from __future__ import annotations

import json
import shlex
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.core.params import Runtime
from bench.core.stage import Stage, walk
from bench.plan.named import find_named
from bench.plan.product import plan_product
from bench.results.views.commands import fill_command
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
    code, _, err = bench("data", "remove", "warehose")
    assert code == 2
    assert "did you mean 'warehouse'?" in err


def data_of(planned: Any) -> tuple[Stage, Stage]:
    """The stages of the data that is pretrained on, and of the task's."""
    pretrain = next(s for s in walk(planned.final) if s.kind == "pretrain")
    scored = planned.final.inputs["data"]
    return pretrain.inputs["data"], scored


def options_of(words: list[str]) -> dict[str, Any]:
    """What a printed command says of data and settings."""
    at = dict(pairwise(words))
    sets = tuple(words[i + 1] for i, w in enumerate(words) if w == "--set")
    return {"data": at["--data"], "task_data": at["--task-data"], "sets": sets}


@pytest.mark.parametrize("place", ["another folder", "the same folder"])
def test_two_sets_of_one_kind_go_together(
    place: str, bench: Bench, folder: Path, home: Path, tmp_path: Path
) -> None:
    other = folder
    if place == "another folder":
        other = tmp_path / "other"
        shutil.copytree(folder, other)
        (other / "our boxes.json").rename(other / "theirs.json")
    train = "theirs.json:pics" if other != folder else "ours/val.json:pics"
    bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES)
    bench("data", "add", "yard", "coco_json", str(other), "--set", f"train={train}", *NAMES[2:])
    first, second = (plan(home, data=n, task_data=n) for n in ("warehouse", "yard"))
    if other == folder:  # copies have the same content, so the same key
        assert data_of(first)[0].key != data_of(second)[0].key
    both = plan(home, data="warehouse", task_data="yard")
    assert [s.key for s in data_of(both)] == [data_of(p)[0].key for p in (first, second)]
    assert (both.cell.pretrain_name, both.cell.task_name) == ("warehouse", "yard")
    # the printed command says all of it
    words = shlex.split(both.command())
    for name in ("warehouse", "yard"):
        bench("data", "remove", name)
    again = plan(home, **options_of(words))
    assert (again.final.key, again.command()) == (both.final.key, both.command())
    assert [s.key for s in data_of(again)] == [s.key for s in data_of(both)]


def test_a_setting_of_a_role_is_that_of_one_set(bench: Bench, folder: Path, home: Path) -> None:
    bench("data", "add", "warehouse", "coco_json", str(folder), *NAMES)
    plain = plan(home, data="warehouse", task_data="warehouse")
    sets = ("task_data.train=ours/val.json:pics",)
    changed = plan(home, data="warehouse", task_data="warehouse", sets=sets)
    assert data_of(changed)[0].key == data_of(plain)[0].key
    assert data_of(changed)[1].key != data_of(plain)[1].key
    words = ("plan", "-m", "random_init", "-t", "object_knn", "--data", "warehouse")
    code, _, err = bench(*words, "--task-data", "warehouse", "--set", "task_data.trian=x")
    assert code == 2
    assert "did you mean 'train'?" in err
    assert len(err.strip().splitlines()) == 1


def test_two_sets_of_one_kind_are_two_columns(bench: Bench, folder: Path, tmp_path: Path) -> None:
    """A command of the board fills the column of the set it scores on."""
    options = {"--data": "coco_json=/a,name=a", "--task-data": "coco_json=/b,name=b"}
    entry = SimpleNamespace(
        command=shlex.join(["bench", "run", *(w for pair in options.items() for w in pair)]),
        task="knn",
        task_data="coco_json",
        pretrain_data="coco_json",
        overrides={"pretrain_data.train": "x.json", "task_data.train": "y.json"},
    )
    column = SimpleNamespace(task="knn", task_data="coco_json", settings=())
    row = SimpleNamespace(entries={"one": entry}, seeds=[0])
    words = shlex.split(fill_command(cast(Any, row), cast(Any, column)))
    assert options_of(words) == {
        "data": "coco_json=/a,name=a",
        "task_data": "coco_json=/b,name=b",
        "sets": ("pretrain_data.train=x.json",),
    }


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
