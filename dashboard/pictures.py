"""Figures as images of a page, drawn once for all sessions, with downloads for papers."""

from __future__ import annotations

import csv
import io
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from bench.figures.recorded import (
    collect_figure,
    draw_picture,
    draw_plot,
    draw_stage,
    list_pictures,
    list_points,
)
from bench.results.db.place import home_folder
from bench.results.views.board_text import disarm
from bench.results.views.lineage import StageInfo
from dashboard.look import show_small_print
from dashboard.source import Source
from dashboard.widgets import download

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TYPES = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}


def figure(source: Source, name: str, choices: Mapping[str, str]) -> Mapping[str, Any]:
    """The content of a figure of the results database; BadInput where there is none."""
    return _collect(source.mark, name, tuple(sorted(choices.items())), source)


def show(key: str, draw: Callable[[str], bytes | None], name: str, words: str) -> bool:
    """Show the image and its downloads; False where there is none. `key`: what it is drawn from;
    `words`: what it shows, for those who cannot see it."""
    image = _draw(key, "png", draw)
    if image is None:
        return False
    st.html(picture(image, words))
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind, mime in TYPES.items():
            download(
                kind.upper(),
                partial(_file, key, kind, draw),
                f"{name}.{kind}",
                mime,
                key=f"download.{name}.{kind}",
            )
    return True


def picture(image: bytes, words: str) -> str:
    """A PNG as HTML, with its words: Streamlit's own pictures have none."""
    data = b64encode(image).decode()
    return f'<img class="b-picture" src="data:image/png;base64,{data}" alt="{escape(words)}">'


def offer_files(key: str, name: str, content: Mapping[str, Any]) -> None:
    """Downloads of a figure of the results database as Matplotlib draws it for papers, and of its
    points."""
    rows = partial(write_csv, *list_points(name, content))
    offer_drawing(key, name, content_picture(name, content), rows)


def offer_drawing(
    key: str, name: str, draw: Callable[[str], bytes], rows: Callable[[], str]
) -> None:
    """Downloads of what `draw` makes of a kind, and of its points, which `rows` writes as CSV.
    `key`: what it is drawn from; `name`: of the files."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(show_small_print("Download:"))
        for kind, mime in TYPES.items():
            make = partial(_file, key, kind, draw)
            download(kind.upper(), make, f"{name}.{kind}", mime, key=f"download.{name}.{kind}")
        download("CSV", rows, f"{name}.csv", "text/csv", key=f"download.{name}.csv")


def offer_plot(
    name: str,
    draw: Callable[[], Figure],
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
) -> None:
    """Downloads of one of the smaller charts of a page, which `draw` makes of these rows."""
    file = re.sub(r"[^\w.-]+", "_", name)[:100]
    key = digest_of(repr((name, heads, rows)))
    offer_drawing(key, file, partial(draw_plot, draw), partial(write_csv, heads, rows))


def write_csv(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The rows with full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([disarm("" if value is None else value) for value in row] for row in rows)
    return text.getvalue()


def digest_of(text: str) -> str:
    """A short key for what a picture is drawn from."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def content_picture(name: str, content: Mapping[str, Any]) -> Callable[[str], bytes]:
    return lambda kind: draw_picture(name, content, kind)


def stage_picture(stage: StageInfo) -> Callable[[str], bytes | None]:
    return lambda kind: draw_stage(stage, kind)


def list_all_pictures(source: Source) -> list[Any]:
    """Every picture that is recorded: those the store holds first."""
    return source.ask(list_pictures, home_folder())


@st.cache_resource(max_entries=16, show_spinner=False)
def _collect(
    mark: tuple[Any, ...], name: str, choices: tuple[tuple[str, str], ...], _source: Source
) -> Mapping[str, Any]:
    return _source.ask(collect_figure, name, home_folder(), dict(choices))


def _file(key: str, kind: str, draw: Callable[[str], bytes | None]) -> bytes:
    return _draw(key, kind, draw) or b""


@st.cache_resource(max_entries=24, show_spinner="drawing")
def _draw(key: str, kind: str, _function: Callable[[str], bytes | None]) -> bytes | None:
    return _function(kind)
