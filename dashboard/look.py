"""How every page looks: colours, the style sheet, and small pieces of HTML. Every value is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

# Okabe and Ito: told apart by people with any of the usual colour blindnesses, on white and on black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
SYMBOLS = {
    "done": "●", "running": "◔", "failed": "✕", "interrupted": "❚❚", "unsupported": "∅", "missing": "○",
    "not reported": "",
}  # fmt: skip

STYLE = """<style>
.stApp { --line: color-mix(in srgb, currentColor 14%, transparent); --soft: color-mix(in srgb, currentColor 65%,
 transparent); --bar: #56B4E9; --bad: light-dark(#B04A00, #F08A4B); --good: light-dark(#006B4F, #3CC9A0);
 --link: light-dark(#005B8E, #7CC4EE);
 --tint: color-mix(in srgb, currentColor 5%, transparent); }
.block-container { padding-top: 1.6rem; padding-bottom: 2rem; max-width: 1700px; }
.b-title { font-size: 1.35rem; font-weight: 650; margin: 0; }
.b-section { font-size: 1.02rem; font-weight: 650; margin: .9rem 0 0; padding: 0; }
.b-soft { color: var(--soft); font-size: .85rem; line-height: 1.45; }
.b-note { border-left: 4px solid #0072B2; background: var(--tint); padding: .6rem .9rem; overflow-wrap: anywhere; }
.b-note.warn { border-color: #E69F00; }
.b-scroll { overflow-x: auto; width: fit-content; max-width: 100%; border: 1px solid var(--line); border-radius: .35rem; }
.b-scroll.full { width: 100%; }
.b-scroll:focus-visible, .b-scroll a:focus-visible { outline: 2px solid #E69F00; outline-offset: -2px; }
table.b { border-collapse: separate; border-spacing: 0; width: 100%; margin: 0; font-size: .86rem;
 font-variant-numeric: tabular-nums; }
table.b th, table.b td { border: 0; border-bottom: 1px solid var(--line); padding: .28rem .6rem; text-align: left;
 vertical-align: middle; white-space: nowrap; }
table.b thead th { font-weight: 600; vertical-align: bottom; background: var(--tint); }
table.b thead small, table.b tbody th small { display: block; font-weight: 400; color: var(--soft);
 font-size: .74rem; }
table.b tbody th small { max-width: 19rem; overflow: hidden; text-overflow: ellipsis; }
table.b tbody th { font-weight: 500; }
table.b tbody tr:last-child > * { border-bottom: 0; }
table.b .num { text-align: right; }
table.b .wrap { white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
table.b a { color: inherit; text-decoration: none; }
table.b a:hover .v, table.b a:hover .s, table.b th a:hover { text-decoration: underline; }
table.board, table.wide { width: max(100%, 40rem); }
table.board tbody th.name { position: sticky; left: 0; z-index: 1; background: var(--page); }
table.board td.cell { padding: 0; text-align: right; }
table.board td.cell > a, table.board td.cell > span { display: block; padding: .28rem .6rem; }
table.board .g { display: grid; grid-template-columns: 1fr auto 3.1em .9em; column-gap: .3em; align-items: baseline; }
table.board .v { grid-column: 2; } table.board .ci { font-size: .76rem; color: var(--soft); text-align: left; }
table.board .t { font-size: 1rem; line-height: 1; text-align: left; }
table.board .best .v { font-weight: 750; }
table.board .track { display: block; height: 3px; background: var(--line); margin-top: 2px; border-radius: 2px; }
table.board .track i { display: block; height: 3px; background: var(--bar); border-radius: 2px; }
table.board .best .track i { background: #0072B2; }
table.board .s { color: var(--soft); font-size: .8rem; } table.board .failed .s { color: var(--bad); }
table.board tr.line td { padding: .25rem .6rem; font-size: .78rem; color: var(--soft); background: var(--tint);
 border-bottom: 2px solid var(--soft); text-align: left; }
table.board tr.reported > * { font-style: italic; } table.board tr.reported .track { display: none; }
table.board tr.reported > th:first-child, table.board tr.reported > td:first-child {
 box-shadow: inset 3px 0 0 #E69F00; }
.b-tag { font-size: .7rem; font-style: normal; border: 1px solid var(--soft); border-radius: .6rem;
 padding: 0 .4em; margin-left: .3em; }
.b-good { color: var(--good); font-weight: 600; } .b-bad { color: var(--bad); font-weight: 600; }
.b-tree, .b-tree ul { list-style: none; margin: 0; padding-left: 1.1rem; border-left: 1px solid var(--line); }
.b-tree { padding-left: .4rem; } .b-tree li { margin: .15rem 0; font-size: .88rem; }
.b-tree a, .b-soft a, .b-go a { color: var(--link); }
.b-tree .on { font-weight: 700; }
table.cover td { text-align: center; padding: .3rem .35rem; } table.cover td.done { background:
 color-mix(in srgb, #009E73 38%, transparent); } table.cover td.part {
 background: linear-gradient(90deg, color-mix(in srgb, #009E73 38%, transparent) var(--share, 0%), transparent
 var(--share, 0%)); } table.cover td.running { background: color-mix(in srgb, #56B4E9
 38%, transparent); } table.cover td.failed, table.cover td.interrupted { background: color-mix(in srgb, #D55E00
 38%, transparent); } table.cover td.unsupported { color: var(--soft); background: repeating-linear-gradient(
 45deg, transparent 0 4px, var(--line) 4px 5px); }
</style>"""


def paint(background: str) -> str:
    """The style sheet; `background` is the page's, for cells that stay while others scroll."""
    return STYLE.replace("var(--page)", background)


def title(text: str, below: str = "") -> str:
    """A page's heading and a line below it."""
    return f'<h1 class="b-title">{escape(text)}</h1>' + (
        f'<div class="b-soft">{escape(below)}</div>' if below else ""
    )


def section(text: str) -> str:
    """A heading inside a page."""
    return f'<h2 class="b-section">{escape(text)}</h2>'


def soft(text: str) -> str:
    """A line of small print."""
    return f'<div class="b-soft">{escape(text)}</div>'


def note(text: str, kind: str = "") -> str:
    """A box with a plain sentence; `kind` "warn" where something is wrong."""
    return f'<div class="b-note {escape(kind)}" role="status">{escape(text)}</div>'


def tag(text: str) -> str:
    return f'<span class="b-tag">{escape(text)}</span>'


def link(page: str, text: str, hint: str = "", **parameters: Any) -> str:
    """A link to a page of the dashboard; lists become repeated parameters."""
    return f'<a href="{href(page, **parameters)}" target="_self"{hinted(hint)}>{escape(text)}</a>'


def href(page: str, **parameters: Any) -> str:
    """An escaped address: `?page=...&name=value`, parameters without a value left out."""
    given = {"page": page, **{k: v for k, v in parameters.items() if v not in (None, "", (), [])}}
    return escape(f"?{urlencode(given, doseq=True)}")


def hinted(text: str) -> str:
    """The attributes of what is said on hover, and to a screen reader."""
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
    heads: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Iterable[int] = (), kind: str = ""
) -> str:
    """A small table. `numbers`: columns that are aligned right. `Markup` is taken as it is, all else escaped."""
    right = set(numbers)
    mark = ["num" if i in right else "wrap" if i == len(heads) - 1 and i else "" for i in range(len(heads))]
    head = "".join(f'<th scope="col" class="{mark[i]}">{shown(h)}</th>' for i, h in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f'<td class="{mark[i]}">{shown(v)}</td>' for i, v in enumerate(row)) + "</tr>"
        for row in rows
    )
    return framed(
        f'<table class="b {escape(kind)}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    )


def framed(inner: str, full: bool = False) -> str:
    """Scrolls sideways on a small screen, by touch and by keyboard; `full`: as wide as the page."""
    kind = "b-scroll full" if full else "b-scroll"
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="table">{inner}</div>'


def shown(value: Any) -> str:
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
