"""Reading the database: what the tables answer, that a reader writes nothing, friendly lines, code
states."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from scipy import stats
from sqlalchemy import delete, select, text, update

from bench.core.errors import BadInput
from bench.core.statistics import summarise
from bench.results.db.database import Database, open_database
from bench.results.db.models import CellRow, MetricRow, ResultRow, StageRow
from bench.results.db.queries import select_heads
from bench.results.db.reading import NothingYet, Reader, open_reader
from bench.results.db.schema import VERSION_TABLE
from bench.results.views.coverage import (
    Possible,
    estimate_cost,
    list_used_settings,
    make_matrix,
    read_matrix,
    read_usual_seconds,
)
from bench.results.views.differences import (
    collect_settings,
    find_differing,
    paired_difference,
    verdict,
)
from bench.results.views.entries import list_boards, load_entries
from bench.results.views.lineage import (
    code_state,
    code_states,
    find_cell,
    find_changed,
    read_graph,
)
from bench.results.views.stage_files import (
    find_stage_folder,
    read_class_scores,
    read_learning_curve,
    read_summary,
)
from tests.dashboard.populate import METHODS, fill


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'results.db'}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Database]:
    """400 results with their stages on disk."""
    home = tmp_path_factory.mktemp("filled")
    return home, fill(url(home), 400, home)


@pytest.fixture
def reader(filled: tuple[Path, Database]) -> Reader:
    return open_reader(url(filled[0]))


def test_rows_equal_statistics_over_every_value(filled: tuple[Path, Database]) -> None:
    database = filled[1]
    with database.session() as session:
        query = session.query(CellRow.group, MetricRow.name, MetricRow.value)
        query = query.join(ResultRow, ResultRow.label == CellRow.label)
        values: dict[tuple[str, str], list[float]] = {}
        for group, name, value in query.join(MetricRow, MetricRow.result_id == ResultRow.id):
            values.setdefault((group, name), []).append(value)
        groups = dict(session.query(CellRow.label, CellRow.group).all())
    rows = database.read_rows()
    assert sum(len(r["metrics"]) for r in rows) == len(values)
    for row in rows:
        for name, found in row["metrics"].items():
            wanted = summarise(sorted(values[groups[row["cells"][0]], name]))
            assert found["mean"] == pytest.approx(wanted["mean"], rel=1e-12)
            assert (found["ci95"] or 0) == pytest.approx(wanted["ci95"] or 0, rel=1e-9)


def test_intervals_of_values_that_hardly_differ_keep_their_digits(tmp_path: Path) -> None:
    database = fill(url(tmp_path), 3)
    values = [50.0, 50.0 + 1e-7, 50.0 + 3e-7]
    with database.engine.begin() as connection:
        ids = connection.scalars(select(ResultRow.id).order_by(ResultRow.id)).all()
        for at, value in zip(ids, values, strict=False):
            connection.execute(
                update(MetricRow).where(MetricRow.result_id == at).values(value=value)
            )
            connection.execute(update(ResultRow).where(ResultRow.id == at).values(value=value))
        entries = load_entries(connection, "small", "coco")
    wanted = stats.sem([0.0, 1.0, 3.0]) * stats.t.ppf(0.975, 2) * 1e-7
    (found,) = [e for e in entries if e.n == 3]
    assert found.ci95 == pytest.approx(wanted, rel=1e-6)  # of doubles near 50, 1e-7 apart
    assert found.ci95 == summarise(values)["ci95"]
    assert (
        database.read_rows(method=["byol"], scale=["small"])[0]["metrics"]["AP_bbox"]["ci95"]
        == found.ci95
    )


def test_the_best_of_each_board_are_the_first_of_all(filled: tuple[Path, Database]) -> None:
    database = filled[1]
    every, total = database.read_best(None)
    some, same_total = database.read_best(2)
    assert total == same_total == len(every)
    boards: dict[tuple[str, ...], list[str]] = {}
    for row in every:
        boards.setdefault((row["task"], row["scale"], row["pretrain_data"]), []).append(
            row["cells"][0]
        )
    assert [r["cells"][0] for r in some] == [c for cells in boards.values() for c in cells[:2]]
    with database.engine.connect() as connection:
        assert len(select_heads(connection, {"method": ["byol"]})) == sum(
            r["method"] == "byol" for r in every
        )


def test_entries_hold_every_cell_in_its_state(reader: Reader) -> None:
    with reader.engine.connect() as connection:
        assert [(b.scale, b.data) for b in list_boards(connection)] == [
            ("small", "coco"),
            ("tiny", "scenes"),
        ]
        entries = load_entries(connection, "small", "coco")
    assert sum(e.n for e in entries) == 401
    states = {(e.task, e.state): e.reason for e in entries if e.method == "supervised"}
    assert states["knn", "failed"].endswith("out of memory")
    assert states["voc07_svm", "running"] == ""
    assert "crops of objects have none" in states["cityscapes_seg", "unsupported"]
    assert ("voc0712_det", "interrupted") in states
    assert all(e.pretraining and e.protocol for e in entries if e.state == "done")


def test_a_reader_cannot_write_and_changes_no_file(
    filled: tuple[Path, Database], reader: Reader
) -> None:
    file = filled[0] / "results.db"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    reader.check()
    with (
        reader.engine.connect() as connection,
        pytest.raises(Exception, match=r"readonly|read-only"),
    ):
        connection.execute(text("DELETE FROM cells"))
    connection = reader.engine.raw_connection()
    with pytest.raises(sqlite3.OperationalError):
        connection.cursor().execute("CREATE TABLE x (y)")
    connection.close()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


def test_the_fingerprint_stays_until_something_is_written(tmp_path: Path) -> None:
    database = fill(url(tmp_path), 20)
    reader = open_reader(url(tmp_path))
    marks = []
    for _ in range(3):
        with reader.engine.connect() as connection:
            load_entries(connection, "small", "coco")
        marks.append(reader.fingerprint())
    assert len(set(marks)) == 1
    with database.engine.begin() as connection:
        connection.execute(update(CellRow).values(state="failed"))
    assert reader.fingerprint() != marks[0]


WRITER = """
import sys
from sqlalchemy import update
from bench.results.db.database import open_database
from bench.results.db.models import CellRow
database = open_database(sys.argv[1])
print("open", flush=True)
for i in range(10**9):
    with database.engine.begin() as connection:
        connection.execute(update(CellRow).values(reason=str(i)))
