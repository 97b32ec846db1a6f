"""Every table file fits the reported numbers and plans; `compare` puts what was measured beside
them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import registry
from bench.contracts.component import SCALES
from bench.core.errors import BadData, BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.plan.cell import Cell, Plan, PlannedCell
from bench.plan.options import default_task_data
from bench.plan.planner import Planner, make_plan
from bench.results.db.database import Database, open_database
from bench.results.db.result_file import describe_cell
from bench.results.papers.compared import ComparedClaim
from bench.results.papers.match import effective_settings
from bench.results.papers.measured import compare_table
from bench.results.papers.reported import list_table_names, values_of_table
from bench.results.papers.table_text import WRITERS, count_differences
from bench.results.papers.tables import Table, list_tables, load_table, parse_table

NAMES = list_table_names()


def planned(table: Table, scale: str, home: Path) -> Plan:
    cells = [replace(c, task_data=default_task_data(c.task, scale)) for c in table.cells(scale)]
    return make_plan(cells, Runtime(home=home, database="sqlite://"), {})


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_the_rows_and_columns_of_its_numbers(name: str) -> None:
    table = load_table(name)  # raises where the file and the numbers differ
    assert set(table.values()) == {
        (v.row_label, _column(table, v)) for v in values_of_table(*name.split("/"))
    }
    assert 10 <= len(table.caption) <= 110


def _column(table: Table, value: Any) -> str:
    [found] = [c.name for c in table.columns if (c.task, c.protocol, c.reported) == value.column]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_plans_at_tiny_and_no_row_is_unsupported(name: str, home: Path) -> None:
    table = load_table(name)
    plan = planned(table, "tiny", home)
    assert [c.unsupported for c in plan.cells if c.unsupported] == []
    assert [dict(c.cell.overrides) for c in plan.cells] == [
        dict(c.overrides) for c in table.cells("tiny")
    ]


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_every_cell_plans_at_larger_scales_where_its_data_is_there(
    scale: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def there(self: Planner, name: str, role: str = "") -> Stage:
        self.component("data", name)
        return Stage("data", name, 1, {}, "x:y")

    monkeypatch.setattr(Planner, "data", there)
    for name in NAMES:
        table = load_table(name)
        if table.cells(scale):
            assert [
                c.unsupported for c in planned(table, scale, home).cells if c.unsupported
            ] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_a_metric_of_a_task_or_has_a_reason(name: str) -> None:
    table = load_table(name)
    for column in table.columns:
        if column.reported_only is None:
            assert column.metric in registry.load("task", column.runs).metrics, column  # type: ignore[attr-defined]
        else:
            assert 10 <= len(column.reported_only) <= 120
    for row in table.rows:
        assert (row.reported_only is None) == bool(row.method)
        assert row.reported_only is None or 10 <= len(row.reported_only) <= 120


@pytest.mark.parametrize("scale", SCALES)
def test_settings_differ_from_the_defaults(scale: str) -> None:
    """A setting that says nothing would hide that two rows are one cell."""
    for name in NAMES:
        for cell in load_table(name).cells(scale):
            registry.entry("data", cell.data)
            said = effective_settings(cell, dict(cell.overrides))
            spelled = [k for k in dict(cell.overrides) if k != "object_knn.features"]
            assert len(said) >= len(spelled), (name, cell)


@pytest.mark.parametrize("name", NAMES)
def test_epochs_at_scale_paper_are_those_of_the_paper(name: str) -> None:
    """Of the method that is trained, unless the paper does not say."""
    table = load_table(name)
    for value in values_of_table(table.paper, table.number):
        row = next(r for r in table.rows if r.label == value.row_label)
        if row.method and value.epochs:
            method = registry.load("method", row.method)
            settings = {**row.settings, **row.by_scale.get("paper", {})}
            given = settings.get("method.epochs", settings.get(f"{row.method}.epochs"))
            assert int(given or method.resolve("paper").params.epochs) == value.epochs, value


@pytest.mark.parametrize("name", ["000/T9", "000/T10", "001/T12", "002/T5e"])
def test_rows_that_differ_in_epochs_keep_their_ratio_at_small_scales(name: str) -> None:
    table = load_table(name)
    usual = {"000/T9": 400, "000/T10": 400, "001/T12": 800, "002/T5e": 800}[name]
    for value in values_of_table(table.paper, table.number):
        row = next(r for r in table.rows if r.label == value.row_label)
        for scale in ("tiny", "small"):
            default = registry.load("method", row.method).resolve(scale).params.epochs
            settings = row.by_scale.get(scale, {})
            given = settings.get("method.epochs", settings.get(f"{row.method}.epochs", default))
            assert abs(int(given) - default * (value.epochs or usual) / usual) <= 0.5, (row, scale)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_table_are_different_cells_at_tiny(name: str) -> None:
    """But for rows that the paper trains on different data, all of which are the scenes here, and
    for one cell that the paper prints twice with the same number."""
    table = load_table(name)
    found = {(v.row_label, _column(table, v)): v for v in values_of_table(*name.split("/"))}
    for cell, places in table.cells("tiny").items():
        by_column: dict[str, list[str]] = {}
        for label, column in places:
            by_column.setdefault(column, []).append(label)
        for column, labels in by_column.items():
            values = [found[label, column] for label in labels]
            others = {(v.pretrain_data, v.value) for v in values}
            assert len({v.pretrain_data for v in values}) == len(others), (cell, labels)


# The comparisons that the papers claim and their own numbers contradict, found by reading the
# tables: table, better row, worse row, column.
CONTRADICTED = {
    ("000/T1", "BYOL / GT-Crop", "BYOL / Image-Crop", "mAP_l"),  # 33.1 and 39.8
    ("000/T12", "MoCoss", "MoCo", "AP_bbox"),  # 38.1 and 38.2
    ("000/T12", "MoCoss", "MoCo", "AP50_bbox"),
    ("000/T12", "MoCoss", "MoCo", "AP75_bbox"),
    ("000/T12", "MoCoss", "MoCo", "AP_seg"),
    ("000/T12", "MoCoss", "MoCo", "AP50_seg"),
    ("000/T12", "MoCoss", "MoCo", "AP75_seg"),
    # both 43.6
    ("001/T13", "MoCo-v2 (Obj-Obj+Dilate d=0) (Ours)", "MoCo-v2", "AP75_bbox"),
}


@pytest.mark.parametrize("name", NAMES)
def test_claims_hold_in_the_papers_own_numbers_unless_they_say_why_not(
    name: str, tmp_path: Path
) -> None:
    """All numbers count, doubtful ones too: a claim with a comparison that is not above 0 says
    what the paper prints instead, and only such a claim does."""
    frame = compare_table(open_database(f"sqlite:///{tmp_path / 'x.db'}"), name, "tiny")
    against = set()
    for claim in frame["claims"]:
        assert claim["comparisons"], claim["text"]
        wrong = [c for c in claim["comparisons"] if not c["reported"] > 0]
        assert bool(wrong) == (claim["doubt"] is not None), claim["text"]
        assert claim["state"] == "undecided"
        against |= {(name, c["better"], c["worse"], c["column"]) for c in wrong}
    assert against == {entry for entry in CONTRADICTED if entry[0] == name}


def test_there_are_77_claims() -> None:
    claims = [claim for name in NAMES for claim in load_table(name).claims]
    assert len(claims) == 77
    assert sum(claim.doubt is not None for claim in claims) == 3


def test_the_gains_of_paper_001s_first_table_are_not_its_captions() -> None:
    """The caption has 6.8 to 9.4."""
    table = load_table("001/T1")
    values = {
        row: v.value for (row, column), v in table.values().items() if column == "OpenImages mAP"
    }
    ours = values.pop("MoCo-v2 (Object-Object+Dilate crop) (Ours)")
    gains = [round(ours - value, 1) for value in values.values()]
    assert (min(gains), max(gains)) == (7.3, 9.9)
    (row,) = [r for r in table.rows if "Ours" in r.label]
    assert "6.8 to 9.4" in row.note
    assert "7.3 to 9.9" in row.note


def test_most_tables_have_claims_and_most_numbers_can_be_measured() -> None:
    tables = [load_table(n) for n in NAMES]
    assert sum(bool(t.claims) for t in tables) >= 44
    cells = [t.cell(r, c, "tiny") for t in tables for r in t.rows for c in t.columns]
    assert sum(c is not None for c in cells) > 0.85 * sum(len(t.values()) for t in tables)


def test_listing_counts() -> None:
    found = {t["name"]: t for t in list_tables()}
    assert list(found) == NAMES
    assert (found["000/T14"]["rows"], found["000/T14"]["columns"], found["000/T14"]["values"]) == (
        10,
        3,
        30,
    )
    assert sum(t["values"] for t in found.values()) == 1279


# ---- what was measured


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(f"sqlite:///{tmp_path / 'results.db'}")


def record(
    database: Database, crop: str, score: float, seed: int = 0, method: str = "byol", **more: Any
) -> None:
    """A result of voc07_det, as if it had been run."""
    overrides, version = tuple(more.get("overrides", {}).items()), more.get("version", 1)
    task, data = more.get("task", "voc07_det"), more.get("task_data", "scenes")
    cell = Cell(method, crop, task, "scenes", data, more.get("scale", "tiny"), seed, overrides)
    final = Stage(
        "evaluate", task, version, {"seed": seed, "cell": repr(replace(cell, seed=0))}, "x:y"
    )
    made = describe_cell(PlannedCell(cell, final, "torchvision"))
    metric = more.get("metric", "AP50")
    metrics = {metric: score, **({"dead": 1.0} if more.get("dead") else {})}
    database.record_result(
        {"cell": made, "headline": metric, "metrics": metrics, "order": list(metrics)},
        source=more.get("source", "measured"),
    )


def entry(
    database: Database, label: str, name: str = "000/T14", scale: str = "tiny"
) -> dict[str, Any]:
    frame = compare_table(database, name, scale)
    return next(r for r in frame["rows"] if r["label"] == label)["cells"]["AP50_bbox"]


def test_a_row_shows_the_mean_over_seeds_of_its_own_cell(database: Database) -> None:
    for seed, score in enumerate((10.0, 12.0, 14.0)):
        record(database, "coarse", score, seed)
    record(database, "coarse", 90.0, overrides={"coarse.n_crops": "3"})
    found = entry(database, "BYOL / N = 5")
    assert found["measured"]["mean"] == 12.0
    assert (found["measured"]["n"], found["seeds"], found["state"]) == (3, [0, 1, 2], "measured")
    assert found["reported"] == 69.5
    assert entry(database, "BYOL / N = 3")["measured"]["mean"] == 90.0
    assert entry(database, "BYOL / N = 7")["measured"] is None
    assert entry(database, "BYOL / N = 7")["state"] == "not run"


@pytest.mark.parametrize(
    "overrides",
    [
        {"coarse.n_crops": "3"},
        {"crop.n_crops": "3"},
        {"coarse.n_crops": " 3", "voc07_det.lr": "0.02"},
    ],
)
def test_settings_count_by_what_they_say(database: Database, overrides: dict[str, str]) -> None:
    """`crop.` is the crop's name; a setting at its default says nothing."""
    lr = registry.load("task", "voc07_det").resolve("tiny").params.lr
    if "voc07_det.lr" in overrides:
        overrides = {**overrides, "voc07_det.lr": str(lr)}
    record(database, "coarse", 20.0, overrides=overrides)
    assert entry(database, "BYOL / N = 3")["measured"]["mean"] == 20.0
    assert entry(database, "BYOL / N = 5")["measured"] is None


