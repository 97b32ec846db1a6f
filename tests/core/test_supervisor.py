"""Child processes: what they send arrives, how they end is known, and none is left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing import get_context, get_start_method
from pathlib import Path
from typing import Any, Literal

import pytest

from bench.core.relay import Message, Send
from bench.core.signals import accept_stop
from bench.core.supervisor import Child, Supervisor

SECONDS = 60.0  # for a process to begin and end on a busy machine


@dataclass(eq=False)
class Talker(Child):
    """Keeps what it has sent."""

    messages: list[Message] = field(default_factory=list)


def keep(child: Talker, message: Message) -> None:
    child.messages.append(message)


def wait_for(supervisor: Supervisor[Talker], what: Any) -> None:
    """Receive messages until `what()` is true."""
    until = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < until
        supervisor.wait(0.1, keep)


def count(send: Send, numbers: int) -> None:
    for number in range(numbers):
        send("number", number)


def send_and_die(send: Send) -> None:
    send("last", 1)
    os.kill(os.getpid(), signal.SIGKILL)


def ignore_requests(send: Send) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    accept_stop()
    send("ready")
    time.sleep(SECONDS)


def send_start_method(send: Send) -> None:
    send("starts by", get_start_method())


def accept_late(send: Send, allowed: str) -> None:
    """Accepts stop signals when the file `allowed` exists."""
    signal.signal(signal.SIGTERM, lambda *_: send("asked"))
    send("ready")
    while not Path(allowed).exists():
        time.sleep(0.05)
    send("held back")
    accept_stop()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_every_message_of_an_ended_process_arrives(
    method: Literal["spawn", "forkserver"],
) -> None:
    supervisor: Supervisor[Talker] = Supervisor(method)
    child = Talker()
    supervisor.start(child, count, 2000)
    wait_for(supervisor, lambda: not supervisor.running)
    assert child.messages == [("number", n) for n in range(2000)]
    assert child.exit_code == 0


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_its_processes_are_started_as_in_a_fresh_interpreter(
    method: Literal["spawn", "forkserver"],
) -> None:
    supervisor: Supervisor[Talker] = Supervisor(method)
    child = Talker()
    supervisor.start(child, send_start_method)
    wait_for(supervisor, lambda: not supervisor.running)
    assert child.messages == [("starts by", get_context(None).get_start_method())]


def test_what_a_killed_process_had_sent_arrives_and_its_signal_is_known() -> None:
    supervisor: Supervisor[Talker] = Supervisor()
    child = Talker()
    supervisor.start(child, send_and_die)
    wait_for(supervisor, lambda: not supervisor.running)
    assert child.messages == [("last", 1)]
    assert child.exit_code == -signal.SIGKILL


def test_a_request_waits_until_the_process_accepts_it(tmp_path: Path) -> None:
    supervisor: Supervisor[Talker] = Supervisor()
    child, allowed = Talker(), tmp_path / "allowed"
    supervisor.start(child, accept_late, str(allowed))
    wait_for(supervisor, lambda: child.messages)
    supervisor.ask_to_stop()
    allowed.touch()
    wait_for(supervisor, lambda: not supervisor.running)
    assert child.messages == [("ready",), ("held back",), ("asked",)]
    assert child.exit_code == 0


def test_one_that_does_not_stop_is_killed() -> None:
    supervisor: Supervisor[Talker] = Supervisor()
    child = Talker()
    supervisor.start(child, ignore_requests)
    wait_for(supervisor, lambda: child.messages)
    start = time.monotonic()
    supervisor.stop(0.5)
    assert time.monotonic() - start >= 0.5
    assert child.exit_code == -signal.SIGKILL
    assert supervisor.running == []


def test_a_command_is_killed_with_what_it_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    supervisor: Supervisor[Talker] = Supervisor()
    child = Talker()
    supervisor.start_command(child, [sys.executable, "-c", code], log, os.environ)
    wait_for(supervisor, lambda: log.read_text().endswith("\n"))
    assert child.exit_code is None
    supervisor.kill()
    assert child.exit_code == -signal.SIGKILL
    sleeper = Path(f"/proc/{log.read_text().strip()}")
    until = time.monotonic() + SECONDS
    while sleeper.exists() and b"sleep" in (sleeper / "cmdline").read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)
