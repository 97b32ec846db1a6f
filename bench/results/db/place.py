"""Where results are: `BENCH_DB`, by default in `BENCH_HOME`."""

from __future__ import annotations

import os

from bench.core.errors import BadInput
from bench.core.home import home_folder as home_folder
from bench.core.redact import redact, redact_url


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