@pytest.mark.parametrize(
    "other",
    [
        {"task_data": "coco"},
        {"scale": "small"},
        {"source": "imported"},
        {"method": "orl"},
        {"overrides": {"byol.epochs": "1"}},
    ],
)
def test_what_is_not_the_rows_cell_is_not_shown(database: Database, other: dict[str, Any]) -> None:
    record(database, "coarse", 20.0, **other)
    assert entry(database, "BYOL / N = 5")["measured"] is None


def test_of_several_versions_the_one_with_most_seeds_is_shown(database: Database) -> None:
    record(database, "coarse", 50.0, version=2)
    for seed in range(2):
        record(database, "coarse", 10.0, seed)
    found = entry(database, "BYOL / N = 5")
    assert (found["measured"]["mean"], found["others"]) == (10.0, 1)


def test_a_dead_network_is_no_number_of_a_table(database: Database) -> None:
    record(database, "coarse", 61.1, dead=True)
    found = entry(database, "BYOL / N = 5")
    assert (found["state"], found["measured"]) == ("dead", None)
    assert "the same for all or most images" in found["reason"]
    record(database, "coarse", 20.0, version=2)
    assert entry(database, "BYOL / N = 5")["measured"]["mean"] == 20.0, "another one has a number"


def test_a_cell_that_failed_says_so(database: Database) -> None:
    cell = Cell("byol", "coarse", "voc07_det", "scenes", "scenes", "tiny", 0)
    final = Stage("evaluate", "voc07_det", 1, {}, "x:y")
    database.record_cell(describe_cell(PlannedCell(cell, final, "")), "failed", "no space left")
    found = entry(database, "BYOL / N = 5")
    assert (found["state"], found["reason"], found["measured"]) == (
        "failed",
        "no space left",
        None,
    )


