"""Small pieces of HTML that the dashboard and the static page share. Every value is escaped
here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

SYMBOLS = {
    "done": "●",
    "dead": "†",
    "running": "◔",
    "failed": "✕",
    "interrupted": "‖",
    "unsupported": "∅",
    "missing": "○",
    "not reported": "",
}
STYLE = Path(__file__).with_name("tables.css")


def read_style() -> str:
    """The style sheet of the tables, which takes its colours from the page: `--line`, `--soft`,
    `--tint`, `--bar`, `--good`, `--bad`, `--link` and `--page`."""
    return STYLE.read_text(encoding="utf-8")


def title(text: str, below: str = "") -> str:
    """A page's heading and a line below it."""
    return f'<h1 class="b-title">{escape(text)}</h1>' + (
        f'<div class="b-soft">{escape(below)}</div>' if below else ""
    )


def section(text: str) -> str:
    """A heading inside a page."""
    return f'<h2 class="b-section">{escape(text)}</h2>'


def show_small_print(text: str) -> str:
    """A line of small print."""
    return f'<div class="b-soft">{escape(text)}</div>'


def note(text: str, kind: str = "") -> str:
    """A box with a plain sentence; `kind` "warn" where something is wrong."""
    return f'<div class="b-note {escape(kind)}" role="status">{escape(text)}</div>'


def tag(text: str) -> str:
    return f'<span class="b-tag">{escape(text)}</span>'


def hint_attributes(text: str) -> str:
    """The attributes of a text that is shown on hover and read by a screen reader."""
    return f' title="{escape(text)}" aria-label="{escape(text)}"' if text else ""


def web_link(url: Any) -> str:
    """A link out, or "" where it is no web address."""
    text = str(url or "")
    if not text.startswith(("https://", "http://")):
        return ""
    return f'<a href="{escape(text)}" target="_blank" rel="noopener noreferrer">{escape(text)}</a>'


class Markup(str):
    """HTML that was escaped where it was made."""


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    numbers: Iterable[int] = (),
    kind: str = "",
) -> str:
    """A small table. `numbers`: columns aligned right. `Markup` is taken as it is, all else
    escaped."""
    right = set(numbers)
    mark = [
        "num" if i in right else "wrap" if i == len(heads) - 1 and i else ""
        for i in range(len(heads))
    ]
    head = "".join(
        f'<th scope="col" class="{mark[i]}">{to_html(h)}</th>' for i, h in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{mark[i]}">{to_html(v)}</td>' for i, v in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return frame_table(
        f'<table class="b {escape(kind)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def frame_table(inner: str, full: bool = False) -> str:
    """A frame that scrolls sideways on a small screen, by touch and by keyboard; `full`: it is as
    wide as the page."""
    kind = "b-scroll full" if full else "b-scroll"
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="table">{inner}</div>'


def to_html(value: Any) -> str:
    """The value as HTML, escaped unless it is `Markup`."""
    return value if isinstance(value, Markup) else escape(str(value))


def duration(seconds: float | None) -> str:
    """`3 h 20 min`, `2 min 5 s`, `4.2 s`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 72 else f"{hours / 24:.1f} days"
