"""A dashboard server and a headless Chromium for tests and measurements. Needs the extra
`browser`, Debian's packages chromium and chromium-driver, and nothing from the network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dashboard.faults import FAULT
from tests.patience import HANG

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
# by a page that has come back and has no connection yet, when it is time to look for news
ASKED_EARLY = "Cannot send rerun backMessage when disconnected"
READY = "[data-testid='stApp'][data-test-script-state='notRunning'] .b-title"


def why_not() -> str:
    """Why no browser test can run here, or ""."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed; try: pip install -e '.[browser]'"
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "chromium is not installed; try: apt-get install chromium chromium-driver"
    return ""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """The address of a dashboard that shows the database in `home`; it stops with the block."""
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port"]
    with serve_by(command, home) as (address, _):
        yield address


@contextmanager
def serve_by(
    command: Sequence[str], home: Path, below: str = ""
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process of what `command`, to which a port is added, serves of the
    database in `home`, from when it answers; `below`: the path at which it does."""
    port = free_port()
    address = f"http://127.0.0.1:{port}{below}"
    environment = {k: v for k, v in os.environ.items() if k != "BENCH_DB"} | {
        "BENCH_HOME": str(home)
    }
    with open(home / "server.log", "w") as log:
        server = subprocess.Popen(
            [*command, str(port)], env=environment, stdout=log, stderr=log, cwd=home
        )
    try:
        until = time.monotonic() + HANG
        while time.monotonic() < until and server.poll() is None:
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError((home / "server.log").read_text())
        yield address, server
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def chromium(
    width: int = 1440, height: int = 1000, dark: bool = False, downloads: Path | None = None
) -> Iterator[Any]:
    """A selenium driver."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.set_page_load_timeout(60)
        yield driver
    finally:
        driver.quit()


def wait_for(driver: Any, condition: Any, seconds: float = 30) -> Any:
    """The first true value of `condition(driver)`."""
    until = time.monotonic() + seconds
    while True:
        try:
            found = condition(driver)
            if found:
                return found
        except Exception:
            if time.monotonic() > until:
                raise
        if time.monotonic() > until:
            raise AssertionError(
                f"nothing after {seconds} s on {driver.current_url}: {body(driver)[:2000]}"
            )
        time.sleep(0.01)


def body(driver: Any) -> str:
    text: str = driver.execute_script("return document.body.innerText")
    return text


def open_page(driver: Any, address: str) -> None:
    """Open it and wait until its script has run to the end."""
    driver.get(address)
    settled(driver)


def settled(driver: Any, seconds: float = 30) -> None:
    """Wait until the page's script has run to the end."""
    time.sleep(0.1)
    wait_for(
        driver, lambda d: d.execute_script(f'return !!document.querySelector("{READY}")'), seconds
    )
    time.sleep(0.2)


def errors(driver: Any) -> list[str]:
    """What the browser's console holds that is an error, and exceptions on the page. A page that
    the back button brings out of the browser's cache has lost its connection and opens another: no
    error."""
    lines = [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE"]
    lines = [line for line in lines if ASKED_EARLY not in line]
    if any("Back-Forward Cache" in line for line in lines):
        lines = [
            x for x in lines if "Back-Forward Cache" not in x and "WebSocket onerror" not in x
        ]
    found = driver.execute_script(
        "return [...document.querySelectorAll('.stException, .b-note')].map(e => e.innerText)"
        f".filter(text => !text || text.includes({FAULT!r}))"
    )
    return lines + found


def picture(driver: Any, file: Path, whole: bool = True) -> None:
    """A screenshot; `whole`: as high as the page's content."""
    if whole:
        script = (
            "return [innerWidth, document.querySelector('[data-testid=stMain]').scrollHeight, "
            "innerHeight]"
        )
        width, height, inner = driver.execute_script(script)
        size = {
            "width": width,
            "height": min(max(height, inner), 6000),
            "deviceScaleFactor": 1,
            "mobile": width < 600,
        }
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(0.4)
    driver.save_screenshot(str(file))
    if whole:
        size["height"] = inner
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
