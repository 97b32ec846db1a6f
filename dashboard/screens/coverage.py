"""What is done, what is missing, what is impossible, and what filling it would cost."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from shlex import quote

import streamlit as st

from bench.results.views.coverage import (
    STATES,
    Possible,
    Settings,
    Square,
    estimate_cost,
    make_matrix,
)
from bench.results.views.entries import format_settings
from dashboard.address import Address
from dashboard.look import (
    SYMBOLS,
    duration,
    frame_table,
    hint_attributes,
    href,
    note,
    section,
    show_small_print,
    table,
    title,
)
from dashboard.screens.leaderboard import choose_board
from dashboard.source import Source, possible_pairs
from dashboard.widgets import expander

TITLE, ORDER = "Coverage", 3
OFFERED = 200  # settings in the list


def page(source: Source) -> None:
    """A square per method and crop, over the tasks chosen."""
    st.html(title("Coverage", "What is done, what is missing and what is impossible."))
    address = Address("coverage")
    columns = st.columns([1, 1, 3, 1], vertical_alignment="bottom")
    scale, data = choose_board(source, address, columns)
    every = address.switch(
        "Show everything",
        "every",
        False,
        where=columns[3],
        help="Show every method, crop and task, and not only those that were run.",
    )
    entries = source.entries(scale, data)
    there_is = possible_pairs(scale) if every else Possible()
    if every and not there_is.methods:
        st.html(note("bench list --matrix failed. Only what was run is shown.", "warn"))
    used = dict.fromkeys(e.task for e in entries if e.source != "reported")
    tasks = list(dict.fromkeys([*used, *there_is.tasks]))
    chosen = address.several("Tasks", "task", tasks, where=columns[2]) or tuple(tasks)
    changed = choose_settings(source.settings(scale, data), address)
    squares = make_matrix(entries, chosen, there_is, changed)
    st.html(grid(squares, len(chosen), {"scale": scale, "data": data}))
    st.html(
        show_small_print(
            " · ".join(f"{SYMBOLS[s]} {s}" for s in STATES)
            + f". Numbers are the tasks that are done, of {len(chosen)}."
        )
    )
    totals(source, scale, squares)
    commands(squares, scale, data, changed)
    address.write()


def choose_settings(recorded: list[Settings], address: Address) -> Settings:
    """The settings to look at: the defaults, unless every pretraining changed some."""
    named = {format_settings(s) or "defaults": s for s in recorded}
    if len(named) < 2:
        return next(iter(named.values()), ())
    return named[address.one("Settings", "settings", list(named)[:OFFERED], next(iter(named)))]


def grid(squares: Mapping[tuple[str, str], Square], tasks: int, where: Mapping[str, str]) -> str:
    """Methods down, crops across."""
    methods = sorted({m for m, _ in squares})
    crops = sorted({c for _, c in squares})
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in crops)
    body = ""
    for m in methods:
        cells = "".join(square(squares[m, c], m, c, tasks, where) for c in crops)
        body += f'<tr><th scope="row">{escape(m)}</th>{cells}</tr>'
    head = f'<thead><tr><th scope="col">method</th>{head}</tr></thead>'
    return frame_table(f'<table class="b cover">{head}<tbody>{body}</tbody></table>')


def square(cells: Square, method: str, crop: str, tasks: int, where: Mapping[str, str]) -> str:
    """How many tasks are done; a link to the row on the leaderboard."""
    counts = ", ".join(f"{n} {s}" for s in STATES if (n := cells.states.get(s)))
    hint = "; ".join([f"{method} × {crop}: {counts}", *cells.reasons[:3]])
    done = cells.states.get("done", 0)
    if cells.state == "unsupported":
        return f'<td class="unsupported"{hint_attributes(hint)}>{SYMBOLS["unsupported"]}</td>'
    kind = "part" if done and cells.state == "missing" else cells.state
    to = href("leaderboard", method=method, crop=crop, **where) if done else ""
    text = f"{SYMBOLS[cells.state]} {done}/{tasks}"
    inner = f'<a href="{to}" target="_self">{text}</a>' if to else text
    share = f' style="--share:{100 * done // max(1, tasks)}%"'
    return f'<td class="{escape(kind)}"{share}{hint_attributes(hint)}>{inner}</td>'


def totals(source: Source, scale: str, squares: Mapping[tuple[str, str], Square]) -> None:
    """Counts, and the time that the missing cells would take."""
    counts = {s: sum(q.states.get(s, 0) for q in squares.values()) for s in STATES}
    needed = estimate_cost(squares, source.usual_seconds(scale))
    unknown = (
        f", and {needed.unknown:,} parts of which no time is known yet" if needed.unknown else ""
    )
    st.html(section("Cost of the missing cells"))
    st.html(table(("state", "cells"), [(s, f"{n:,}") for s, n in counts.items()], numbers=(1,)))
    st.html(
        show_small_print(
            f"{needed.cells:,} cells are missing. With one seed they take "
            f"{duration(needed.seconds)} on one device{unknown}. That adds up medians of what was "
            "made at this scale; a pretraining counts once for all tasks."
        )
    )


def commands(
    squares: Mapping[tuple[str, str], Square], scale: str, data: str, changed: Settings
) -> None:
    """One command per method that fills what its squares lack."""
    lines = []
    sets = "".join(f" --set {quote(f'{k}={v}')}" for k, v in changed)
    for method in dict.fromkeys(m for m, _ in squares):
        mine = {
            c: q.missing for (m, c), q in squares.items() if m == method and q.missing and c != "-"
        }
        for missing in dict.fromkeys(mine.values()):
            crops = ",".join(c for c, tasks in mine.items() if tasks == missing)
            lines.append(
                f"bench run --method {method} --crop {crops} --task {','.join(missing)} "
                f"--scale {scale} --data {data}{sets}"
            )
    if lines:
        with expander(f"Commands that run the missing cells ({len(lines)})"):
            st.code("\n".join(lines), language="bash", wrap_lines=True)
