"""Requests to stop: echoes, and handlers that are put back."""

from __future__ import annotations

import signal

import pytest

from bench.core.signals import StopRequest, listen_for_stop


def test_an_echo_of_a_request_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("bench.core.signals.time.monotonic", lambda: now[0])
    monkeypatch.setattr("bench.core.signals._last", float("-inf"))
    request = StopRequest()
    request.handle(15, None)
    now[0] += 0.5
    request.handle(15, None)
    assert request.asked
    now[0] += 1.5
    with pytest.raises(KeyboardInterrupt):
        request.handle(2, None)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with listen_for_stop():
        assert signal.getsignal(signal.SIGUSR1) != before[2]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