def test_claims_and_correlation_of_what_was_measured(database: Database) -> None:
    """Table 14 of paper 000: more crops are better; here N = 3 falls below N = 1."""
    scores = {"1": (10.0, 12.0), "3": (4.0, 6.0), "5": (20.0, 22.0), "7": (40.0, 40.5)}
    for n, each in scores.items():
        for seed, score in enumerate(each):
            record(
                database,
                "coarse",
                score,
                seed,
                overrides={} if n == "5" else {"coarse.n_crops": n},
            )
    frame = compare_table(database, "000/T14", "tiny")
    column = frame["columns"][0]
    assert (column["name"], column["correlation"]["n"]) == ("AP50_bbox", 4)
    # 1 - 6 x 2 / (4 x 15): two neighbours changed places; so do 2 x 4 of 24 orders, or more
    assert column["correlation"]["rho"] == pytest.approx(0.8)
    assert column["correlation"]["p"] == pytest.approx(8 / 24)
    more, fewer = frame["claims"]
    assert (more["state"], fewer["state"]) == ("contradicted", "undecided")
    told = {(c["better"][-1], c["worse"][-1]): c for c in more["comparisons"] if c["measured"]}
    assert {pair: c["verdict"] for pair, c in told.items()} == {
        ("7", "5"): "supported",
        ("5", "3"): "supported",
        ("3", "1"): "contradicted",  # the same difference in both seeds
    }
    assert told["3", "1"]["measured"]["mean"] == -6.0
    record(database, "image", 15.0)
    one = compare_table(database, "000/T14", "tiny")["claims"][1]
    (first, *_) = one["comparisons"]
    assert first["measured"] is not None
    assert first["measured"]["mean"] > 0
    assert one["state"] == "undecided"  # the sign is right, of a single seed


