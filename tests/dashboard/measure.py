"""How fast the leaderboard is: in a browser, and in a terminal.

`python -m tests.dashboard.measure 10000 100000` fills databases of these sizes, opens them and
prints seconds from the address being entered until the table is there (the first visit of a new
server, and a later one), from a filter being chosen until the table has followed, and of `bench
leaderboard`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.dashboard.browser import chromium, serve_by, settled, wait_for
from tests.dashboard.cpu import cpu_seconds, memory_mib
from tests.dashboard.populate import fill

PAINT = """
window.seen = {};
const paint = new MutationObserver(() => {
  if (!document.querySelector('table.board')) return;
  window.seen.paint = performance.now();
  paint.disconnect();
});
paint.observe(document, {childList: true, subtree: true});
"""
WATCH = (
    PAINT
    + """
const look = () => {
  const said = [...document.querySelectorAll('.b-soft')].map(e => e.innerText);
  const rows = said.find(t => / of .* rows/.test(t));
  if (rows && rows !== window.seen.rows) {
    window.seen.rows = rows;
    window.seen.changed = performance.now();
  }
};
const kinds = {childList: true, subtree: true, characterData: true};
new MutationObserver(look).observe(document, kinds);
document.addEventListener('click', () => { window.seen.clicked = performance.now(); }, true);
"""
)
EMPTY = "import streamlit as st\nst.html('<table class=board><tr><td>1</table>')\n"
BENCH = [sys.executable, "-c", "from bench.cli import main; main()"]
DASHBOARD = [*BENCH, "dashboard", "--no-open", "--port"]
STREAMLIT = [sys.executable, "-m", "streamlit", "run"]
POLL = 0.1  # seconds between two questions to the browser, which cost it time
SETTLED = 6.0  # seconds that a server is left alone before it is asked "later"
WRITES = 50
# asked for; of the first paint by results, in seconds
FIRST_PAINT = {10_000: 1.5, 100_000: 2.5}
AFTER_WRITE, FILTER, TERMINAL, MEMORY_MIB = 0.3, 0.5, 1.0, 500.0


def paint(driver: Any, address: str) -> float:
    """Seconds from navigation to the table."""
    driver.get(address)
    done = "return window.seen && window.seen.paint"
    while not driver.execute_script(done):
        time.sleep(POLL)
    return float(driver.execute_script("return window.seen.paint")) / 1000


def choose(driver: Any, label: str, option: str) -> float:
    """Seconds from a click on an option of the multiselect until the row count has changed."""
    box = driver.find_element(
        "css selector", f"[data-testid=stMultiSelect] [aria-label*='{label}']"
    )
    box.click()
    find = (
        "return [...document.querySelectorAll('[role=option]')].find(e => e.innerText.trim() === "
        f"'{option}')"
    )
    driver.execute_script(
        "arguments[0].click()", wait_for(driver, lambda d: d.execute_script(find))
    )
    done = "const {changed, clicked} = window.seen; return changed > clicked && changed - clicked"
    return float(wait_for(driver, lambda d: d.execute_script(done))) / 1000


def visit_first(home: Path, command: list[str], wait: float = 0.0) -> str:
    """The first visit of a new server by a new browser."""
    # the browser is there before the server, which therefore is asked as soon as it answers
    with chromium() as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": PAINT})
        with serve_by(command, home) as (address, server):
            time.sleep(wait)
            pids = server.pid, driver.service.process.pid
            before = [cpu_seconds(pid) for pid in pids]
            seconds = paint(driver, address)
            used = [cpu_seconds(pid) - b for pid, b in zip(pids, before, strict=True)]
    return f"{seconds:.2f} (CPU: server {used[0]:.2f}, browser {used[1]:.2f})"


def visit_later(home: Path) -> dict[str, str]:
    """Further visits of a server, and filters."""
    with serve_by(DASHBOARD, home) as (address, _), chromium() as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        paint(driver, address)
        settled(driver)
        later = median(paint(driver, address) for _ in range(3))
        settled(driver)
        filters = median(choose(driver, "Methods", m) for m in ("byol", "orl", "simclr"))
        code = paint(driver, f"{address}/?code=changed")
    return {
        "later visit": f"{later:.2f}",
        "filter": f"{filters:.2f}",
        "code filter, first": f"{code:.2f}",
    }


def terminal(home: Path) -> float:
    """Seconds of `bench leaderboard`, median of three."""
    took = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [*BENCH, "leaderboard"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "BENCH_HOME": str(home)},
        )
        took.append(time.perf_counter() - start)
    return median(took)


def view_after_writes(home: Path) -> str:
    """CPU seconds of the leaderboard's script after a write, and the memory after all of them."""
    from streamlit.testing.v1 import AppTest

    from dashboard.warm import warm_up

    os.environ["BENCH_HOME"] = str(home)
    os.environ.pop("BENCH_DB", None)
    warm_up().join()  # as `bench dashboard` does
    app = AppTest.from_file(str(Path(__file__).parents[2] / "dashboard" / "app.py"))
    app.run(timeout=600)
    took = []
    for at in range(WRITES):
        with sqlite3.connect(home / "results.db") as connection:
            connection.execute(
                "UPDATE results SET value = value + .01 WHERE id = ?", (97 * at + 1,)
            )
        start = time.process_time()
        app.run(timeout=600)
        took.append(time.process_time() - start)
        assert not app.exception
        assert "rows" in "".join(h.body for h in app.get("html"))
    return f"{median(took):.3f} CPU, most {max(took):.3f}, memory {memory_mib():.0f} MiB"


def measure(home: Path) -> dict[str, str]:
    """The figures of the database in `home`."""
    empty = home / "empty.py"
    empty.write_text(EMPTY)
    headless = ["--server.headless", "true", "--browser.gatherUsageStats", "false"]
    return {
        "empty": visit_first(home, [*STREAMLIT, str(empty), *headless, "--server.port"]),
        "first visit at once": visit_first(home, DASHBOARD),
        "first visit later": visit_first(home, DASHBOARD, SETTLED),
        **visit_later(home),
        "bench leaderboard": f"{terminal(home):.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["10000", "100000"])
    parser.add_argument("--core", type=int)
    parser.add_argument("--writes", action="store_true", help="only the views after writes")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    for what in options.what:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            if what.isdigit():
                fill(f"sqlite:///{home}/results.db", int(what)).engine.dispose()
            else:
                shutil.copy(Path(what) / "results.db", home)
            figures = {} if options.writes else measure(home)
            print(f"{what} results, load {os.getloadavg()[0]:.1f}", flush=True)
            # last, since it writes; one process for each database, as its memory is measured
            figures["after a write"] = view_after_writes(home)
            for name, text in figures.items():
                print(f"  {name:20} {text}", flush=True)


if __name__ == "__main__":
    main()
