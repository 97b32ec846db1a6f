"""How fast the leaderboard is: in a browser, and in a terminal.

`python -m tests.dashboard.measure 10000 100000` fills databases of these sizes, opens them and
prints seconds from the address being entered until the table is there (the first visit of a new
server, and a later one), from a filter being chosen until the table has followed, and of `bench
leaderboard`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.dashboard.browser import chromium, open_page, serving, settled, wait_for
from tests.dashboard.populate import fill

WATCH = """
window.seen = {};
const look = () => {
  const table = document.querySelector('table.board');
  if (table && !window.seen.paint) window.seen.paint = performance.now();
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
FIRST_PAINT = {10_000: 1.5, 100_000: 3.0}  # seconds, what is asked for
FILTER = 0.5
TERMINAL = 1.0


def paint(driver: Any, address: str) -> float:
    """Seconds from navigation to the table."""
    driver.get(address)
    wait_for(driver, lambda d: d.execute_script("return window.seen && window.seen.paint"))
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


def terminal(home: Path) -> float:
    """Seconds of `bench leaderboard`, median of three."""
    code = [sys.executable, "-c", "from bench.cli import main; main()", "leaderboard"]
    took = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            code,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "BENCH_HOME": str(home)},
        )
        took.append(time.perf_counter() - start)
    return median(took)


def measure(home: Path) -> dict[str, float]:
    """The figures of the database in `home`."""
    with serving(home) as address, chromium() as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        found = {"first visit": paint(driver, address)}
        settled(driver)
        found["later visit"] = median(paint(driver, address) for _ in range(3))
        settled(driver)
        found["filter"] = median(choose(driver, "Methods", m) for m in ("byol", "orl", "simclr"))
        open_page(driver, f"{address}/?code=current")
        found["code filter, first"] = (
            float(driver.execute_script("return window.seen.paint")) / 1000
        )
    return {**found, "bench leaderboard": terminal(home)}


def main() -> None:
    sizes = [int(a) for a in sys.argv[1:]] or [10_000, 100_000]
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            fill(f"sqlite:///{folder}/results.db", n).engine.dispose()
            load = os.getloadavg()[0]
            figures = "  ".join(f"{k} {v:.2f} s" for k, v in measure(Path(folder)).items())
            print(
                f"{n:>7,} results: {figures}  (load {load:.1f} to {os.getloadavg()[0]:.1f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
