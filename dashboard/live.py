"""Pages that follow a run: they look every few seconds whether something was written, and show the
learning curves of what is being made."""

from __future__ import annotations

from contextlib import suppress
from html import escape

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from bench.results.views.running import (
    LiveStage,
    count_running,
    list_running,
    read_live_stages,
)
from dashboard.charts import show_chart
from dashboard.look import duration, link, section, show_small_print
from dashboard.source import Source
from dashboard.widgets import segments, select

SECONDS = 3.0  # between two looks while a cell runs
IDLE_SECONDS = 20.0  # else, so that a run that begins is noticed
SHOWN = 5  # running cells with a link
FIRST = "loss"  # the figure that is shown at first, where there is one


def follow(source: Source) -> None:
    """Show the page again when something was written since it read the database."""
    running = source.keep("running", lambda: source.ask(count_running))
    shown = False

    @st.fragment(run_every=SECONDS if running else IDLE_SECONDS)
    def look() -> None:
        nonlocal shown
        if not shown:  # with the page, which has just read
            shown = True
            return
        with suppress(SQLAlchemyError):  # a reload says what is wrong with the database
            written = (source.url, *source.reader.fingerprint()) != source.mark
            if written:
                st.rerun()

    look()


def show_running(source: Source) -> None:
    """A line with the cells that run now; nothing where none does."""
    count = source.keep("running", lambda: source.ask(count_running))
    if not count:
        return
    cells = source.keep("running cells", lambda: source.ask(list_running, SHOWN))
    links = [
        link("cell", f"{c.method} × {c.crop} × {c.task}, seed {c.seed}", key=c.label[:16])
        for c in cells
    ]
    more = f" and {count - len(cells)} more" if count > len(cells) else ""
    text = f"◔ Running: {' · '.join(links)}{escape(more)}. This page follows them."
    st.html(f'<p class="b-soft b-live" role="status">{text}</p>')


def show_live_training(label: str) -> None:
    """The learning curves of the stages that are being made for a cell, which refresh
    themselves."""

    @st.fragment(run_every=SECONDS)
    def look() -> None:
        stages = [stage for stage in read_live_stages(label) if stage.rows]
        st.html(section("Learning curves, live"))
        if not stages:
            st.html(show_small_print("No training of this cell has written figures yet."))
            return
        show_stage(choose_stage(stages))

    look()


def choose_stage(stages: list[LiveStage]) -> LiveStage:
    """The training to show; the one that wrote last at first."""
    titles = {stage.title: stage for stage in stages}
    if len(titles) == 1:
        return stages[0]
    return titles[select("Training", list(titles), key="live.training")]


def show_stage(stage: LiveStage) -> None:
    """How far it is, and a figure over its steps."""
    from dashboard.figures import curves  # imports Altair and pandas

    last = stage.rows[-1]
    quiet = "" if stage.quiet is None else f"; last figures {duration(stage.quiet)} ago"
    st.html(show_small_print(f"{stage.title}, step {last['step']:,.0f}{quiet}"))
    figures = list(dict.fromkeys(n for row in stage.rows for n in row if n != "step"))
    if not figures:
        return
    first = FIRST if FIRST in figures else figures[0]
    figure = segments("Figure", figures, default=first, key="live.figure") or first
    words = f"{figure} of {stage.title} over its steps, up to step {last['step']:,.0f}."
    show_chart(curves(stage.rows, figure), words)
