"""How every page looks: colours, the style sheet, links between pages; and the pieces of HTML that
the static page shares."""

from __future__ import annotations

from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.results.html.pieces import SYMBOLS as SYMBOLS
from bench.results.html.pieces import Markup as Markup
from bench.results.html.pieces import duration as duration
from bench.results.html.pieces import frame_table as frame_table
from bench.results.html.pieces import hint_attributes as hint_attributes
from bench.results.html.pieces import note as note
from bench.results.html.pieces import read_style
from bench.results.html.pieces import section as section
from bench.results.html.pieces import show_small_print as show_small_print
from bench.results.html.pieces import table as table
from bench.results.html.pieces import tag as tag
from bench.results.html.pieces import title as title
from bench.results.html.pieces import to_html as to_html
from bench.results.html.pieces import web_link as web_link

# Okabe and Ito's hues, told apart by people with any of the usual colour blindnesses; the light
# ones are darker here, so that each has 3:1 on the light and on the dark page.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B97F00", "#3B93C9", "#8F8600")
STYLE = Path(__file__).with_name("style.css")


def paint(background: str) -> str:
    """The style sheet; `background` is the page's, for cells that stay while others scroll."""
    page = f":root {{ --page: {background}; }}"
    return f"<style>{page}\n{STYLE.read_text()}\n{read_style()}</style>"


def link(page: str, text: str, hint: str = "", **parameters: Any) -> str:
    """A link to a page of the dashboard; lists become repeated parameters."""
    to, hint = href(page, **parameters), hint_attributes(hint)
    return f'<a href="{to}" target="_self"{hint}>{escape(text)}</a>'


def href(page: str, **parameters: Any) -> str:
    """An escaped address: `?page=...&name=value`, parameters without a value left out."""
    query = {"page": page, **{k: v for k, v in parameters.items() if v not in (None, "", (), [])}}
    return escape(f"?{urlencode(query, doseq=True)}")


def link_cell(label: str, page: str = "result") -> str:
    """The address of a page of a cell, by default of its result, as a chart takes it: not
    escaped."""
    return unescape(href(page, key=label[:16]))
