"""Where results are: `BENCH_HOME` and `BENCH_DB`."""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.errors import BadInput
from bench.core.files import expand_path
from bench.core.redact import redact, redact_url


def home_folder() -> Path:
    """`BENCH_HOME`, by default a per-user data folder."""
    chosen = os.environ.get("BENCH_HOME")
    if chosen:
        return expand_path(chosen)
    from platformdirs import user_data_path

    return user_data_path("bench")


def database_url() -> str:
    """`BENCH_DB`, by default SQLite in the home."""
    return os.environ.get("BENCH_DB") or f"sqlite:///{home_folder() / 'results.db'}"


def explain_url(url: str, error: Exception) -> BadInput:
    """The error of a URL that SQLAlchemy does not take."""
    reason = redact(" ".join(str(error).split()), url)[:100]
    return BadInput(
        f"BENCH_DB {redact_url(url)!r} is not a database URL ({reason}); "
        "try: BENCH_DB=sqlite:///FILE or postgresql+psycopg://..."
    )
