"""No command shows the password of the results database."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from bench.cli import main
from bench.launch.provenance import provenance

SECRET = "hunter2"
URLS = (
    f"nosuchdriver://u:{SECRET}@h/db",
    f"postgresql//u:{SECRET}@h/db",
    f"postgresql://u:{SECRET}",
    f"postgresql://u:{SECRET}@h:port/db",
    f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/db",
    f"postgresql+psycopg://127.0.0.1:1/db?user=u&password={SECRET}",
    f"sqlite://u:{SECRET}@/db",
)


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return int(ended.value.code or 0), out + err


@pytest.mark.parametrize("url", URLS)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(
    url: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_DB", url)
    for arguments in (
        ["leaderboard"],
        ["results", "check"],
        ["sweep", "--method", "byol", "--task", "knn", "--trials", "1", "--scale", "tiny"],
        ["sweep", "--study", "x"],
        ["table", "list"],
    ):
        code, text = call(capfd, *arguments)
        assert SECRET not in text, arguments
        assert code == 2 or arguments[0] == "table", (arguments, text)
    code, text = call(capfd, "doctor", "--json")
    assert code == 0
    assert SECRET not in text
    assert json.loads(text)["store"]["database"]


def test_provenance_holds_no_password(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"ray://u:{SECRET}@head:10001"
    monkeypatch.setattr(sys, "argv", ["bench", "run", "--ray-address", url, "--seeds", "0"])
    record = provenance(time.time(), 0.0, "", None)
    assert record["arguments"] == [
        "run",
        "--ray-address",
        "ray://u:***@head:10001",
        "--seeds",
        "0",
    ]


def test_the_dashboard_names_the_database_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.core.errors import BadInput
    from bench.results.db.reading import open_reader
    from bench.results.views.trials import monitor_command

    for url in URLS[:4]:
        with pytest.raises(BadInput) as error:
            open_reader(url)
        assert SECRET not in str(error.value)
        assert SECRET not in monitor_command(url)
