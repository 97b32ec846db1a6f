"""Where results are: `BENCH_HOME`, `BENCH_DB`."""

from __future__ import annotations

import os
from pathlib import Path


def home_folder() -> Path:
    """`BENCH_HOME`, by default a per-user data folder."""
    given = os.environ.get("BENCH_HOME")
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("bench")


def database_url() -> str:
    """`BENCH_DB`, by default SQLite in the home."""
    return os.environ.get("BENCH_DB") or f"sqlite:///{home_folder() / 'results.db'}"
