"""The engine of a command, with its progress on the terminal."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.launch.local import LocalEngine
    from bench.results.db.database import Database


def open_engine(runtime: Runtime) -> AbstractContextManager[tuple[LocalEngine, Database]]:
    """The engine that the runtime names, and the results database that it reports to."""
    from bench.api.progress import terminal_progress
    from bench.launch import session

    return session.open_engine(runtime, terminal_progress())
