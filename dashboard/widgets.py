"""Every widget that shows text: Streamlit reads labels, help and some options as Markdown, in
which a name from the results could be a picture that the reader's browser fetches. Here text is
text.

Pages take widgets from here and nowhere else (`tests/dashboard/test_widgets.py`).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.elements.lib.mutable_expander_container import ExpanderContainer

T = TypeVar("T")
_ESCAPED = str.maketrans({mark: f"\\{mark}" for mark in string.punctuation})


def to_markdown(text: object) -> str:
    """Markdown that is shown as this text, on one line: every mark that Markdown, its directives
    and formulas know is escaped."""
    return " ".join(str(text).split()).translate(_ESCAPED)


def _escape(how: dict[str, Any]) -> dict[str, Any]:
    """The options of a widget with its help escaped."""
    return {**how, "help": to_markdown(how["help"])} if how.get("help") else how


def select(label: str, options: Sequence[T], where: Any = st, **how: Any) -> T:
    """A list to choose one from; Streamlit shows its options as they are."""
    chosen: T = where.selectbox(to_markdown(label), list(options), **_escape(how))
    return chosen


def select_several(label: str, options: Sequence[T], where: Any = st, **how: Any) -> list[T]:
    """A list to choose several from; Streamlit shows its options as they are."""
    return list(where.multiselect(to_markdown(label), list(options), **_escape(how)))


def segments(
    label: str, options: Sequence[T], format_func: Callable[[T], object] = str, **how: Any
) -> T | None:
    """A row of buttons of which one is chosen, without its label; None where none is."""
    chosen: T | None = st.segmented_control(
        to_markdown(label),
        list(options),
        format_func=lambda option: to_markdown(format_func(option)),
        label_visibility="collapsed",
        **_escape(how),
    )
    return chosen


def number(label: str, least: int, most: int, where: Any = st, **how: Any) -> int:
    """A field for a whole number."""
    return int(where.number_input(to_markdown(label), least, most, step=1, **_escape(how)))


def enter_text(label: str, where: Any = st, **how: Any) -> str:
    """A field for a line of text."""
    return str(where.text_input(to_markdown(label), **_escape(how)))


def toggle(label: str, where: Any = st, **how: Any) -> bool:
    return bool(where.toggle(to_markdown(label), **_escape(how)))


def button(label: str, **how: Any) -> bool:
    return st.button(to_markdown(label), **_escape(how))


def download(label: str, data: Callable[[], str | bytes], file: str, mime: str, key: str) -> None:
    """A button that saves what `data` makes once it is asked for."""
    st.download_button(to_markdown(label), data, file, mime, key=key, on_click="ignore")


def wait(label: str) -> AbstractContextManager[None]:
    """Says what is being waited for while its block runs."""
    return st.spinner(to_markdown(label))


def expander(label: str, **how: Any) -> DeltaGenerator:
    """A part of the page that is shown when its label is clicked."""
    return st.expander(to_markdown(label), **how)


def lazy_expander(label: str, key: str) -> ExpanderContainer:
    """One whose content is made when it is open (`open` says so); `key` must be the page's only
    one."""
    return st.expander(to_markdown(label), key=key, on_change="rerun")
