"""A paper's table as HTML: every column's reported number beside what was measured here."""

from __future__ import annotations

from html import escape

from bench.results.html.board import SIGNS
from bench.results.papers.compared import (
    ComparedCell,
    ComparedClaim,
    ComparedColumn,
    ComparedRow,
    ComparedTable,
)
from bench.results.papers.table_text import count_differences, print_reported
from bench.results.views.differences import Verdict
from bench.results.views.marks import MEANINGS
from bench.results.views.ranking import format_correlation
from dashboard.look import SYMBOLS, Markup, frame_table, hint_attributes, href, table

VERDICTS: dict[Verdict, tuple[str, str]] = {
    "supported": ("●", "b-good"),
    "contradicted": ("✕", "b-bad"),
    "undecided": ("○", "b-soft"),
}


def paper_table(frame: ComparedTable) -> str:
    """Rows as the paper has them; two columns, reported and measured, for each of its columns."""
    names = [c["name"] for c in frame["columns"]]
    top = "".join(_head(c) for c in frame["columns"])
    below = (
        '<th scope="col" class="num rep">reported</th><th scope="col" class="num">measured</th>'
        * len(names)
    )
    body = "".join(
        f'<tr><th scope="row" class="name">{escape(row["label"])}{_what(row)}</th>'
        + "".join(_pair(row["cells"].get(n)) for n in names)
        + "</tr>"
        for row in frame["rows"]
    )
    head = f'<thead><tr><th scope="col" rowspan="2">row</th>{top}</tr><tr>{below}</tr></thead>'
    return frame_table(
        f'<table class="b papers">{head}<tbody>{body}</tbody>{_foot(frame)}</table>'
    )


def _head(column: ComparedColumn) -> str:
    ours = f"{column['runs']} · {column['metric']}" if column["runs"] else "only reported"
    hint = column["reported_only"] or f"the paper: {column['task']}, {column['protocol']}"
    return (
        f'<th scope="colgroup" colspan="2" class="num rep"{hint_attributes(hint)}>'
        f"{escape(column['name'])}<small>{escape(ours)}</small></th>"
    )


def _what(row: ComparedRow) -> str:
    text = f"{row['method']} × {row['crop']}" if row["method"] else "only reported"
    hint = row["note"] or row["reported_only"] or text
    return f"<small{hint_attributes(hint)}>{escape(text)}</small>"


def _pair(cell: ComparedCell | None) -> str:
    if cell is None:
        return '<td class="rep"></td><td></td>'
    doubt = f"doubtful: {cell['notes']}" if cell["doubtful"] else ""
    mark = "?" if cell["doubtful"] else ""
    reported = (
        f'<td class="num rep"{hint_attributes(doubt)}>'
        f"<i>{escape(print_reported(cell['reported']))}</i>"
        f'<span class="q">{mark}</span></td>'
    )
    return reported + _measured(cell)


def _measured(cell: ComparedCell) -> str:
    measured = cell["measured"]
    if measured is None:
        return _empty(cell)
    interval = "" if measured["ci95"] is None else f"±{measured['ci95']:.1f}"
    seeds = f"{measured['n']} seed{'s' if measured['n'] > 1 else ''}"
    mark = cell["mark"]
    hint = f"{measured['mean']:.2f} {interval}, {seeds}".replace(" ,", ",")
    hint += f"; {MEANINGS[mark]}" if mark else ""
    sign = SIGNS["tied"] if mark == "tied" else ""
    inner = (
        f'<span class="g"><span class="v">{measured["mean"]:.1f}</span>'
        f'<span class="ci">{interval}</span><span class="ci">({measured["n"]})</span>'
        f'<span class="t">{sign}</span></span>'
    )
    to = href("result", key=cell["cells"][0][:16])
    link = f'<a href="{to}" target="_self"{hint_attributes(hint)}>{inner}</a>'
    return f'<td class="num {mark or ""}">{link}</td>'


def _empty(cell: ComparedCell) -> str:
    state: str = cell["state"]
    state = {"not run": "missing", "reported only": "only reported"}.get(state, state)
    text = f"{SYMBOLS.get(state, '')} {state}".strip()
    hint = hint_attributes(cell["reason"] or "")
    return f'<td class="num"{hint}><span class="s">{escape(text)}</span></td>'


def _foot(frame: ComparedTable) -> str:
    """Rank correlations, where a column has one."""
    if not any(c["correlation"] for c in frame["columns"]):
        return ""
    texts = [
        f"ρ {format_correlation(c['correlation'])}" if c["correlation"] else ""
        for c in frame["columns"]
    ]
    cells = "".join(f'<td colspan="2" class="num rep wrap">{escape(text)}</td>' for text in texts)
    return f'<tfoot><tr><th scope="row" class="name">rank correlation</th>{cells}</tr></tfoot>'


def claims_table(frame: ComparedTable) -> str:
    """What the paper says of its rows, and what the measurements here say of that."""
    rows = [
        (number, _state(c["state"]), _text(c), count_differences(c), c["source"])
        for number, c in enumerate(frame["claims"], 1)
    ]
    return table(("", "here", "claim", "differences", "source"), rows, numbers=(0,), kind="claims")


def _text(claim: ComparedClaim) -> str:
    return claim["text"] + (f" (doubt: {claim['doubt']})" if claim["doubt"] else "")


def _state(state: Verdict) -> Markup:
    symbol, kind = VERDICTS[state]
    return Markup(f'<span class="{kind}">{symbol} {escape(state)}</span>')


def differences_table(frame: ComparedTable) -> str:
    """Every difference that a claim is about."""
    rows = []
    for number, claim in enumerate(frame["claims"], 1):
        for c in claim["comparisons"]:
            gain = c["measured"]
            here = "-" if gain is None else f"{gain['mean']:+.1f}"
            half = "" if gain is None or gain["ci95"] is None else f"±{gain['ci95']:.1f}"
            rows.append(
                (
                    number,
                    c["column"],
                    f"{c['reported']:+.1f}",
                    here,
                    half,
                    _state(c["verdict"]),
                    f"{c['better']} above {c['worse']}",
                )
            )
    return table(
        ("claim", "column", "reported", "measured", "", "here", "rows"),
        rows,
        numbers=(0, 2, 3),
    )
