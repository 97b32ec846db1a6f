"""`bench leaderboard --html`: the boards and plots as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BadInput
from bench.core.files import write_text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bench.results.html.site import Plot, Section
    from bench.results.views.board import Table
    from bench.results.views.entries import Entry

PAGE = "index.html"
Filters = Mapping[str, Sequence[str]]


def write_page(connection: Connection, home: Path, folder: Path, filters: Filters) -> str:
    """Write the page into the folder, which is made; a line that says what it holds. BadInput
    where there is nothing to show, or the folder has another's page."""
    from bench import __version__
    from bench.results.html.site import write_site

    file = folder / PAGE
    _refuse_others(file)
    sections = _make_sections(connection, home, filters)
    if not sections:
        raise BadInput("no result matches; try: bench leaderboard")
    reported = _draw("objectness", connection, home, {"source": "reported"}, "in papers")
    page = write_site(sections, reported, __version__)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, page)
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}; try another folder") from None
    rows = sum(len(s.board.rows) for s in sections)
    boards = f"{len(sections)} board{'s' if len(sections) > 1 else ''}"
    return f"{file}: {boards}, {rows} rows, {len(page.encode()) / 2**20:.1f} MiB"


def _refuse_others(file: Path) -> None:
    """A page of somebody else is never overwritten."""
    from bench.results.html.site import GENERATOR

    if file.exists() and GENERATOR not in file.read_text(encoding="utf-8", errors="replace")[:500]:
        raise BadInput(f"{file} was not written by {GENERATOR}; choose another folder")


def _make_sections(connection: Connection, home: Path, filters: Filters) -> list[Section]:
    from bench.results.html.site import Section
    from bench.results.views.board import Choice, make_board
    from bench.results.views.entries import list_boards, load_entries

    sections: list[Section] = []
    for name in list_boards(connection):
        wanted = (("scale", name.scale), ("pretrain_data", name.data))
        if any(filters.get(k) and value not in filters[k] for k, value in wanted):
            continue
        entries = load_entries(connection, name.scale, name.data)
        choice = Choice(
            methods=tuple(filters.get("method", ())),
            crops=tuple(filters.get("crop", ())),
            tasks=tuple(filters.get("task", ())),
        )
        first = len(sections)
        for content, table in _list_contents(name.scale, name.data, entries):
            board = make_board(table, choice)
            if any(row.entries and row.source != "reported" for row in board.rows):
                title = f"{name.scale}, pretrained on {name.data}{content}"
                sections.append(Section(title, board))
        if len(sections) > first:  # plots join by stages, so those of all contents are below one
            plots = _draw_plots(connection, home, name.scale, name.data, choice.tasks)
            sections[-1] = replace(sections[-1], plots=plots)
    return sections


def _list_contents(scale: str, data: str, entries: Sequence[Entry]) -> list[tuple[str, Table]]:
    """(what tells it from the others, the table) of every content of a pretraining set."""
    from bench.contracts.component import SCALES
    from bench.results.papers.board_entries import list_reported
    from bench.results.views.placement import make_table

    reported = list_reported(data) if scale == SCALES[-1] else ()
    first = make_table([*entries, *reported])
    if len(first.contents) < 2:
        return [("", first)]
    tables = [(key, make_table([*entries, *reported], key)) for key in first.contents]
    return [(f" {t.names.get(key, '')} {key[:12]}".rstrip(), t) for key, t in tables]


def _draw_plots(
    connection: Connection, home: Path, scale: str, data: str, tasks: Sequence[str]
) -> list[Plot]:
    """Objectness against every task that has points, and the shares of the crops."""
    from bench.results.views.objectness import list_topics

    plots = []
    for topic in list_topics(connection):
        if (topic.scale, topic.data) == (scale, data) and (not tasks or topic.task in tasks):
            asked = {"scale": scale, "data": data, "task": topic.task, "source": "measured"}
            plots += _draw("objectness", connection, home, asked, f"and {topic.task}")
    return plots + _draw("shares", connection, home, {"data": data}, f"of crops of {data}")


def _draw(
    name: str, connection: Connection, home: Path, asked: Mapping[str, Any], about: str
) -> list[Plot]:
    """The figure, or nothing where the database has nothing for it."""
    from bench import figures
    from bench.figures.recorded import collect_figure, draw_picture
    from bench.results.html.site import Plot

    try:
        content = collect_figure(connection, name, home, asked)
    except BadInput:
        return []
    module = figures.figure(name)
    heads, rows = module.list_rows(content)
    shown = [tuple(_format(value) for value in row) for row in rows]
    title = f"{name.capitalize()} {about}"
    return [
        Plot(title, draw_picture(name, content, "svg"), module.describe(content), heads, shown)
    ]


def _format(value: object) -> object:
    return "-" if value is None else f"{value:,.1f}" if isinstance(value, float) else value
