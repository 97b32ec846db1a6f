"""bench table as a user meets it: listing, running, showing, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.core.errors import BadInput
from bench.results.db.database import Database, open_database
from tests.e2e.micro import bench
from tests.results.test_tables import record


def table(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["table", *arguments], catch_exceptions=False)


@pytest.fixture
def database(home: Path) -> Database:
    """Two crops of paper 000, Table 14, measured with two seeds and one."""
    made = open_database(f"sqlite:///{home / 'results.db'}")
    for seed, score in enumerate((10.0, 12.0)):
        record(made, "coarse", score, seed)
    record(made, "coarse", 4.0, overrides={"coarse.n_crops": "1"})
    record(made, "coarse", 6.0, overrides={"coarse.n_crops": "3"})
    return made


def test_list_names_every_table() -> None:
    rows = json.loads(table("list", "--json").stdout)
    assert len(rows) == 49
    assert set(rows[0]) == {
        "name",
        "paper",
        "table",
        "caption",
        "rows",
        "columns",
        "values",
        "claims",
    }
    lines = table("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:] if line[0] != " "] == [r["name"] for r in rows]


def test_show_puts_measured_beside_reported(database: Database) -> None:
    lines = table("show", "000/T14").stdout.splitlines()
    text = " ".join(" ".join(lines).split())
    assert lines[0].startswith("000/T14: How many crops an image")
    row = next(i for i, line in enumerate(lines) if "BYOL / N = 5" in line)
    assert "69.5" in lines[row]
    # 12.706 x sqrt(2) / sqrt(2): Student's t with one degree
    assert "11.0 ± 12.7 (2)" in lines[row + 1]
    assert "rank correlation of reported and measured: AP50_bbox +1.00 (n = 3, p = 0.33)" in text
    claim = text[text.index("undecided: More crops an image are better") :]
    assert "differences support it" in claim
    assert "undecided: One crop an image is worse" in claim


def test_show_in_other_formats(database: Database) -> None:
    markdown = table("show", "000/T14", "--format", "markdown").stdout
    assert "| BYOL / N = 5 | 69.5 / 11.0 ± 12.7 (2) | 70.7 / - | 42.5 / - |" in markdown
    latex = table("show", "000/T14", "--format", "latex").stdout
    assert r"BYOL / N = 5 & 69.5 & 11.0 $\pm$ 12.7 (2) & 70.7 & - & 42.5 & - \\" in latex
    assert r"AP50\_bbox" in latex
    rows = list(csv.DictReader(io.StringIO(table("show", "000/T14", "--format", "csv").stdout)))
    assert len(rows) == 30
    [five] = [r for r in rows if r["row"] == "BYOL / N = 5" and r["column"] == "AP50_bbox"]
    assert (five["reported"], five["mean"], five["seeds"], five["state"]) == (
        "69.5",
        "11.0",
        "0 1",
        "measured",
    )
    frame = json.loads(table("show", "000/T14", "--json").stdout)
    assert set(frame) == {
        "name",
        "paper",
        "table",
        "caption",
        "scale",
        "citation",
        "columns",
        "rows",
        "claims",
    }


def test_doubtful_numbers_are_marked_with_their_reason() -> None:
    text = " ".join(table("show", "001/T9").stdout.split())
    assert "5484.0?" in text
    assert 'printed "5484"; probably 54.84 or 54.8' in text


def test_what_is_only_reported_says_why() -> None:
    text = " ".join(table("show", "002/T1").stdout.split())
    assert "COCO+ (with unlabeled2017) is no data set here" in text


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv"])
@pytest.mark.parametrize("name", ["000/T5", "000/text", "001/T1", "002/T2", "003/T9"])
def test_every_kind_of_table_can_be_shown(name: str, form: str) -> None:
    assert table("show", name, "--format", form).stdout


def dry(*arguments: str) -> list[str]:
    return table("run", *arguments, "--dry-run").stdout.splitlines()


def test_run_plans_the_cells_of_the_rows_and_tasks_asked_for() -> None:
    commands = dry("000/T14", "--rows", "BYOL / N*", "--task", "voc07_det", "--seeds", "0-1")
    assert len(commands) == 8
    assert commands[0] == (
        "bench run --method byol --crop coarse --task voc07_det --scale tiny --seeds 0 --data "
        "scenes"
        " --task-data scenes --set coarse.n_crops=1"
    )
    assert len(dry("000/T1")) == 24
    svm, linear = (len(dry("002/T1", "--task", t)) for t in ("voc07_svm", "imagenet_*"))
    assert svm
    assert linear
    assert len(dry("002/T1", "--task", "voc07_svm,imagenet_*")) == svm + linear
    assert len(dry("002/T1", "--rows", "Random [18] -")) == 4  # a label is no glob


def test_a_command_of_a_table_plans_the_same_stages(home: Path) -> None:
    [command] = dry("002/T5b", "--rows", "K=1 NN")
    plan = json.loads(bench(*["plan", *command.split()[2:], "--json"]).stdout)
    assert plan["cells"][0]["overrides"] == {"orl.neighbours": "1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "000/T99"), "unknown table '000/T99' (did you mean '000/T9'?)"),
        (("show", "T1"), "unknown table 'T1'"),
        (
            ("run", "000/T1", "--rows", "nothing"),
            "no row and task of table 000/T1 matches 'nothing'",
        ),
        (("run", "000/text"), "only reported"),
        (("run", "000/T1", "--data", "coco"), "NAME=PATH, got 'coco'"),
        (("run", "000/T1", "--scale", "tyni"), "unknown scale 'tyni'"),
        (("run", "000/T3", "--scale", "paper"), "no path is known for data"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput.__base__) as caught:  # type: ignore[arg-type]
        table(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_run_then_show(home: Path) -> None:
    """One row and task of paper 002, Table 1, really run."""
    done = table(
        "run",
        "002/T1",
        "--rows",
        "Random*",
        "--task",
        "voc07_svm",
        "--devices",
        "cpu",
        "--workers",
        "0",
    )
    assert done.exit_code == 0, done.output
    assert "next: bench table show 002/T1 --scale tiny" in done.output
    frame: dict[str, Any] = json.loads(table("show", "002/T1", "--json").stdout)
    cells = {row["label"]: row["cells"] for row in frame["rows"]}
    assert cells["Random [18] -"]["VOC07 mAP"]["state"] == "measured"
    assert 0 < cells["Random [18] -"]["VOC07 mAP"]["measured"]["mean"] < 100
    assert cells["BYOL [19] COCO"]["VOC07 mAP"]["state"] == "not run"
