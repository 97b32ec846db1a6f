"""Whom the dashboard answers, under which names, and that it asks nobody: a real server, real
sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import hosts
from tests.dashboard.browser import free_port
from tests.dashboard.populate import fill
from tests.dashboard.test_commands import start

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("", True),
        ("localhost:8501", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8501", True),
        ("10.1.2.3:80", True),
        ("[::1]:8501", True),
        ("[fe80::1]", True),
        (f"{socket.gethostname()}:8501", True),
        ("proxy.lab:443", True),
        ("other.lab.", True),
        ("evil.example:8501", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("proxy.lab.evil.example", False),
        ("[evil.example]:80", False),
        ("localhost:evil", False),
        (",", False),
    ],
)
def test_names_that_a_page_may_be_asked_for_by(
    host: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hosts.ALLOWED, "proxy.lab, Other.lab")
    assert hosts.is_allowed(host) is allowed


def test_another_name_is_shown_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    fill(f"sqlite:///{home / 'results.db'}", 24, home).engine.dispose()
    monkeypatch.setattr(hosts, "read_host", lambda: "evil.example:8501")
    app = AppTest.from_file(APP, default_timeout=60).run()
    text = "".join(h.proto.body for h in app.get("html"))
    assert "not known as &#x27;evil.example&#x27;" in text
    assert "bench dashboard --allow-host evil.example" in text
    assert "byol" not in text
    monkeypatch.setenv(hosts.ALLOWED, "evil.example")
    assert "byol" in "".join(h.proto.body for h in app.run().get("html"))


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port that stands for everything outside: what came to it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    heard.append(connection.recv(4096))

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], heard


def read_page(port: int, host: str) -> bytes:
    """All that the server sends to a browser that opens the first page under the name `host`."""
    connect = pytest.importorskip("websockets.sync.client").connect
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    sent = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        connect(
            f"ws://{host}:{port}/_stcore/stream",
            sock=plain,
            origin=f"http://{host}:{port}",
            subprotocols=["streamlit"],
            max_size=None,
        ) as page,
    ):
        ask = BackMsg()
        ask.rerun_script.query_string = ""
        page.send(ask.SerializeToString())
        while True:
            data = page.recv(timeout=60)
            sent += data
            message = ForwardMsg()
            message.ParseFromString(data)
            if message.WhichOneof("type") == "script_finished":
                return sent


def shake_hands(port: int, origin: str) -> str:
    """The first line of the answer to a page of `origin` that wants to connect."""
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Origin: {origin}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: streamlit",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        plain.sendall("\r\n".join([*lines, "", ""]).encode())
        return plain.recv(4096).decode(errors="replace").partition("\r\n")[0]


def test_open_to_other_machines_it_asks_nobody_and_answers_no_other_site(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    fill(f"sqlite:///{home / 'results.db'}", 24, home).engine.dispose()
    port = free_port()
    with listening() as (outside, heard):
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{outside}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        # requests, by which Streamlit asks for its public address, does come to that port
        ask = "import sys; sys.path.remove(''); from streamlit import net_util as n; n.{}()"
        subprocess.run([sys.executable, "-c", ask.format("get_external_ip")], check=True)
        assert heard
        heard.clear()
        server = start("--host", "0.0.0.0", "--port", str(port))
        try:
            assert server.stdout is not None
            assert f"http://127.0.0.1:{port}" in server.stdout.readline()
            assert "403" in shake_hands(port, "http://evil.example")
            assert "101" in shake_hands(port, f"http://127.0.0.1:{port}")
            assert b"byol" in read_page(port, "127.0.0.1")
            other = read_page(port, "evil.example")  # what DNS rebinding makes of it
            assert b"not known as" in other
            assert b"byol" not in other
        finally:
            server.send_signal(signal.SIGINT)
            _, error = server.communicate(timeout=30)
        assert heard == []
    assert server.returncode == 0, error
    assert os.environ["http_proxy"]
