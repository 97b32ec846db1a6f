"""A page's choices live in its address: a copied link shows what the sender saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.widgets import number, select, select_several, toggle

PAGE = "page"  # the parameter that names the page; the first page has none
WRITTEN = "address written"  # what this session last put into the address
HERE = "page shown"  # which page that was
ARRIVED = "arrived"  # whether another page, or none, was shown before
KEPT = "address kept"  # a page's last choices, for coming back to it through the menu


def start_page(page: str) -> None:
    """Called before every page."""
    st.session_state[ARRIVED] = st.session_state.get(HERE) != page
    st.session_state[HERE] = page


def parameters() -> dict[str, list[str]]:
    """The address, less the name of the page."""
    return {name: st.query_params.get_all(name) for name in st.query_params if name != PAGE}


class Address:
    """The choices of one page. Every field is a widget whose key is the parameter's name."""

    def __init__(self, page: str) -> None:
        self.page = page
        there, kept = parameters(), st.session_state.setdefault(KEPT, {})
        arrived = st.session_state.get(ARRIVED, True)
        # From outside: a link, the browser's back button or the menu. Else the widgets know
        # better.
        self.fresh = arrived or there != st.session_state.get(WRITTEN)
        self.given = kept.get(page, {}) if arrived and not there else there
        self.now: dict[str, list[str]] = {}

    def _start(self, name: str, value: Any) -> str:
        """The widget's key, its state set from the address where that was changed from outside."""
        key = f"{self.page}.{name}"
        if self.fresh or key not in st.session_state:
            st.session_state[key] = value
        return key

    def one(self, label: str, name: str, options: Sequence[str], default: str, **how: Any) -> str:
        """One of the options; a value of the address that is none is the default."""
        asked = next(iter(self.given.get(name, ())), default)
        key = self._start(name, asked if asked in options else default)
        if st.session_state[key] not in options:
            st.session_state[key] = default
        where = how.pop("where", st)
        value = select(label, options, where, key=key, **how)
        self.note(name, [] if value == default else [value])
        return value

    def several(
        self, label: str, name: str, options: Sequence[str], **how: Any
    ) -> tuple[str, ...]:
        """Any of the options; none is all."""
        key = self._start(name, [v for v in self.given.get(name, ()) if v in options])
        st.session_state[key] = [v for v in st.session_state[key] if v in options]
        where = how.pop("where", st)
        placeholder = how.pop("placeholder", "all")
        value = select_several(label, options, where, key=key, placeholder=placeholder, **how)
        self.note(name, list(value))
        return tuple(value)

    def count(
        self, label: str, name: str, least: int, most: int, default: int | None = None, **how: Any
    ) -> int:
        """A whole number; the default is the least unless it is given."""
        usual = least if default is None else default
        asked = next(iter(self.given.get(name, ())), "")
        key = self._start(name, int(asked) if asked.isdecimal() and len(asked) < 9 else usual)
        st.session_state[key] = min(max(least, st.session_state[key] or usual), most)
        where = how.pop("where", st)
        value = number(label, least, most, where, key=key, **how)
        self.note(name, [] if value == usual else [str(value)])
        return value

    def switch(self, label: str, name: str, default: bool, **how: Any) -> bool:
        """Yes or no."""
        asked = next(iter(self.given.get(name, ())), "yes" if default else "no")
        key = self._start(name, asked == "yes")
        where = how.pop("where", st)
        value = toggle(label, where, key=key, **how)
        self.note(name, [] if value == default else ["yes" if value else "no"])
        return value

    def note(self, name: str, values: list[str]) -> None:
        """A parameter that is no widget's."""
        if values:
            self.now[name] = values

    def write(self) -> None:
        """Put the choices into the address."""
        if parameters() != self.now:
            named = {} if PAGE not in st.query_params else {PAGE: st.query_params[PAGE]}
            st.query_params.from_dict({**named, **self.now})
        st.session_state[WRITTEN] = dict(self.now)
        st.session_state[KEPT][self.page] = dict(self.now)
