"""What pages read: the results database, and what was computed from it, kept until something is
written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from bench.results.db.place import database_url
from bench.results.db.reading import FIRST_COMMAND, NothingYet, Reader, open_reader
from bench.results.views import board, coverage, entries, lineage, placement, studies
from bench.results.views.studies import StudyRow, TrialRow

if TYPE_CHECKING:
    from bench.results.papers.compared import ComparedTable
    from bench.results.papers.measured import Attempts, Measurements

T = TypeVar("T")


@st.cache_resource(show_spinner=False)
def _reader(url: str) -> Reader:
    return open_reader(url)


class Source:
    """The results database as it is at this moment. What its methods return is shared between
    sessions and must not be changed."""

    def __init__(self) -> None:
        self.url = database_url()
        self.reader = _reader(self.url)
        self.reader.check()
        self.mark = (self.url, *self.reader.fingerprint())

    def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """`question(connection, *arguments)` on a connection of its own."""
        with self.reader.engine.connect() as connection:
            return question(connection, *arguments)

    def boards(self) -> list[entries.BoardName]:
        """Scales and pretraining sets, the one with most cells first; NothingYet where there is
        none."""
        recorded = _boards(self.mark, self)
        if not recorded:
            raise NothingYet(f"no cell was run yet; run first: {FIRST_COMMAND}")
        return recorded

    def table(
        self, scale: str, data: str, content: str = "", reported: bool = False
    ) -> board.Table:
        """Rows and columns of a board; `reported`: and what papers print."""
        return _table(self.mark, scale, data, content, reported, self)

    def entries(self, scale: str, data: str) -> list[entries.Entry]:
        return _entries(self.mark, scale, data, self)

    def settings(self, scale: str, data: str) -> list[coverage.Settings]:
        """The settings that pretrainings of a board were changed by."""
        return _settings(self.mark, scale, data, self)

    def changed(self) -> frozenset[str]:
        """Labels of cells whose code has changed since."""
        return _changed(self.mark, self)

    def studies(self) -> list[StudyRow]:
        """Every sweep."""
        return _studies(self.mark, self)

    def sweep(self, study: str) -> tuple[list[TrialRow], dict[str, float]]:
        """The trials of a sweep, and how much each of its settings matters."""
        return _sweep(self.mark, study, self)

    def paper_table(self, name: str, scale: str) -> ComparedTable:
        """A paper's table beside what was measured at a scale."""
        # as the rest of the tables: only where asked for
        from bench.results.papers.measured import put_beside
        from bench.results.papers.tables import load_table

        return put_beside(load_table(name), scale, *_recorded(self.mark, scale, self))

    def usual_seconds(self, scale: str) -> dict[tuple[str, str], float]:
        return _usual_seconds(self.mark, scale, self)


@st.cache_resource(max_entries=8, show_spinner=False)
def _boards(mark: tuple[Any, ...], _source: Source) -> list[entries.BoardName]:
    return _source.ask(entries.list_boards)


@st.cache_resource(max_entries=4, show_spinner="reading results")
def _entries(mark: tuple[Any, ...], scale: str, data: str, _source: Source) -> list[entries.Entry]:
    return _source.ask(entries.load_entries, scale, data)


@st.cache_resource(max_entries=8, show_spinner=False)
def _table(
    mark: tuple[Any, ...], scale: str, data: str, content: str, reported: bool, _source: Source
) -> board.Table:
    rows = _source.entries(scale, data)
    if reported:
        # reads fifty files: only where asked for
        from bench.results.papers.board_entries import list_reported

        rows = [*rows, *list_reported(data)]
    return placement.make_table(rows, content)


@st.cache_resource(max_entries=8, show_spinner=False)
def _settings(
    mark: tuple[Any, ...], scale: str, data: str, _source: Source
) -> list[coverage.Settings]:
    return coverage.list_used_settings(_source.entries(scale, data))


@st.cache_resource(max_entries=2, show_spinner="comparing code")
def _changed(mark: tuple[Any, ...], _source: Source) -> frozenset[str]:
    return _source.ask(lineage.find_changed)


@st.cache_resource(max_entries=4, show_spinner="adding up times")
def _usual_seconds(
    mark: tuple[Any, ...], scale: str, _source: Source
) -> dict[tuple[str, str], float]:
    return _source.ask(coverage.read_usual_seconds, scale)


@st.cache_resource(max_entries=2, show_spinner="reading sweeps")
def _studies(mark: tuple[Any, ...], _source: Source) -> list[StudyRow]:
    return studies.read_studies(_source.url)


@st.cache_resource(max_entries=8, show_spinner="reading trials")
def _sweep(
    mark: tuple[Any, ...], study: str, _source: Source
) -> tuple[list[TrialRow], dict[str, float]]:
    return studies.read_trials(_source.url, study), studies.read_importances(_source.url, study)


@st.cache_resource(max_entries=3, show_spinner="reading results")
def _recorded(mark: tuple[Any, ...], scale: str, _source: Source) -> tuple[Measurements, Attempts]:
    from bench.results.db.database import Database
    from bench.results.papers.measured import read_recorded

    return read_recorded(Database(_source.reader.engine), scale)


@st.cache_resource(max_entries=4, ttl=3600, show_spinner="finding out which pairs are possible")
def possible_pairs(scale: str) -> coverage.Possible:
    """Which methods, crops and tasks go together at a scale."""
    return coverage.ask_matrix(scale)
