"""Every page with Streamlit's AppTest: what it shows, its address, and its text without data."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shutil
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scipy import stats
from sqlalchemy import delete, select, text, update
from streamlit.testing.v1 import AppTest

import dashboard.screens
from bench.results.db.database import Database, open_database
from bench.results.db.models import CellRow, MetricRow, ResultRow, StageRow
from bench.results.db.reading import FIRST_COMMAND
from bench.results.db.schema import VERSION_TABLE
from bench.results.views.differences import DrawnDifference, verdict
from dashboard.faults import FAULT
from dashboard.figures import class_bars, curves, differences
from dashboard.look import Markup, duration, href, table, web_link
from dashboard.screens.compare import pair_rows, resampling
from tests.dashboard.populate import fill
from tests.dashboard.test_plots import walk
from tests.patience import HANG

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
PAGES = [
    m.name for m in pkgutil.iter_modules(dashboard.screens.__path__) if not m.name.startswith("_")
]
ALL = {"byol", "orl", "supervised"}
EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 results with their stages on disk."""
    home = tmp_path_factory.mktemp("template") / "home"
    home.mkdir()
    fill(f"sqlite:///{home / 'results.db'}", 240, home).engine.dispose()
    return home


@pytest.fixture
def database(home: Path, template: Path) -> Database:
    """A copy of the template in the test's BENCH_HOME."""
    shutil.copytree(template, home)
    return open_database(f"sqlite:///{home / 'results.db'}")


def show(page: str = "", **parameters: Any) -> AppTest:
    """The page as it is opened from a link."""
    app = AppTest.from_file(APP, default_timeout=HANG)
    for name, value in {"page": page, **parameters}.items():
        if value:
            app.query_params[name] = value
    return app.run()


def html(app: AppTest) -> str:
    """The page's own HTML, less the style sheet."""
    assert not app.exception, app.exception
    shown = "\n".join(
        e.proto.body for e in app.get("html") if not e.proto.body.startswith("<style")
    )
    assert FAULT not in shown, shown
    return shown


def words(app: AppTest) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", html(app)))


def methods(app: AppTest) -> list[str]:
    return re.findall(r'<th scope="row" class="name">(\S+) ×', html(app))


def cell_label(database: Database, **where: Any) -> str:
    with database.engine.connect() as connection:
        query = select(CellRow.label).filter_by(**where).order_by(CellRow.seed)
        return str(connection.scalars(query).first())


def test_pages_define_what_the_menu_needs() -> None:
    for name in PAGES:
        module = importlib.import_module(f"dashboard.screens.{name}")
        assert isinstance(module.TITLE, str)
        assert isinstance(module.ORDER, int)
        assert callable(module.page)


@pytest.mark.parametrize("page", PAGES)
def test_without_a_database_every_page_says_what_to_run(page: str) -> None:
    app = show(page)
    assert "run first: bench run --method orl --task coco_det" in words(app)
    assert app.code[0].value == "bench run --method orl --task coco_det"
    first = getattr(importlib.import_module(f"dashboard.screens.{page}"), "FIRST", None)
    assert [c.value for c in app.code[1:]] == ([first] if first else [])


@pytest.mark.parametrize("page", PAGES)
def test_with_an_empty_database_no_page_breaks(home: Path, page: str) -> None:
    open_database(f"sqlite:///{home / 'results.db'}")
    found = words(show(page))
    first = getattr(importlib.import_module(f"dashboard.screens.{page}"), "FIRST", FIRST_COMMAND)
    assert f"run first: {first}" in found or "No cell is chosen" in found


@pytest.mark.parametrize("page", PAGES)
def test_a_damaged_or_foreign_database_is_one_line(home: Path, page: str) -> None:
    home.mkdir()
    (home / "results.db").write_bytes(b"no database, however long it may look" * 99)
    assert "bench results check" in words(show(page))
    (home / "results.db").unlink()
    with open_database(f"sqlite:///{home / 'results.db'}").engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    assert "pip install --upgrade" in words(show(page))


@pytest.mark.parametrize("page", PAGES)
def test_a_database_damaged_while_it_is_read_is_one_line(
    database: Database, home: Path, page: str
) -> None:
    with database.engine.begin() as connection:
        label = cell_label(database, method="byol")
        connection.execute(text("DROP TABLE metrics"))
        connection.execute(text("DROP TABLE results"))
    assert html(show(page, key=label))


