"""What `bench dashboard` starts: Streamlit's command, after what the dashboard asks of it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder, whose names are common

from streamlit.web.cli import main  # noqa: E402

from dashboard.hosts import ask_nobody  # noqa: E402
from dashboard.warm import warm_up  # noqa: E402

if __name__ == "__main__":
    ask_nobody()
    warm_up()
    main(prog_name="streamlit")
