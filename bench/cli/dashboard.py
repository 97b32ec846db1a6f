"""bench dashboard: results in a browser."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path

import click

from bench.core.errors import BadInput, brief
from bench.results.db.place import database_url

PORTS = range(8501, 8521)  # tried in turn unless one is asked for
START_SECONDS = 60.0
ALLOWED = "BENCH_DASHBOARD_HOSTS"  # of dashboard.hosts
RUN = "BENCH_DASHBOARD_RUN"  # of dashboard.jobs


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port to serve on. The default is the first free one from 8501.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve on; 0.0.0.0 lets other machines in.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Name by which browsers may ask for the dashboard beside this machine's addresses and "
    "host name, for example that of a proxy; may be repeated.",
)
@click.option(
    "--base-path",
    metavar="PATH",
    default="",
    help="Path below which a reverse proxy shows the dashboard, for example /bench.",
)
@click.option(
    "--allow-run",
    is_flag=True,
    help="Give the page Pictures a button that runs bench figure on this machine, one at a time, "
    "with its cost and a button that cancels it. Whoever can open the dashboard can press it.",
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
def command(
    port: int | None,
    host: str,
    names: tuple[str, ...],
    base_path: str,
    allow_run: bool,
    no_open: bool,
) -> None:
    """Show results in a browser: leaderboard, cells, comparisons and coverage.

    The dashboard reads results, writes nothing and sends nothing to anybody; Ctrl-C ends it. (With
    --allow-run it may start bench figure, which keeps pictures in the store.) It has no password:
    with another --host, everybody who can reach this machine can read the results.
    """
    app = importlib.util.find_spec("dashboard.app")
    if app is None or app.origin is None or importlib.util.find_spec("streamlit") is None:
        raise BadInput(
            "the dashboard is not installed completely; try: pip install ssl-crop-bench"
        )
    below = read_base_path(base_path)
    number = port or find_free_port(host)
    if not is_free(host, number):
        raise BadInput(
            f"port {number} of {host} is taken or not allowed; try: --port {number + 1}"
        )
    allowed = filter(None, (*names, host, os.environ.get(ALLOWED)))
    server = subprocess.Popen(
        [
            sys.executable,
            str(Path(app.origin).with_name("serve.py")),
            "run",
            app.origin,
            "--server.port",
            str(number),
            "--server.address",
            host,
            "--server.headless",
            "true",
            "--browser.gatherUsageStats",
            "false",
            "--server.baseUrlPath",
            below,
        ],
        env={
            **os.environ,
            "BENCH_DB": database_url(),
            ALLOWED: ",".join(allowed),
            RUN: "yes" if allow_run else "",
        },
        stdout=subprocess.DEVNULL,
    )
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{number}/{below}".rstrip("/")
    threading.Thread(target=announce, args=(server, address, not no_open), daemon=True).start()
    sys.exit(wait(server))


def read_base_path(text: str) -> str:
    """The path without slashes around it; BadInput where it is none."""
    path = text.strip("/")
    if not re.fullmatch(r"[\w.~/-]*", path, re.ASCII) or "//" in path or ".." in path:
        raise BadInput(
            f"a base path has letters, digits, slashes and any of ._~-, got {brief(text)}; try: "
            "--base-path /bench"
        )
    return path


def is_free(host: str, port: int) -> bool:
    """Whether a server may listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, UnicodeError):  # a name of too many characters is no name at all
            return False
        return True


def find_free_port(host: str) -> int:
    """The first free port of PORTS."""
    for port in PORTS:
        if is_free(host, port):
            return port
    raise BadInput(f"no port from {PORTS[0]} to {PORTS[-1]} of {host} is free; try: --port NUMBER")


def announce(server: subprocess.Popen[bytes], address: str, open_browser: bool) -> None:
    """Print the address once the server answers."""
    until = time.monotonic() + START_SECONDS
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # it is this machine
    while server.poll() is None and time.monotonic() < until:
        with suppress(OSError), ask(f"{address}/_stcore/health", timeout=2):
            click.echo(f"dashboard: {address}   (press Ctrl-C to end it)")
            if open_browser:
                import webbrowser

                webbrowser.open(address)
            return
        time.sleep(0.1)


def wait(server: subprocess.Popen[bytes]) -> int:
    """Wait until the server ends, or the user ends it, which is a clean exit."""
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        code = server.wait()
        return 0 if code in (0, -signal.SIGTERM, -signal.SIGINT) else 1
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):
            server.terminate()
            server.wait(10)
        return 0