def claim_of(database: Database, scores: dict[str, tuple[float, ...]]) -> ComparedClaim:
    """The claim "more crops are better" of table 14 of paper 000, with these scores by seed for
    both of its methods in all of its columns: 18 differences."""
    tasks = {"voc07_det": "AP50", "voc07_finetune": "mAP", "voc07_linear": "mAP_l"}
    columns = load_table("000/T14").columns
    assert {c.runs: c.metric for c in columns} == tasks
    for method in ("byol", "moco_v2"):
        for (n, each), (task, metric) in product(scores.items(), tasks.items()):
            for seed, score in enumerate(each):
                more = {} if n == "5" else {"overrides": {"coarse.n_crops": n}}
                record(database, "coarse", score, seed, method, task=task, metric=metric, **more)
    return compare_table(database, "000/T14", "tiny")["claims"][0]


def test_a_claim_is_supported_where_every_interval_is_on_its_side(database: Database) -> None:
    steps = {"1": 10.0, "3": 20.0, "5": 30.0, "7": 40.0}
    claim = claim_of(database, {n: (s, s + 1.5, s + 0.5) for n, s in steps.items()})
    assert claim["state"] == "supported"
    assert count_differences(claim) == "18 of 18 differences support it"


def test_a_claim_is_undecided_with_one_seed(database: Database) -> None:
    claim = claim_of(database, {"1": (10.0,), "3": (20.0,), "5": (30.0,), "7": (40.0,)})
    assert claim["state"] == "undecided"
    assert count_differences(claim) == (
        "0 of 18 differences support it, 18 undecided (18 with this sign; 18 of one seed)"
    )


