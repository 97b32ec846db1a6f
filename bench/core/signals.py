"""Asking a process to stop: Ctrl-C, SIGTERM (preemption) and SIGUSR1 (a batch system's time is
nearly up)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
# a batch system and a driver may both pass on one request; a person takes longer
AGAIN_SECONDS = 1.0

# when this process was last asked, over all listeners: one may end while being asked
_last = float("-inf")


@dataclass
class StopRequest:
    """Whether this process was asked to stop. The first request sets `asked`, or, `at_once`,
    raises KeyboardInterrupt; a later one always raises it: save nothing more, leave."""

    at_once: bool = False
    asked: bool = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler; an echo of the last request is no request."""
        global _last
        now = time.monotonic()
        echo, _last = now - _last < AGAIN_SECONDS, now
        if echo and (self.asked or self.at_once):
            return
        again, self.asked = self.asked, True
        if again or self.at_once:
            raise KeyboardInterrupt

    def install(self) -> None:
        """Become the handler of the stop signals; only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            for s in STOP_SIGNALS:
                signal.signal(s, self.handle)


@contextmanager
def listen_for_stop(at_once: bool = False) -> Iterator[StopRequest]:
    """Handle stop signals while the block runs. Only a main thread can: in another one the request
    is never made."""
    before = {s: signal.getsignal(s) for s in STOP_SIGNALS}
    request = StopRequest(at_once)
    try:
        request.install()
        yield request
    finally:
        if threading.current_thread() is threading.main_thread():
            for s, handler in before.items():
                signal.signal(s, handler)


@contextmanager
def hold_back_stop() -> Iterator[None]:
    """Let stop signals wait until the block has run. In a process that the block starts they wait
    until it calls `accept_stop`, or for ever (a mask is inherited): a signal to every process
    of a job must not end helpers that outlive it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def accept_stop() -> None:
    """End what `hold_back_stop` began in the parent of this process."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
