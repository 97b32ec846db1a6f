"""The dashboard in a real browser: every page, light and dark, wide and narrow; filters, clicks,
downloads, a copied address, the keyboard. Screenshots stay in `ci-output/dashboard`."""

from __future__ import annotations

import csv
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, select, update

from bench.cli import cli
from bench.results.db.database import Database, open_database
from bench.results.db.models import CellRow
from tests.dashboard.browser import (
    body,
    chromium,
    errors,
    open_page,
    picture,
    serve_by,
    serving,
    settled,
    wait_for,
    why_not,
)
from tests.dashboard.measure import DASHBOARD, WATCH, choose
from tests.dashboard.populate import fill, paper_cells, sweeps

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser is here"),
]
PICTURES = Path(
    os.environ.get("BENCH_PICTURES") or Path(__file__).parents[2] / "ci-output" / "dashboard"
)
EVIL = '<img src=x onerror="window.broken=1">'
ROWS = (
    "return [...document.querySelectorAll('table.board th.name')]"
    ".map(e => e.innerText.split('\\n')[0])"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def database(home: Path) -> Database:
    """1,000 results with their stages on disk."""
    found = fill(f"sqlite:///{home / 'results.db'}", 1000, home)
    sweeps(f"sqlite:///{home / 'results.db'}")
    paper_cells(found, "000/T1")
    return found


@pytest.fixture(scope="module")
def address(home: Path, database: Database) -> Iterator[str]:
    with serving(home) as found:
        yield found


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driver(downloads: Path) -> Iterator[Any]:
    with chromium(downloads=downloads) as found:
        found.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        yield found


def label(database: Database, **where: Any) -> str:
    with database.engine.connect() as connection:
        query = select(CellRow.label).filter_by(**where).order_by(CellRow.seed)
        return str(connection.scalars(query).first())


def pages(database: Database) -> dict[str, str]:
    """The address of every page with something on it."""
    with database.engine.connect() as connection:
        query = select(CellRow.pretraining).where(
            CellRow.method == "byol", CellRow.scale == "small"
        )
        rows = list(dict.fromkeys(connection.scalars(query)))[:3]
    chosen = {"task": "coco_det", "crop": "gt", "scale": "small"}
    return {
        "leaderboard": "/",
        "leaderboard-states": "/?method=supervised&method=byol&crop=image",
        "result": f"/?page=result&key={label(database, **chosen)[:16]}",
        "cell": f"/?page=cell&key={label(database, **chosen)[:16]}",
        "cell-failed": f"/?page=cell&key={label(database, state='failed')[:16]}",
        "compare": "/?page=compare" + "".join(f"&row=measured/{r}" for r in rows),
        "coverage": "/?page=coverage&task=coco_det&task=knn",
        "sweeps": "/?page=sweeps",
        "sweeps-several": "/?page=sweeps&study=three+settings",
        "papers": "/?page=papers&table=T1&scale=tiny",
        "objectness": "/?page=objectness",
        "pictures": "/?page=pictures",
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 420])
def test_every_page_opens_without_an_error(
    address: str, database: Database, width: int, dark: bool
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with chromium(width, 900, dark) as driver:
        for name, where in pages(database).items():
            open_page(driver, address + where)
            assert not errors(driver), name
            assert "Traceback" not in body(driver)
            wide = driver.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, f"{name} scrolls sideways as a whole"
            picture(driver, PICTURES / f"{name}-{width}-{'dark' if dark else 'light'}.png")


def test_a_filter_changes_the_rows_and_the_address_and_a_copy_shows_the_same(
    address: str, driver: Any
) -> None:
    open_page(driver, address)
    assert len(set(driver.execute_script(ROWS))) > 20
    choose(driver, "Methods", "byol")
    assert wait_for(driver, lambda d: {r.split()[0] for r in d.execute_script(ROWS)} == {"byol"})
    settled(driver)
    rows = driver.execute_script(ROWS)
    assert wait_for(driver, lambda d: "method=byol" in d.current_url)
    with chromium() as other:
        open_page(other, driver.current_url)
        assert other.execute_script(ROWS) == rows
    driver.back()
    wait_for(driver, lambda d: len(d.execute_script(ROWS)) > 20)
    assert not errors(driver)


def test_a_click_opens_the_cell_and_back_returns_to_the_filtered_table(
    address: str, driver: Any
) -> None:
    open_page(driver, f"{address}/?method=byol&crop=gt&task=coco_det")
    link = driver.find_element("css selector", "table.board td.cell a")
    shown = link.find_element("css selector", ".v").text
    assert "coco_det" in body(driver)
    assert "3 seeds" in link.get_attribute("title")
    link.click()
    wait_for(driver, lambda d: "byol × gt × coco_det" in body(d))
    wait_for(driver, lambda d: f"{shown} ± " in body(d))  # the number that was clicked
    settled(driver)
    driver.find_element("css selector", "table.seeds a").click()
    wait_for(driver, lambda d: "Learning curves" in body(d))
    wait_for(driver, lambda d: "Make it again" in body(d))
    # the code block is loaded by itself
    wanted = "bench run --method byol --crop gt --task coco_det"
    wait_for(driver, lambda d: wanted in " ".join(body(d).split()))
    driver.back()
    wait_for(driver, lambda d: "open its cell" in body(d))
    driver.back()
    cell = "return document.querySelector('table.board td.cell .v')?.innerText"
    wait_for(driver, lambda d: d.execute_script(cell) == shown)
    assert not errors(driver)


@pytest.mark.parametrize(
    ("button", "file"), [("CSV", "leaderboard.csv"), ("LaTeX", "leaderboard.tex")]
)
def test_a_download_holds_what_is_shown(
    address: str, driver: Any, downloads: Path, button: str, file: str
) -> None:
    open_page(driver, f"{address}/?method=byol&crop=gt&crop=grid&task=coco_det")
    rows = driver.execute_script(ROWS)
    # the last: others of this name are of the matrix
    found = [b for b in driver.find_elements("tag name", "button") if b.text == button][-1]
    found.click()
    wait_for(driver, lambda d: (downloads / file).exists() and (downloads / file).read_text())
    text = (downloads / file).read_text()
    if button == "CSV":
        assert [f"{r['method']} × {r['crop']}" for r in csv.DictReader(text.splitlines())] == rows
    assert "coco_det" in text.replace("\\", "")
    assert text.count("byol") == 2


def test_a_missing_cell_shows_its_command(address: str, driver: Any) -> None:
    open_page(driver, f"{address}/?method=supervised")
    driver.find_element("css selector", "td.missing a").click()
    wait_for(driver, lambda d: "bench run --method supervised" in body(d))
    assert not errors(driver)


def test_the_table_is_used_by_keyboard(address: str, driver: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    open_page(driver, f"{address}/?method=byol&crop=gt&task=coco_det")
    focused = "return document.activeElement.closest('td.cell') !== null"
    for _ in range(40):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        if driver.execute_script(focused):
            break
    assert driver.execute_script(focused)
    outline = driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    ActionChains(driver).send_keys(Keys.ENTER).perform()
    wait_for(driver, lambda d: "byol × gt × coco_det" in body(d))


def test_the_menu_leads_to_every_page(address: str, driver: Any) -> None:
    open_page(driver, address)
    for name, says in (
        ("Compare", "Differences"),
        ("Coverage", "cells are missing"),
        ("Sweeps", "Chosen"),
        ("Papers", "Claims"),
        ("Leaderboard", "rows"),
    ):
        (button,) = [b for b in driver.find_elements("tag name", "button") if b.text == name]
        button.click()
        wait_for(driver, lambda d, says=says: says in body(d))
        settled(driver)
    assert not errors(driver)


def test_on_a_phone_filters_are_folded_and_rows_are_in_the_first_screen(address: str) -> None:
    shown = "return document.querySelector('.st-key-b-filters').offsetHeight"
    with chromium(420, 740) as phone:
        open_page(phone, address)
        assert phone.execute_script(shown) == 0
        first = "return document.querySelector('table.board tbody tr').getBoundingClientRect()"
        assert phone.execute_script(f"{first}.bottom") < 740
        phone.find_element("css selector", ".st-key-b-more summary").click()
        wait_for(phone, lambda d: d.execute_script(shown) > 100)
        assert errors(phone) == []


def test_new_results_appear_and_deleted_ones_leave_one_line(tmp_path: Path) -> None:
    file = tmp_path / "results.db"
    database = fill(f"sqlite:///{file}", 60, tmp_path)
    with serving(tmp_path) as address, chromium() as driver:
        open_page(driver, f"{address}/?method=byol&crop=image&task=knn")
        found = driver.find_element("css selector", "td.cell .v").text
        with database.engine.begin() as connection:
            one = label(database, method="byol", crop="image", task="knn")
            connection.execute(
                update(CellRow).where(CellRow.method == "supervised").values(state="running")
            )
            connection.execute(delete(CellRow).where(CellRow.label == one))
        open_page(driver, f"{address}/?page=cell&key={one[:16]}")
        assert "it was deleted" in body(driver)
        open_page(driver, f"{address}/?method=byol&crop=image&task=knn")
        assert driver.find_element("css selector", "td.cell .v").text
        assert "2 seeds" in driver.find_element("css selector", "td.cell a").get_attribute(
            "title"
        ), found
        database.engine.dispose()
        for end in ("", "-wal", "-shm"):
            Path(f"{file}{end}").unlink(missing_ok=True)
        driver.refresh()
        wait_for(driver, lambda d: "run first: bench run" in body(d))
        fill(f"sqlite:///{file}", 60)
        driver.refresh()
        wait_for(driver, lambda d: d.execute_script(ROWS))
        assert not errors(driver)


def test_nothing_in_the_database_runs_in_the_browser(tmp_path: Path) -> None:
    database = fill(f"sqlite:///{tmp_path / 'results.db'}", 12, tmp_path)
    with database.engine.begin() as connection:
        names = {
            n: EVIL for n in ("method", "crop", "task", "task_data", "engine", "command", "reason")
        }
        connection.execute(update(CellRow).values(**names, overrides={EVIL: EVIL}))
        one = str(connection.scalar(select(CellRow.label).where(CellRow.state == "done")))
    with serving(tmp_path) as address, chromium() as driver:
        for where in ("/", f"/?page=cell&key={one[:16]}", "/?page=compare", "/?page=coverage"):
            open_page(driver, address + where)
            time.sleep(0.5)
            assert driver.execute_script("return window.broken") is None
            assert not driver.find_elements("css selector", "img[src=x]")
            if where == "/" or "cell" in where:
                assert EVIL in body(driver)  # as text


def test_below_a_path_links_and_clicks_stay_below_it(home: Path, database: Database) -> None:
    """As behind a reverse proxy that passes the path on."""
    below = "/lab/bench"
    with (
        serve_by([*DASHBOARD[:-1], "--base-path", below, "--port"], home, below) as (address, _),
        chromium() as driver,
    ):
        open_page(driver, f"{address}/?method=byol&crop=gt&task=coco_det")
        driver.find_element("css selector", "table.board td.cell a").click()
        wait_for(driver, lambda d: "open its cell" in body(d))
        settled(driver)
        driver.find_element("css selector", "table.seeds a").click()
        wait_for(driver, lambda d: "Make it again" in body(d))
        assert driver.current_url.startswith(f"{address}/?page=cell")
        for name, where in pages(database).items():
            open_page(driver, address + where)
            assert not errors(driver), name
            assert driver.current_url.startswith(address)


def test_the_static_page_sorts_and_finds_and_asks_nobody(
    home: Path, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(home))
    monkeypatch.delenv("BENCH_DB", raising=False)
    CliRunner().invoke(cli, ["leaderboard", "--html", str(tmp_path)], catch_exceptions=False)
    names = "return [...document.querySelectorAll('table.board')[0].tBodies[0].rows]"
    names += ".filter(r => !r.hidden && r.querySelector('th.name'))"
    names += ".map(r => r.querySelector('th.name').innerText)"
    for width, dark in ((1440, False), (420, True)):
        with chromium(width, 900, dark) as driver:
            driver.get(f"file://{tmp_path}/index.html")
            rows = driver.execute_script(names)
            assert len(rows) > 10
            heading = driver.find_elements("css selector", "table.board thead button")[2]
            heading.click()
            wait_for(driver, lambda d, rows=rows: d.execute_script(names) != rows)
            driver.find_element("css selector", "input[type=search]").send_keys("byol gt")
            wait_for(
                driver,
                lambda d, rows=rows: 0 < len(d.execute_script(names)) < len(rows),
            )
            wide = driver.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width
            shown = "return [...document.images].every(i => i.naturalWidth > 0 && i.alt)"
            assert driver.execute_script(shown)
            assert driver.get_log("browser") == []
            picture(driver, PICTURES / f"site-{width}.png", whole=False)


def test_an_empty_home_shows_the_first_command(tmp_path: Path) -> None:
    with serving(tmp_path) as address, chromium(420, 900) as driver:
        open_page(driver, address)
        assert "bench run --method orl --task coco_det" in body(driver)
        PICTURES.mkdir(parents=True, exist_ok=True)
        picture(driver, PICTURES / "empty-420-light.png")
        open_database(f"sqlite:///{tmp_path / 'results.db'}")
        driver.refresh()
        wait_for(driver, lambda d: "no cell was run yet" in body(d))
        assert not errors(driver)
    shutil.rmtree(tmp_path)