def test_a_claim_is_undecided_while_a_comparison_is_not_measured(database: Database) -> None:
    claim = claim_of(database, {"5": (30.0, 31.0, 30.5), "7": (40.0, 41.0, 40.6)})
    assert claim["state"] == "undecided"
    assert count_differences(claim) == "6 of 18 differences support it, 12 not measured"


def test_a_wrong_sign_contradicts_only_with_an_interval(database: Database) -> None:
    """The seeds of the wrong pair scatter more than their difference."""
    claim = claim_of(
        database,
        {
            "1": (10.0, 11.0, 10.5),
            "3": (20.0, 21.0, 20.6),
            "5": (18.0, 24.0, 15.0),
            "7": (40.0, 41.0, 40.6),
        },
    )
    signs = [c["measured"]["mean"] > 0 for c in claim["comparisons"] if c["measured"]]
    assert (len(signs), signs.count(False)) == (18, 6)
    assert claim["state"] == "undecided"


def test_measured_numbers_have_the_marks_of_the_board(database: Database) -> None:
    claim_of(database, {"1": (10.0, 10.2, 10.1), "5": (30.0, 30.4, 30.1), "7": (40.0,)})
    frame = compare_table(database, "000/T14", "tiny")
    marks = {
        row["label"]: row["cells"]["AP50_bbox"]["mark"]
        for row in frame["rows"]
        if row["cells"]["AP50_bbox"]["measured"] and "BYOL" in row["label"]
    }
    assert marks == {"BYOL / N = 1": "worse", "BYOL / N = 5": "best", "BYOL / N = 7": "unknown"}
    markdown = WRITERS["markdown"](frame)
    assert "30.2 ± 0.5 (3) \\*" in markdown
    assert "10.1 ± 0.2 (3) \\<" in markdown
    assert "40.0 (1) |" in markdown
    assert r"10.1 $\pm$ 0.2 (3) $<$" in WRITERS["latex"](frame)


def test_reported_numbers_never_enter_measured_ones(database: Database) -> None:
    record(database, "image", 1.0)
    rows = database.read_rows()
    compare_table(database, "000/T1", "tiny")
    assert database.read_rows() == rows
    assert [r["metrics"]["AP50"]["mean"] for r in rows] == [1.0]


# ---- bad files


GOOD = """
caption = "x"
[[columns]]
task = "VOC07 detection"
protocol = "Faster R-CNN R50 finetune, VOC07 trainval->test"
runs = "voc07_det"
metrics = { AP50_bbox = "AP50" }
[[columns]]
task = "VOC07 detection"
protocol = "Faster R-CNN R50 finetune, VOC07 trainval->test"
metrics = ["AP50_drop"]
reported_only = "a difference"
""" + "".join(
    f'[[rows]]\nlabel = "{label}"\nmethod = "byol"\ncrop = "image"\n'
    for label in dict.fromkeys(v.row_label for v in values_of_table("000", "T15"))
)


def test_a_good_file_parses() -> None:
    assert len(parse_table("000", "T15", GOOD).rows) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("caption", "title"), "caption"),
        (GOOD.replace("AP50_bbox", "AP51"), "does not fit the reported numbers: column"),
        (GOOD.replace("RRC w/o", "RRC"), "row BYOL"),
        (GOOD.replace('crop = "image"', ""), "needs method and crop"),
        (GOOD.replace('crop = "image"', 'crops = "image"'), "unknown"),
        (GOOD + 'huge = { x = "1" }\n', r"unknown: \['huge'\]"),
        (
            GOOD + '[[claims]]\ntext = "a"\nsource = "b"\norders = [["nobody", "else"]]\n',
            "claim's row 'nobody'",
        ),
        (GOOD + "[[", "table 000/T15"),
    ],
)
def test_a_bad_file_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(BadData, match=message) as caught:
        parse_table("000", "T15", text)
    assert "\n" not in str(caught.value)


def test_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"unknown table '000/T99' \(did you mean '000/T9'\?\)"):
        load_table("000/T99")