"""


def test_a_database_that_another_process_writes_is_read(tmp_path: Path) -> None:
    fill(url(tmp_path), 60).engine.dispose()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        reader = open_reader(url(tmp_path))
        marks = set()
        for _ in range(100):
            reader.check()
            marks.add(reader.fingerprint())
            with reader.engine.connect() as connection:
                assert sum(e.n for e in load_entries(connection, "small", "coco")) == 61
        assert len(marks) > 1
    finally:
        writer.kill()
        writer.wait()


def test_what_is_wrong_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    reader = open_reader(url(tmp_path))
    with pytest.raises(NothingYet, match="bench run --method orl --task coco_det"):
        reader.check()
    assert not (tmp_path / "results.db").exists()
    (tmp_path / "results.db").write_bytes(b"")
    with pytest.raises(NothingYet, match="is empty"):
        reader.check()
    (tmp_path / "results.db").write_bytes(b"no database, however long it may look" * 99)
    with pytest.raises(BadInput, match="bench results check") as caught:
        reader.check()
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="BENCH_DB"):
        open_reader("nonsense")


@pytest.mark.parametrize(
    ("version", "advice"), [("0001", "bench leaderboard"), ("9999", "pip install --upgrade")]
)
def test_another_schema_is_one_line(tmp_path: Path, version: str, advice: str) -> None:
    database = open_database(url(tmp_path))
    with database.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'"))
    with pytest.raises(BadInput, match=advice):
        open_reader(url(tmp_path)).check()


def test_a_cell_is_found_by_the_start_of_its_label_only(reader: Reader) -> None:
    with reader.engine.connect() as connection:
        label = load_entries(connection, "tiny", "scenes")[0].labels[0]
        found = find_cell(connection, label[:12])
        assert found is not None
        assert found.cell["label"] == label
        assert found.headlines == {"measured": "AP_bbox"}
        for wrong in ("", "abc", "zzzz", "%%%%", "____", "0" * 64, label[:2] + "%"):
            assert find_cell(connection, wrong) is None


def test_the_graph_holds_every_stage_and_its_settings(reader: Reader) -> None:
    with reader.engine.connect() as connection:
        label = load_entries(connection, "tiny", "scenes")[0].labels[0]
        stages = read_graph(connection, label)
    assert sorted(s.kind for s in stages.values()) == ["data", "data", "evaluate", "pretrain"]
    assert next(iter(stages)) == label
    settings = collect_settings(stages, label)
    assert settings["backbone/pretrain.method.params.lr"] == "0.03"
    assert settings["backbone/data/data"] == "scenes (version 1)"


def test_stages_of_other_code_mark_the_cells_they_went_into(filled: tuple[Path, Database]) -> None:
    with filled[1].engine.connect() as connection:
        every = load_entries(connection, "small", "coco")
        changed = find_changed(connection)
        labels = {label for e in every for seed, label in e.labels.items() if seed in e.values}
        for label in labels:
            states = set(code_states(read_graph(connection, label).values()).values())
            assert (label in changed) == ("changed" in states)
    assert 0 < len(labels & changed) < len(labels)


def test_code_states(reader: Reader) -> None:
    from dataclasses import replace

    with reader.engine.connect() as connection:
        stage = read_graph(connection, load_entries(connection, "tiny", "scenes")[0].labels[0])
    found = next(iter(stage.values()))
    assert code_state(found) == "current"
    assert code_state(replace(found, source_digest="ast1:" + "0" * 40)) == "changed"
    assert code_state(replace(found, source_digest="0" * 64)) == "unknown"  # of an older scheme
    assert code_state(replace(found, source_digest="")) == "unknown"
    assert code_state(replace(found, runner="no.such.module:run")) == "changed"


def test_files_of_a_stage(filled: tuple[Path, Database], reader: Reader) -> None:
    home = filled[0]
    with reader.engine.connect() as connection:
        stages = read_graph(connection, load_entries(connection, "tiny", "scenes")[0].labels[0])
    by_kind = {s.kind: find_stage_folder(s, home) for s in stages.values()}
    assert by_kind["evaluate"] is not None
    assert by_kind["pretrain"] is not None
    assert read_class_scores(by_kind["evaluate"])["dog"] == {"AP_bbox": 31.0, "AP_segm": 28.0}
    assert len(read_learning_curve(by_kind["pretrain"])) == 200
    assert read_summary(by_kind["pretrain"])["steps"] == 1000


def test_torn_and_foreign_files_are_empty_answers(tmp_path: Path) -> None:
    assert (
        read_class_scores(tmp_path),
        read_learning_curve(tmp_path),
        read_summary(tmp_path),
    ) == ({}, [], {})
    (tmp_path / "history.jsonl").write_text(
        '{"step": 1, "loss": 2.0, "x": NaN, "name": "a"}\n[1]\n{"step": 2, "lo'
    )
    (tmp_path / "per_class.json").write_text('{"cat": 1.5, "dog": {"IoU": 2.0, "Acc": null}}')
    (tmp_path / "summary.json").write_text("[1]")
    assert read_learning_curve(tmp_path) == [{"step": 1, "loss": 2.0}]
    assert read_class_scores(tmp_path) == {"cat": {"score": 1.5}, "dog": {"IoU": 2.0}}
    assert read_summary(tmp_path) == {}


def test_a_stage_folder_outside_the_store_is_not_opened(
    filled: tuple[Path, Database], reader: Reader
) -> None:
    from dataclasses import replace

    with reader.engine.connect() as connection:
        stage = next(
            iter(
                read_graph(
                    connection, load_entries(connection, "tiny", "scenes")[0].labels[0]
                ).values()
            )
        )
    assert find_stage_folder(replace(stage, folder="../.."), filled[0]) is None
    assert find_stage_folder(replace(stage, folder="/etc"), filled[0]) is None


def test_paired_differences_are_those_of_a_paired_t_test() -> None:
    one, other = {0: 50.0, 1: 51.0, 2: 49.5, 7: 90.0}, {0: 51.0, 1: 52.5, 2: 50.2, 9: 1.0}
    found = paired_difference(one, other)
    assert found is not None
    assert found["seeds"] == [0, 1, 2]
    interval = stats.ttest_rel([51.0, 52.5, 50.2], [50.0, 51.0, 49.5]).confidence_interval(0.95)
    assert found["mean"] - found["ci95"] == pytest.approx(interval.low)
    assert found["mean"] + found["ci95"] == pytest.approx(interval.high)
    assert verdict(found) == "better"
    assert verdict(paired_difference(other, one)) == "worse"
    assert verdict(paired_difference({0: 1.0, 1: 2.0}, {0: 2.0, 1: 1.0})) == "not distinguishable"
    assert verdict(paired_difference({0: 1.0}, {0: 9.0})) == "unknown"
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_only_settings_that_differ_are_listed() -> None:
    assert find_differing([{"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}]) == {
        "b": ["2", "3"],
        "c": ["-", "4"],
    }


def test_coverage_counts_states_and_costs(reader: Reader) -> None:
    with reader.engine.connect() as connection:
        entries = load_entries(connection, "small", "coco")
        usual = read_usual_seconds(connection, "small")
    assert usual["evaluate", "knn"] == 601.0
    assert usual["pretrain", "byol"] == 3601.0
    there_is = Possible(
        ("byol", "cmc"), ("image", "poor"), ("knn",), {("cmc", "poor"): "needs Lab"}, {}
    )
    squares = make_matrix(entries, ["knn", "voc07_svm"], there_is)
    assert squares["byol", "image"].states == {"done": 2}
    assert squares["byol", "image"].state == "done"
    assert squares["byol", "poor"].missing == ("knn", "voc07_svm")
    assert squares["cmc", "poor"].states == {"unsupported": 2}
    assert squares["cmc", "poor"].reasons == ("needs Lab",)
    assert squares["supervised", "image"].states == {"failed": 1, "running": 1}
    assert list_used_settings(entries) == [()]
    assert make_matrix(entries, ["knn"], Possible(), (("byol.lr", "1"),)) == {}
    one = estimate_cost({("byol", "poor"): squares["byol", "poor"]}, usual)
    assert (one.seconds, one.cells, one.unknown) == (3601.0 + 2 * 601.0, 2, 0)
    other = estimate_cost({("cmc", "image"): squares["cmc", "image"]}, usual)
    assert (other.seconds, other.cells, other.unknown) == (2 * 601.0, 2, 1)


def test_what_goes_together_is_what_the_matrix_says() -> None:
    found = read_matrix(
        {
            "crops": [{"method": "a", "crop": "x", "supported": False, "reason": "no"}],
            "tasks": [{"method": "a", "task": "t", "supported": True, "reason": None}],
        }
    )
    assert found == Possible(("a",), ("x",), ("t",), {("a", "x"): "no"}, {})


def invoke(*arguments: str) -> str:
    from bench.cli import cli

    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False).output


def test_the_terminal_shows_a_part_and_says_so(home: Path) -> None:
    home.mkdir()
    fill(url(home), 2 * 6 * 3 * 20)
    text = invoke("leaderboard", "--limit", "3")
    assert "19 of 242 rows; try: bench leaderboard --all" in text
    assert " rows; try" not in invoke("leaderboard", "--all", "--task", "knn")
    assert len(json.loads(invoke("leaderboard", "--json"))) == 242


def test_a_database_without_the_board_columns_is_filled(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    database = fill(url(tmp_path), 30)
    config = Config()
    config.set_main_option("script_location", "bench.results:migrations")
    config.set_main_option("path_separator", "os")
    with database.engine.connect() as connection:
        before = connection.execute(select(ResultRow.id, ResultRow.value)).all()
        digests = connection.execute(
            select(StageRow.key, StageRow.source_digest, StageRow.seconds)
        ).all()
        config.attributes["connection"] = connection
        config.attributes["version_table"] = VERSION_TABLE
        command.downgrade(config, "0002")
        connection.commit()
    again = open_database(url(tmp_path))
    with again.engine.connect() as connection:
        assert connection.execute(select(ResultRow.id, ResultRow.value)).all() == before
        columns = StageRow.key, StageRow.source_digest, StageRow.seconds
        assert connection.execute(select(*columns)).all() == digests
        entries = load_entries(connection, "small", "coco")
    # without recorded stages, rows and columns go by their names
    assert sum(e.n for e in entries) == 31
    from bench.results.views.board import Choice, make_board
    from bench.results.views.placement import make_table

    found = make_board(make_table(entries), Choice())
    assert len(found.columns) == 6
    assert {r.method for r in found.rows} == {METHODS[0], "supervised"}


def test_a_deleted_result_leaves_the_board(tmp_path: Path) -> None:
    database = fill(url(tmp_path), 6)
    with database.engine.begin() as connection:
        label = load_entries(connection, "tiny", "scenes")[0].labels[0]
        connection.execute(delete(CellRow).where(CellRow.label == label))
        assert load_entries(connection, "tiny", "scenes") == []
        assert connection.scalar(select(ResultRow.id).where(ResultRow.label == label)) is None


def test_what_sweeps_score_on_training_images_is_on_no_board(tmp_path: Path) -> None:
    database = fill(url(tmp_path), 6)
    with database.session() as session:
        label = session.query(CellRow.label).filter_by(scale="tiny").scalar()
        cell = {
            c.key: getattr(session.get(CellRow, label), c.key) for c in CellRow.__table__.columns
        }
    database.record_cell({**cell, "overrides": {"coco_det.holdout": "0.2"}}, "done")
    with database.engine.connect() as connection:
        assert load_entries(connection, "tiny", "scenes") == []
    assert database.read_rows(scale=["tiny"]) == []
    assert len(database.read_rows(validation=True, scale=["tiny"])) == 1
