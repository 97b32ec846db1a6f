"""Read the first page's board, and write its chart, while the browser is still starting; then
take what is there out of the cycle collector's work."""

from __future__ import annotations

import gc
import logging
import time
from threading import Thread, current_thread

PAUSE = 1.0  # seconds that the first page has for itself before the chart
CONTEXT = "streamlit.runtime.scriptrunner_utils.script_run_context"


def warm_up() -> Thread:
    """Start reading, in the background; whatever is wrong with the database is said by the page
    that a reader opens."""
    thread = Thread(target=_warm_up, name="warm-up", daemon=True)
    thread.start()
    return thread


def _warm_up() -> None:
    try:
        _read()
    finally:
        spare_collector()


def spare_collector() -> None:
    """Take every object there is now, of modules and of the board, out of the collector's work.
    Streamlit collects after each run of a page or of a part that refreshes itself: that took .11
    to .14 s, during which no other session is served, and takes nearly nothing so."""
    gc.collect()
    gc.freeze()


def _read() -> None:
    own = current_thread().name
    # "missing ScriptRunContext", since no session is there yet
    logging.getLogger(CONTEXT).addFilter(lambda record: record.threadName != own)
    from sqlalchemy.exc import SQLAlchemyError

    from bench.results.db.reading import is_user_error
    from bench.results.views.board import Choice
    from dashboard.matrix import write_first_charts
    from dashboard.screens.leaderboard import SCALES
    from dashboard.source import Source

    try:
        source = Source()
        scale, data, _ = source.boards()[0]
        reported = scale == SCALES[-1]
        table = source.table(scale, data, reported=reported)
        board, _ = source.board(table, (scale, data, "", str(reported)), Choice())
        time.sleep(PAUSE)
        write_first_charts(board)
    except SQLAlchemyError:
        return
    except Exception as error:
        if not is_user_error(error):
            raise
