"""What pages read: the results database, and what was computed from it, kept until something is
written."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from bench.results.db.place import database_url
from bench.results.db.reading import FIRST_COMMAND, NothingYet, Reader, open_reader
from bench.results.views import board, coverage, entries, lineage, placement, studies
from bench.results.views.crop_effects import CropEffect, list_crop_effects
from bench.results.views.live import LiveEntries
from bench.results.views.live_table import LiveTable
from bench.results.views.memo import Memo
from bench.results.views.studies import StudyRow, TrialRow
from dashboard.newest import Newest
from dashboard.widgets import wait

if TYPE_CHECKING:
    from bench.results.papers.compared import ComparedTable

T = TypeVar("T")
BOARDS = 6  # choices whose boards are kept


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

    def keep(self, question: str, compute: Callable[[], T], *details: str) -> T:
        """The answer to a question about these details, kept until something is written."""
        return _newest().get((self.url, question, *details), self.mark, compute)

    def boards(self) -> list[entries.BoardName]:
        """Scales and pretraining sets, the one with most cells first; NothingYet where there is
        none."""
        recorded = self.keep("boards", lambda: self.ask(entries.list_boards))
        if not recorded:
            raise NothingYet(f"no cell was run yet; run first: {FIRST_COMMAND}")
        return recorded

    def table(
        self, scale: str, data: str, content: str = "", reported: bool = False
    ) -> board.Table:
        """Rows and columns of a board; `reported`: and what papers print."""

        def make() -> board.Table:
            rows = self.entries(scale, data)
            if not reported:
                return _table(self.url, scale, data, content).refresh(rows)
            # reads fifty files: only where asked for
            from bench.results.papers.board_entries import list_reported

            return placement.make_table([*rows, *list_reported(data)], content)

        return self.keep("table", make, scale, data, content, str(reported))

    def board(
        self, table: board.Table, where: tuple[str, ...], choice: board.Choice
    ) -> tuple[board.Board, dict[str, dict[str, CropEffect]]]:
        """What a choice shows of a table, and the effects of its crops; `where` says which table
        it is."""

        question = (self.url, *where, table.contents, choice)

        def make() -> tuple[board.Board, dict[str, dict[str, CropEffect]]]:
            memo = _memo(question)
            changed = self.changed() if choice.code else frozenset()
            shown = board.make_board(table, choice, changed, memo)
            effects = list_crop_effects(shown, memo)
            memo.forget_unasked()
            return shown, effects

        return _boards().get(question, self.mark, make)

    def entries(self, scale: str, data: str) -> list[entries.Entry]:
        live = _live(self.url, scale, data)

        def read() -> list[entries.Entry]:
            with wait("reading results"):
                return self.ask(live.refresh)

        return self.keep("entries", read, scale, data)

    def settings(self, scale: str, data: str) -> list[coverage.Settings]:
        """The settings that pretrainings of a board were changed by."""
        return self.keep(
            "settings",
            lambda: coverage.list_used_settings(self.entries(scale, data)),
            scale,
            data,
        )

    def changed(self) -> frozenset[str]:
        """Labels of cells whose code has changed since."""

        def find() -> frozenset[str]:
            with wait("comparing code"):
                return self.ask(lineage.find_changed)

        return self.keep("changed", find)

    def studies(self) -> list[StudyRow]:
        """Every sweep."""
        return self.keep("studies", lambda: studies.read_studies(self.url))

    def sweep(self, study: str) -> tuple[list[TrialRow], dict[str, float]]:
        """The trials of a sweep, and how much each of its settings matters."""

        def read() -> tuple[list[TrialRow], dict[str, float]]:
            trials = studies.read_trials(self.url, study)
            return trials, studies.read_importances(self.url, study)

        return self.keep("sweep", read, study)

    def paper_table(self, name: str, scale: str) -> ComparedTable:
        """A paper's table beside what was measured at a scale."""

        def read() -> ComparedTable:
            # as the rest of the tables: only where asked for
            from bench.results.db.database import Database
            from bench.results.papers.measured import compare_table

            return compare_table(Database(self.reader.engine), name, scale)

        return self.keep("paper", read, name, scale)

    def usual_seconds(self, scale: str) -> dict[tuple[str, str], float]:
        """The median seconds of what was made at a scale."""

        def add() -> dict[tuple[str, str], float]:
            with wait("adding up times"):
                return self.ask(coverage.read_usual_seconds, scale)

        return self.keep("seconds", add, scale)


@st.cache_resource(max_entries=BOARDS, show_spinner=False)
def _memo(question: tuple[Hashable, ...]) -> Memo:
    """What the last board of this choice was made of; in use by one session at a time, as
    `_boards` makes one board of a choice at a time."""
    return Memo()


@st.cache_resource(show_spinner=False)
def _newest() -> Newest:
    return Newest(32)


@st.cache_resource(show_spinner=False)
def _boards() -> Newest:
    return Newest(BOARDS)


@st.cache_resource(max_entries=4, show_spinner=False)
def _live(url: str, scale: str, data: str) -> LiveEntries:
    return LiveEntries(scale, data)


@st.cache_resource(max_entries=4, show_spinner=False)
def _table(url: str, scale: str, data: str, content: str) -> LiveTable:
    """In use by one session at a time, as `keep` answers each question once."""
    return LiveTable(content)


@st.cache_resource(max_entries=4, ttl=3600, show_spinner="finding out which pairs are possible")
def possible_pairs(scale: str) -> coverage.Possible:
    """Which methods, crops and tasks go together at a scale."""
    return coverage.ask_matrix(scale)
