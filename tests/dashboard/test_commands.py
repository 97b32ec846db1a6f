"""`bench dashboard` starts, answers on this machine only, ends with Ctrl-C; `bench show` on
changed code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.dashboard import is_free
from bench.core.errors import BadInput
from bench.core.files import hash_file
from bench.results.db.database import open_database
from bench.results.views.entries import load_entries
from tests.dashboard.browser import free_port
from tests.dashboard.populate import fill
from tests.patience import HANG


def start(*options: str) -> subprocess.Popen[str]:
    code = [
        sys.executable,
        "-c",
        "from bench.cli import main; main()",
        "dashboard",
        "--no-open",
        *options,
    ]
    return subprocess.Popen(
        code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


@pytest.mark.parametrize(("number", "path"), [(signal.SIGINT, ""), (signal.SIGTERM, "/lab/bench")])
def test_it_says_where_it_is_and_ends_cleanly(
    home: Path, number: signal.Signals, path: str
) -> None:
    port = free_port()
    server = start("--port", str(port), "--base-path", f"{path}/")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert f" http://127.0.0.1:{port}{path} " in line
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}{path}/_stcore/health", timeout=10
        ) as answer:
            assert answer.read() == b"ok"
        outside = socket.gethostbyname(socket.gethostname())
        if not outside.startswith("127."):
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((outside, port), timeout=5).close()
        server.send_signal(number)
        out, error = server.communicate(timeout=HANG)
    finally:
        server.kill()
    assert server.returncode == 0, error
    assert "Traceback" not in out + error
    assert is_free("127.0.0.1", port)
    assert not (home / "results.db").exists()  # it only reads


def test_a_taken_port_is_one_line() -> None:
    from bench.cli import cli

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port} of 127.0.0.1 is taken"):
            CliRunner().invoke(cli, ["dashboard", "--port", str(port)], catch_exceptions=False)


@pytest.mark.parametrize("path", ["https://lab", "a//b", "../a", "a b", "a?b"])
def test_a_base_path_that_is_none_is_one_line(path: str) -> None:
    from bench.cli import cli

    with pytest.raises(BadInput, match="a base path has letters"):
        CliRunner().invoke(cli, ["dashboard", "--base-path", path], catch_exceptions=False)


def seal(folder: Path) -> None:
    """Write the `done` record of a stage's folder, as a commit does."""
    files = [f for f in folder.iterdir() if f.name != "done"]
    record = {f.name: {"size": f.stat().st_size, "sha256": hash_file(f)} for f in files}
    key = json.loads((folder / "stage.json").read_text())["key"]
    (folder / "done").write_text(json.dumps({"key": key, "files": record}))


def test_a_stage_of_other_code_is_shown_as_such(home: Path) -> None:
    from bench.cli import cli

    home.mkdir()
    database = fill(f"sqlite:///{home / 'results.db'}", 1, home)
    with database.engine.connect() as connection:
        (one,) = [e for e in load_entries(connection, "tiny", "scenes")]
    for folder in home.glob("store/*/*"):  # as committed
        seal(folder)

    def show(*options: str) -> str:
        return (
            CliRunner()
            .invoke(cli, ["show", one.labels[0][:12], *options], catch_exceptions=False)
            .output
        )

    assert "unchanged since this stage and its inputs were made" in show()
    assert set(json.loads(show("--json"))["code"].values()) == {"current"}
    (record,) = home.glob("store/data/scenes-*/provenance.json")
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "source_digest": "ast1:" + "0" * 40})
    )
    seal(record.parent)
    assert "data/scenes" in next(
        line for line in show().splitlines() if "changed since it was made" in line
    )


def test_a_database_url_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.core.home import home_folder
    from bench.results.db.place import database_url

    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "a"))
    assert database_url() == f"sqlite:///{tmp_path / 'a' / 'results.db'}"
    assert home_folder() == tmp_path / "a"
    monkeypatch.setenv("BENCH_DB", "sqlite:///x.db")
    assert database_url() == "sqlite:///x.db"
    open_database(f"sqlite:///{tmp_path / 'b.db'}")