def test_the_leaderboard_shows_ranked_rows_then_incomplete_ones(database: Database) -> None:
    app = show()
    found = words(app)
    assert "15 of 15 rows" in found
    table = found[found.index("Ranked over") :]  # above it is what runs now
    assert table.index("not ranked") < table.index("supervised × image")
    for state in ("failed", "running", "unsupported", "interrupted", "missing"):
        assert state in found
    assert "out of memory" in html(app)  # the reason, on hover
    assert found.count("Which crop?") == 2  # the answer, and the table behind it
    crops = found[found.rindex("Which crop?") :]
    assert re.search(r"gt +[+-][\d.]+( ±[\d.]+)? [a-z ]+ \d methods?, \d seeds?", crops)
    assert not app.get("exception")


def test_numbers_of_the_table_are_those_of_the_terminal(database: Database) -> None:
    found = words(show(task=["coco_det"], method=["byol"], crop=["image"]))
    (row,) = database.read_rows(
        method=["byol"], crop=["image"], task=["coco_det"], scale=["small"]
    )
    value = row["metrics"]["AP_bbox"]
    assert f"{value['mean']:.1f}" in found
    assert f"±{value['ci95']:.1f}" in found


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ({"method": ["supervised"]}, {"supervised"}),
        ({"seeds": "2"}, {"byol", "orl"}),
        ({"code": "changed"}, {"byol"}),
        ({"scale": "tiny"}, {"byol"}),
        ({"crop": ["gt_pad"]}, {"byol"}),
        ({"method": ["nobody"], "scale": "no", "seeds": "-1", "part": "99", "code": "x"}, ALL),
    ],
)
def test_the_address_holds_the_filters(
    database: Database, parameters: dict[str, Any], kept: set[str]
) -> None:
    app = show(**parameters)
    assert set(methods(app)) == kept


def test_choosing_a_filter_writes_it_into_the_address_and_a_copy_shows_the_same(
    database: Database,
) -> None:
    app = show()
    app.multiselect(key="leaderboard.crop").set_value(["gt", "grid"]).run()
    app.multiselect(key="leaderboard.task").set_value(["knn"]).run()
    assert app.query_params["crop"] == ["gt", "grid"]
    copy = show(**dict(app.query_params))
    assert html(copy) == html(app)
    assert len(methods(app)) == 2
    app.multiselect(key="leaderboard.crop").set_value([]).run()
    assert "crop" not in app.query_params


def test_filters_survive_a_visit_to_another_page(database: Database) -> None:
    app = show(method=["supervised"])
    app.segmented_control(key="menu").set_value("coverage").run()
    assert "Cost of the missing cells" in words(app)
    app.segmented_control(key="menu").set_value("leaderboard").run()
    assert methods(app) == ["supervised"]
    assert app.query_params["method"] == "supervised"


