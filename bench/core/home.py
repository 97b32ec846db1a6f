"""Where this user's stages, results and named data are: `BENCH_HOME`."""

from __future__ import annotations

import os
from pathlib import Path

from bench.core.files import expand_path


def home_folder() -> Path:
    """`BENCH_HOME`, by default a per-user data folder."""
    chosen = os.environ.get("BENCH_HOME")
    if chosen:
        return expand_path(chosen)
    from platformdirs import user_data_path

    return user_data_path("bench")
