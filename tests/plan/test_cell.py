"""From options to stages: sharing, overrides, bad input."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.cli.run import command
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.plan.cell import Cell, Plan
from bench.plan.options import match, parse_data, parse_seeds
from bench.plan.planner import make_plan
from bench.plan.product import make_cells

OPTIONS: dict[str, Any] = {
    "method": "orl",
    "crop": "image",
    "task": "coco_det",
    "scale": "tiny",
    "seeds": "0",
    "data": None,
    "task_data": None,
    "sets": (),
}


def planned(home: Path, **changes: Any) -> Plan:
    cells, paths = make_cells(**{**OPTIONS, **changes})
    return make_plan(cells, Runtime(home=home, database="sqlite://"), paths)


def keys(plan: Plan, kind: str, name: str) -> list[str]:
    return [s.key for s in plan.stages if (s.kind, s.name) == (kind, name)]


def test_orl_needs_everything_once_and_shares_byol(home: Path) -> None:
    plan = planned(home, method="orl,byol")
    kinds = [(s.kind, s.name) for s in plan.stages]
    assert len(kinds) == len(set(kinds)) or kinds.count(("evaluate", "coco_det")) == 2
    assert kinds.count(("pretrain", "byol")) == 1  # ORL's stage 1 is plain BYOL's pretraining
    assert kinds.count(("pretrain", "orl")) == 1
    assert kinds.count(("proposals", "selective_search")) == 1
    position = {kind: i for i, kind in enumerate(kinds)}
    assert position["data", "scenes"] < position["pretrain", "byol"] < position["pretrain", "orl"]


def test_seed_changes_training_but_not_data_or_proposals(home: Path) -> None:
    a, b = planned(home, seeds="0"), planned(home, seeds="1")
    assert keys(a, "data", "scenes") == keys(b, "data", "scenes")
    assert keys(a, "proposals", "selective_search") == keys(b, "proposals", "selective_search")
    assert keys(a, "pretrain", "byol") != keys(b, "pretrain", "byol")
    assert keys(a, "evaluate", "coco_det") != keys(b, "evaluate", "coco_det")


def test_runtime_is_no_identity(home: Path) -> None:
    cells, paths = make_cells(**OPTIONS)
    some = make_plan(
        cells, Runtime(home=home, database="sqlite://", workers=0, devices="cpu"), paths
    )
    assert [s.key for s in some.stages] == [s.key for s in planned(home).stages]


def test_an_override_reaches_its_owner_only(home: Path) -> None:
    plain, changed = planned(home), planned(home, sets=("orl.epochs=3",))
    assert keys(plain, "pretrain", "byol") == keys(changed, "pretrain", "byol")
    assert keys(plain, "pretrain", "orl") != keys(changed, "pretrain", "orl")
    assert keys(changed, "pretrain", "orl") == keys(
        planned(home, sets=("method.epochs=3",)), "pretrain", "orl"
    )


def test_a_cell_holds_its_own_settings_whether_it_can_be_or_not(home: Path) -> None:
    """`coco_det` has no pyramid on a vision transformer."""
    sets = ("byol.epochs=3", "method.backbone=vit_tiny", "knn.k=7")
    plan = planned(home, method="random_init,byol", task="knn,coco_det", sets=sets)
    found = {
        (c.cell.method, c.cell.task): (c.final is None, [k for k, _ in c.cell.overrides])
        for c in plan.cells
    }
    assert found == {
        ("random_init", "knn"): (False, ["method.backbone", "knn.k"]),
        ("random_init", "coco_det"): (True, ["method.backbone"]),
        ("byol", "knn"): (False, ["byol.epochs", "method.backbone", "knn.k"]),
        ("byol", "coco_det"): (True, ["byol.epochs", "method.backbone"]),
    }


def test_a_bare_setting_finds_its_only_owner(home: Path) -> None:
    assert keys(planned(home, sets=("patch=48",)), "pretrain", "orl") == keys(
        planned(home, sets=("orl.patch=48",)), "pretrain", "orl"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sets": ("epochs=3",)}, r"'epochs' is ambiguous.*byol\.epochs.*|.*orl\.epochs"),
        (
            {"sets": ("epoks=3",)},
            r"no part of this cell has a setting 'epoks' \(did you mean 'epochs'\?\)",
        ),
        (
            {"sets": ("orl.epoks=3",)},
            r"unknown setting of orl 'epoks' \(did you mean 'epochs'\?\)",
        ),
        (
            {"sets": ("orll.epochs=3",)},
            r"unknown owner of a setting 'orll' \(did you mean 'orl'\?\)",
        ),
        ({"sets": ("orl.epochs=many",)}, r"orl\.epochs: .*valid integer.*got 'many'"),
        ({"sets": ("orl.epochs=0",)}, r"orl\.epochs: .*greater than or equal to 1"),
        ({"sets": ("orl.epochs",)}, r"--set takes KEY=VALUE"),
        ({"scale": "tyni"}, r"unknown scale 'tyni' \(did you mean 'tiny'\?\)"),
        ({"task": "coco_dt"}, r"unknown task 'coco_dt' \(did you mean 'coco_det'\?\)"),
        ({"crop": "imag"}, r"unknown crop 'imag' \(did you mean 'image'\?\)"),
        ({"data": "koko"}, r"unknown data 'koko'"),
        ({"seeds": "x"}, r"seeds are numbers"),
        ({"data": "coco"}, r"coco"),
        ({"data": "coco=/nowhere", "task_data": "coco=/elsewhere"}, r"no COCO folder at /nowhere"),
    ],
)
def test_bad_input_is_one_clear_line(home: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput.__base__, match=message) as caught:  # type: ignore[arg-type]
        planned(home, **changes)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_globs_and_lists() -> None:
    assert match("method", "byol,b*,orl") == ["byol", "orl"]
    assert parse_seeds("0,2-4") == [0, 2, 3, 4]
    assert parse_data("coco=/x")[0] == "coco"


def test_a_cell_can_say_its_command() -> None:
    cell = Cell("orl", "image", "coco_det", "scenes", "scenes", "tiny", 2, (("orl.epochs", "3"),))
    assert cell.command() == (
        "bench run --method orl --crop image --task coco_det --scale tiny --seeds 2"
        " --data scenes --task-data scenes --set orl.epochs=3"
    )


ODD = (
    "3",
    "[4, 5]",
    "4,5",
    "x; touch y",
    "$(touch y)",
    "`touch y`",
    "a b  c",
    "it's",
    'say "so"',
    "back\\slash",
    "*",
    "~",
    "#1",
    "!1",
    "&|<>",
    "-x",
    "a=b=c",
    "",
    "größe 日本 🎉",
    '{"a": [1, "b c"]}',
    "two\nlines",
)


def parse_command(line: str, folder: Path) -> tuple[list[Cell], dict[str, Path | None]]:
    """What `bench run` makes of a line that a shell reads in an empty folder."""
    folder.mkdir(exist_ok=True)
    shell = ["bash", "-c", f"bench() {{ printf '%s\\0' \"$@\"; }}; {line}"]
    done = subprocess.run(shell, capture_output=True, text=True, cwd=folder, check=True)
    assert not list(folder.iterdir())  # nothing else was run
    verb, *arguments = done.stdout.split("\0")[:-1]
    assert verb == "run"
    assert shlex.split(line) == ["bench", "run", *arguments]
    given = command.make_context("run", arguments).params
    names = (*OPTIONS, "backbone", "precision", "engine")
    return make_cells(**{name: given[name] for name in names})


@pytest.mark.parametrize("value", ODD)
def test_a_printed_command_is_read_as_the_same_cell(value: str, home: Path) -> None:
    """Whatever a setting or a path holds."""
    settings = (("orl.a", value), ("coco_det.b", value[::-1].strip()))
    plain = Cell("orl", "image", "coco_det", "images", "coco", "tiny", 2, settings)
    place = str(home / f"in {value or 'a'}".rstrip() / "x")
    cells, paths = parse_command(plain.command((("images", place),)), home)
    assert cells == [plain]
    assert paths == {"images": Path(place)}
    file = str(home / f"of {value}" / "net.pth")
    label = ("weights:net", "-", "coco_det", "unknown", "coco", "tiny", 0)
    weights = Cell(*label, settings, file)
    assert parse_command(weights.command(), home) == ([weights], {})


def test_a_planned_cell_says_where_its_data_are(home: Path) -> None:
    """What `bench show` prints can be run again."""
    from PIL import Image

    from bench.results.db.result_file import describe_cell

    folder = home / "a b; c"
    folder.mkdir(parents=True)
    for n in range(3):
        Image.new("RGB", (40, 40), (n, n, n)).save(folder / f"{n}.png")
    data = f"images={folder}"
    (cell,) = planned(home, method="byol", data=data, sets=("byol.epochs=2",)).cells
    line = describe_cell(cell)["command"]
    cells, paths = parse_command(line, home / "empty")
    assert cells == [cell.cell]
    again = make_plan(cells, Runtime(home=home, database="sqlite://"), paths)
    assert [c.final.key for c in again.cells if c.final] == [cell.final.key if cell.final else ""]
