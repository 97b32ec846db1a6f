"""Child processes of this one: started, listened to, stopped, and none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process, resource_tracker, set_start_method
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from bench.core.processes import die_with_parent
from bench.core.relay import Message, Sender, read_messages
from bench.core.signals import hold_back_stop

TRIES = 5  # to start a process
HARMLESS = "ignore:resource_tracker"  # its warning that a killed process left semaphores


class Command(subprocess.Popen[bytes]):
    """A command line in a session of its own (Ctrl-C in the terminal does not reach it), whose
    output is appended to the file `log`; it can be used like a process of multiprocessing."""

    def __init__(self, line: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        with open(log, "ab") as file:
            super().__init__(
                line,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,
            )

    @property
    def exitcode(self) -> int | None:
        return self.poll()

    def join(self, timeout: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout)


@dataclass(eq=False)
class Child:
    """A child process; a subclass says what it is for. `process` and `pipe` are set when it is
    started."""

    process: BaseProcess | Command = field(init=False)
    pipe: Connection | None = field(init=False, default=None)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None, "it was started"
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -n where signal n killed it."""
        return self.process.exitcode

    def clear_up(self) -> None:
        """Called when the process has ended."""


C = TypeVar("C", bound=Child)


def ignore_messages(child: Child, message: Message) -> None:
    """What a supervisor does with messages that nobody wants."""


class Supervisor(Generic[C]):
    """The child processes of one kind. `running`: those that have not ended, as far as is known.

    method: how functions get a process of their own. "spawn" is a fresh interpreter; "forkserver"
    forks a server that has imported the modules `preload`, and has used neither a GPU nor OpenMP,
    so that a process begins at once.
    """

    def __init__(
        self, method: Literal["spawn", "forkserver"] = "spawn", preload: Sequence[str] = ()
    ) -> None:
        self.running: list[C] = []
        self.context: SpawnContext | ForkServerContext = (
            get_context("spawn") if method == "spawn" else get_context("forkserver")
        )
        if preload:
            self.context.set_forkserver_preload(list(preload))
        if HARMLESS not in sys.warnoptions:
            sys.warnoptions.append(HARMLESS)

    def start(self, child: C, function: Callable[..., None], *arguments: Any) -> None:
        """Call function(send, *arguments) in a process; send(kind, *rest) sends a message here.

        The process dies with this one (with "forkserver", with the server, which dies with this
        one). Stop signals wait in it until the function calls `accept_stop`, so that a signal to
        every process of a job cannot end one that is only beginning.
        """
        resource_tracker.ensure_running()  # started later, it would undo `hold_back_stop`
        child.pipe, sender = self.context.Pipe(duplex=False)
        child.process = self._start_process(function, sender, arguments)
        sender.close()
        self.running.append(child)

    def _start_process(self, *arguments: Any) -> BaseProcess:
        for attempt in range(1, TRIES + 1):
            process: BaseProcess = self.context.Process(target=_run, args=arguments)
            try:
                with hold_back_stop():
                    process.start()
                break
            except (OSError, EOFError):  # the fork server was killed in this moment
                if attempt == TRIES:
                    raise
            time.sleep(0.1)  # another server is started by the next try
        return process

    def start_command(
        self, child: C, line: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        """Run a command line, its output appended to the file `log`."""
        child.process = Command(line, log, environment)
        self.running.append(child)

    def wait(
        self, seconds: float, receive: Callable[[C, Message], None] = ignore_messages
    ) -> list[C]:
        """Receive messages, for up to `seconds` or until there is news; returns the children that
        have ended, after their last messages."""
        pipes = [child.pipe for child in self.running if child.pipe]
        processes = [child.process for child in self.running]
        wait([*pipes, *(p.sentinel for p in processes if isinstance(p, BaseProcess))], seconds)
        # found before the messages are read: what an ended process has sent is then complete
        ended = [child for child in self.running if child.exit_code is not None]
        for child in list(self.running):
            for message in read_messages(child.pipe) if child.pipe else []:
                receive(child, message)
        for child in ended:
            self._forget(child)
        return ended

    def ask_to_stop(self) -> None:
        """Ask every child to save what it has and to end."""
        for child in self.running:
            with suppress(OSError):
                os.kill(child.pid, signal.SIGTERM)

    def stop(self, seconds: float) -> None:
        """Ask every child to stop and wait up to `seconds` for all of them; kill the rest."""
        self.ask_to_stop()
        until = time.monotonic() + seconds
        for child in self.running:
            child.process.join(max(until - time.monotonic(), 0.1))
        self.kill()

    def kill(self) -> None:
        """End every child now, with what it started where it has a session of its own."""
        for child in list(self.running):
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.process.kill()
            self._forget(child)

    def _forget(self, child: C) -> None:
        child.process.join()
        if child.pipe:
            child.pipe.close()
        self.running.remove(child)
        child.clear_up()


def _run(function: Callable[..., None], pipe: Connection, arguments: tuple[Any, ...]) -> None:
    """All that a child process does."""
    die_with_parent()
    parent = parent_process()
    if parent is None or not parent.is_alive():  # it ended before `die_with_parent` was called
        os._exit(1)
    # Else loaders start here as this process was started: they import PyTorch anew, and after a
    # kill of this one they keep the server alive that they look for as their parent.
    set_start_method(None, force=True)
    function(Sender(pipe), *arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without waiting for threads that a library left behind