def test_every_page_of_a_long_table_can_be_reached(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard.screens import leaderboard

    monkeypatch.setattr(leaderboard, "PAGE_ROWS", 4)
    every = [m for at in range(1, 5) for m in methods(show(part=str(at)))]
    assert len(every) == 15


def test_a_cell_shows_numbers_curves_cost_provenance_and_command(database: Database) -> None:
    label = cell_label(database, method="byol", crop="image", task="coco_det", scale="small")
    app = show("cell", key=label[:16])
    found = words(app)
    with database.engine.connect() as connection:
        query = select(MetricRow.value).join(ResultRow, ResultRow.id == MetricRow.result_id)
        value = connection.scalar(
            query.where(ResultRow.label == label, MetricRow.name == "AP_bbox")
        )
        commands = connection.scalar(select(CellRow.command).where(CellRow.label == label))
    assert f"{value:.2f}" in found
    assert app.code[0].value == commands
    for part in (
        "AP75_segm",
        "pretrain/byol",
        "1000",
        "A GPU",
        "node-7",
        "as installed now",
        "0123456789ab",
    ):
        assert part in found, part
    # curves, classes
    assert len(app.get("vega_lite_chart") + app.get("arrow_vega_lite_chart")) == 2


def test_each_stage_of_a_cell_can_be_opened(database: Database) -> None:
    label = cell_label(database, method="byol", crop="image", task="coco_det", scale="small")
    links = [
        unescape(x)
        for x in re.findall(r'href="(\?page=cell[^"]*stage=[^"]*)"', html(show("cell", key=label)))
    ]
    assert len(links) == 4
    for link in links:
        given = dict(pair.split("=") for pair in link[1:].split("&"))
        assert f"Provenance of {'pretrain/byol' if 'pretrain' in link else ''}" in words(
            show(**given)
        )


def test_a_failed_cell_says_why(database: Database) -> None:
    assert "out of memory" in words(show("cell", key=cell_label(database, state="failed")))


@pytest.mark.parametrize("key", ["0" * 16, "zz", "%", EVIL])
def test_a_deleted_cell_or_a_broken_link_is_one_line(database: Database, key: str) -> None:
    app = show("cell", key=key)
    assert "it was deleted, or the link is cut off" in words(app)
    assert EVIL not in html(app)


def test_a_cell_whose_stages_are_gone_is_still_shown(database: Database) -> None:
    label = cell_label(database, method="byol", crop="image", task="coco_det", scale="small")
    with database.engine.begin() as connection:
        connection.execute(delete(StageRow))
    assert "The stages of this cell are not recorded" in words(show("cell", key=label))


def test_a_missing_cell_shows_the_command_that_fills_it(database: Database) -> None:
    link = re.search(
        r'class="cell missing"><a href="(\?[^"]*)"', html(show(method=["supervised"]))
    )
    assert link
    given = dict(pair.split("=", 1) for pair in unescape(link[1])[1:].split("&"))
    from urllib.parse import unquote_plus

    app = show(**{k: unquote_plus(v) for k, v in given.items()})
    assert re.match(
        r"bench run --method supervised --crop image --task imagenet_linear", app.code[0].value
    )
    assert "no such row" in words(show("cell", row="x", column="y", scale="small", data="coco"))


def test_rows_are_compared_over_common_seeds(database: Database) -> None:
    keys = [f"measured/{k}" for k in _pretrainings(database)][:2]
    app = show("compare", row=keys)
    found = words(app)
    assert "seeds 0-2" in found
    assert "pretrain.crop.name" in found
    assert len(app.get("vega_lite_chart") + app.get("arrow_vega_lite_chart")) == 1
    assert "Pick two to four rows" in words(show("compare", row=keys[:1]))


def test_differences_of_several_tasks_hold_together() -> None:
    """Two tasks, two other rows: four intervals, each at 1 - .05 / 4 by Student's t."""

    def row(key: str, **values: tuple[float, ...]) -> Any:
        entries = {n: SimpleNamespace(values=dict(enumerate(v))) for n, v in values.items()}
        return SimpleNamespace(key=key, entries=entries)

    columns: Any = [SimpleNamespace(key="knn"), SimpleNamespace(key="svm")]
    first = row("first", knn=(50.0, 51.0, 52.0), svm=(60.0, 61.0, 62.0))
    near = row("near", knn=(51.0, 52.1, 52.9), svm=(60.5, 61.0, 62.4))
    far = row("far", knn=(59.0, 60.1, 60.9), svm=(10.0, 11.1, 11.9))
    gaps, count = pair_rows([first, near, far], columns)
    assert count == 4
    gap = gaps["knn", "near"]
    assert gap is not None
    half = stats.sem([1.0, 1.1, 0.9]) * stats.t.ppf(1 - 0.025 / 4, 2)
    assert gap["ci95"] == pytest.approx(half, rel=1e-6)
    assert verdict(gap) == "better"
    assert verdict(gaps["svm", "near"]) == "not distinguishable"
    alone, count = pair_rows([first, near], columns[:1])
    assert count == 1
    assert alone["knn", "near"]["ci95"] < half / 2  # type: ignore[index]
    one = pair_rows([first, row("one", knn=(70.0,))], columns)
    assert [verdict(g) for g in one[0].values()] == ["unknown", "unknown"]


def test_rows_with_a_common_seed_have_the_command_that_resamples_images() -> None:
    def row(source: str, **seeds: str) -> Any:
        labels = {int(s[1:]): label * 16 for s, label in seeds.items()}
        entry = SimpleNamespace(source=source, values=dict.fromkeys(labels, 1.0), labels=labels)
        return SimpleNamespace(entries={"task": entry})

    columns: Any = [SimpleNamespace(key="task"), SimpleNamespace(key="of neither")]
    first = row("measured", s0="aaaa", s1="bbbb")
    others = [
        row("measured", s1="cccc"),
        row("measured", s0="dddd", s1="eeee"),
        row("measured", s2="ffff"),
    ]
    found = resampling([first, *others, row("imported", s1="cccc")], columns)
    assert found == [
        "bench compare bbbbbbbbbbbb cccccccccccc",
        "bench compare aaaaaaaaaaaa dddddddddddd",
    ]
    assert resampling([row("imported", s1="cccc"), first], columns) == []


def test_cells_are_compared_by_their_labels(database: Database) -> None:
    labels = [
        cell_label(database, method="byol", crop=c, task="knn", scale="small")
        for c in ("image", "gt")
    ]
    app = show("compare", key=labels)
    assert len(app.query_params["row"]) == 2
    assert app.query_params["task"] == "knn"
    assert "coco_det" not in words(app)


def _pretrainings(database: Database) -> list[str]:
    with database.engine.connect() as connection:
        query = select(CellRow.pretraining).where(
            CellRow.scale == "small", CellRow.method == "byol"
        )
        return list(dict.fromkeys(connection.scalars(query)))


def test_coverage_counts_what_is_there(database: Database) -> None:
    app = show("coverage", task=["knn"])
    found = words(app)
    assert "● 1/1" in found
    assert "✕ 0/1" in found
    assert "one seed" in found


def test_coverage_of_changed_settings_has_commands_with_them(database: Database) -> None:
    with database.engine.begin() as connection:
        where = CellRow.crop == "grid", CellRow.scale == "small"
        connection.execute(update(CellRow).where(*where).values(overrides={"byol.lr": "0.5"}))
        connection.execute(delete(CellRow).where(*where, CellRow.task == "knn"))
    app = show("coverage")
    assert "grid" not in words(app)
    app.selectbox(key="coverage.settings").set_value("byol.lr=0.5").run()
    assert "5/6" in words(app)
    assert app.query_params["settings"] == "byol.lr=0.5"
    assert any("--task knn" in c.value and "--set byol.lr=0.5" in c.value for c in app.code)


@pytest.mark.parametrize("page", PAGES)
def test_values_of_the_database_are_never_html(database: Database, page: str) -> None:
    with database.engine.begin() as connection:
        names = {
            n: EVIL for n in ("method", "crop", "task", "task_data", "engine", "command", "reason")
        }
        connection.execute(
            update(CellRow).where(CellRow.scale == "tiny").values(**names, overrides={EVIL: EVIL})
        )
        connection.execute(
            update(CellRow).where(CellRow.state != "done").values(reason=EVIL, crop=EVIL)
        )
        connection.execute(update(StageRow).values(name=EVIL, params={EVIL: EVIL}))
    for given in ({"scale": "tiny"}, {}):
        app = show(
            page,
            key=cell_label(database, state="failed" if not given else "done", **given),
            **given,
        )
        assert EVIL not in html(app)
        assert "<img" not in html(app)


def test_the_page_of_a_number_has_its_mean_interval_seeds_and_cost(database: Database) -> None:
    with database.engine.connect() as connection:
        query = select(CellRow.label, ResultRow.value, StageRow.seconds)
        query = query.join(ResultRow, ResultRow.label == CellRow.label)
        query = query.join(StageRow, StageRow.key == CellRow.label)
        query = query.where(
            CellRow.method == "byol", CellRow.crop == "gt", CellRow.task == "coco_det"
        )
        rows = connection.execute(query.order_by(CellRow.seed)).all()
    values = [row.value for row in rows]
    half = stats.t.ppf(0.975, 2) * stats.sem(values)
    app = show("result", key=rows[2].label[:16])  # any of its seeds
    shown = words(app)
    assert f"{sum(values) / 3:.1f} ± {half:.1f}" in shown
    assert "3 seeds" in shown
    assert all(f"{value:.2f}" in shown for value in values)
    assert all(f"key={row.label[:16]}" in html(app) for row in rows)
    assert f"{sum(values) / 3:.2f}" in shown
    assert "--seeds 0-2" in app.code[0].value
    # the number on the board leads here
    board = html(show(method=["byol"], crop=["gt"], task=["coco_det"]))
    assert f"?page=result&amp;key={rows[0].label[:16]}&amp;source=measured" in board
    assert "No result has the key 9999" in words(show("result", key="9999"))


def test_a_matrix_of_methods_and_crops_is_on_the_board(database: Database) -> None:
    shown = html(show(heat="knn"))
    with database.engine.connect() as connection:
        query = select(CellRow.method, CellRow.crop).where(
            CellRow.task == "knn", CellRow.scale == "small", CellRow.state == "done"
        )
        pairs = set(connection.execute(query).all())
    assert '<table class="b heat">' not in shown  # folded
    app = show(heat="knn")
    app.session_state["b-matrix-table"] = True  # open
    shown = html(app.run())
    _, _, table = shown.partition('<table class="b heat">')
    assert table.partition("</table>")[0].count("--share:") == len(pairs) > 10
    (chart,) = [json.loads(c.proto.spec) for c in app.get("vega_lite_chart")]
    assert chart["description"].startswith(f"Heat map of {len({m for m, _ in pairs})} methods by")
    large = json.loads(show(heat="knn", zoom="large").get("vega_lite_chart")[0].proto.spec)
    texts = [p["text"] for p in walk(large) if isinstance(p.get("text"), dict)]
    assert "full" in {text.get("field") for text in texts}
    gains = words(show(heat="knn", shade="gain"))
    assert "above (blue) or below (orange) the crop image" in gains


def test_links_out_are_web_links_only() -> None:
    assert web_link("javascript:alert(1)") == ""
    assert web_link(None) == ""
    assert 'href="https://wandb.example/a?b=1&amp;c"' in web_link("https://wandb.example/a?b=1&c")
    assert href("cell", key='"><b>') == "?page=cell&amp;key=%22%3E%3Cb%3E"
    assert "&lt;b&gt;" in table(("a",), [("<b>",)])
    assert "<b>" in table(("a",), [(Markup("<b>"),)])


def test_durations_read_well() -> None:
    texts = [duration(s) for s in (None, 4.21, 59.99, 125, 3600, 12_000, 400_000)]
    assert texts == ["-", "4.2 s", "60.0 s", "2 min 5 s", "1 h 0 min", "3 h 20 min", "4.6 days"]


def test_figures_hold_the_numbers_given() -> None:
    chart = curves(
        [{"step": 0, "loss.a": 2.0}, {"step": 5}, {"step": 9, "loss.a": 1.0}], "loss.a"
    ).to_dict()
    (rows,) = chart["datasets"].values()
    assert rows == [{"step": 0, "loss.a": 2.0}, {"step": 9, "loss.a": 1.0}]
    assert chart["encoding"]["y"]["field"] == "loss\\.a"
    bars = class_bars({"cat": {"AP": 3.0}, "dog": {}}, "AP").to_dict()
    assert next(iter(bars["datasets"].values())) == [{"class": "cat", "value": 3.0}]


def test_a_difference_says_n_and_seeds_and_leads_to_its_result() -> None:
    line: DrawnDifference = {
        **{"task": "knn", "row": "b", "mean": 1.0, "low": 0.5, "high": 1.5, "n": 3},
        **{"seeds": "0-2", "cell": "abc"},
    }
    chart = differences([line, {**line, "row": "a"}], lambda key: f"?key={key}").to_dict()
    (data,) = [rows for rows in chart["datasets"].values() if "row" in rows[0]]
    assert data[0] == {**line, "link": "?key=abc"}
    said = [part for part in walk(chart) if part.get("href")]
    assert said
    assert {"n", "seeds", "low", "high"} <= {tip.get("field") for tip in said[0]["tooltip"]}
    assert [p.get("bind") for p in chart["params"]].count("legend") == 1
    assert any(p.get("bind") == "scales" for p in walk(chart))
    # in the order of the table
    colours = [
        part["color"]["scale"]["domain"]
        for part in walk(chart)
        if "offset" in part or "yOffset" in part
    ]
    assert colours
    assert all(domain == ["b", "a"] for domain in colours)


def test_numbers_of_papers_are_shown_where_asked_for(database: Database) -> None:
    assert "reported" not in words(show(task=["coco_det"], method=["orl"]))
    found = html(show(task=["coco_det"], method=["orl"], reported="yes"))
    assert '<tr class="reported">' in found
    assert "Xie 2021" in found
    assert ">40.3<" in found
    assert "Unsupervised Object-Level Representation Learning from Scene Images" in unescape(found)
