"""A compared table (`bench.results.papers.measured`) as Markdown, LaTeX or CSV, and the pieces of
it that every form has."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence

from bench.results.papers.compared import ComparedClaim, ComparedRow, ComparedTable, Comparison
from bench.results.views.board_text import escape_markdown
from bench.results.views.latex import escape_latex, latex_needs
from bench.results.views.marks import MEANINGS, SIGNS, Mark
from bench.results.views.ranking import format_correlation

# a question mark says that a reported number is doubtful, so the unknown have no sign here
PAPER_SIGNS: dict[Mark, str] = {**SIGNS, "unknown": ""}


def as_markdown(table: ComparedTable) -> str:
    """A Markdown table of `reported / measured`, and the rest as a list."""
    names = [c["name"] for c in table["columns"]]
    lines = [
        f"**{format_title(table)}**",
        "",
        "| row | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for row in table["rows"]:
        cells = [_format_pair(row, n, " / ") for n in names]
        lines.append("| " + " | ".join(escape_markdown(c) for c in [row["label"], *cells]) + " |")
    return "\n".join([*lines, "", *(f"- {line}" for line in list_findings(table))]) + "\n"


def as_latex(table: ComparedTable) -> str:
    """A tabular with a reported and a measured column each (package booktabs), and a line that
    says what its numbers are."""
    names = [c["name"] for c in table["columns"]]
    head = " & ".join(rf"\multicolumn{{2}}{{c}}{{{escape_latex(n)}}}" for n in names)
    lines = [
        latex_needs(names + [row["label"] for row in table["rows"]]),
        f"% {format_title(table)}",
        rf"\begin{{tabular}}{{l{'rr' * len(names)}}}",
        r"\toprule",
        f"row & {head} \\\\",
        r"\midrule",
    ]
    for row in table["rows"]:
        cells = [part for n in names for part in format_cell(row, n)]
        lines.append(" & ".join(escape_latex(c) for c in [row["label"], *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", "", escape_latex(describe_numbers(table))]
    lines += [f"% {line}" for line in list_findings(table)]
    return "\n".join(lines) + "\n"


CSV_FIELDS = (
    "table",
    "scale",
    "row",
    "column",
    "reported",
    "doubtful",
    "notes",
    "state",
    "mean",
    "ci95",
    "seeds",
    "mark",
)


def as_csv(table: ComparedTable) -> str:
    """A line per reported number, with the fields `CSV_FIELDS`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for row in table["rows"]:
        for name, cell in row["cells"].items():
            measured = cell["measured"]
            writer.writerow(
                [
                    table["name"],
                    table["scale"],
                    row["label"],
                    name,
                    cell["reported"],
                    cell["doubtful"],
                    cell["notes"],
                    cell["state"],
                    measured["mean"] if measured else "",
                    measured["ci95"] if measured else "",
                    " ".join(map(str, cell["seeds"])),
                    cell["mark"] or "",
                ]
            )
    return out.getvalue()


def format_title(table: ComparedTable) -> str:
    return (
        f"{table['name']}: {table['caption']} (reported, then measured at scale {table['scale']})"
    )


def format_cell(row: ComparedRow, name: str) -> tuple[str, str]:
    """(reported, measured) of a cell; empty where the paper has none."""
    cell = row["cells"].get(name)
    if cell is None:
        return "", ""
    measured = cell["measured"]
    if measured is None:
        short = {"reported only": "", "not run": "-"}
        shown = short.get(cell["state"], cell["state"])
    else:
        around = "" if measured["ci95"] is None else f" ± {measured['ci95']:.1f}"
        shown = f"{measured['mean']:.1f}{around} ({measured['n']})"
        sign = PAPER_SIGNS[cell["mark"] or "unknown"]
        shown += f" {sign}" if sign else ""
    return print_reported(cell["reported"]) + ("?" if cell["doubtful"] else ""), shown


def print_reported(value: float) -> str:
    """A reported number with the paper's digits, one at least."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def _format_pair(row: ComparedRow, name: str, between: str) -> str:
    reported, measured = format_cell(row, name)
    return reported + (between + measured if measured else "")


def list_findings(table: ComparedTable) -> list[str]:
    """Rank correlations, claims, reasons and notes, a line each."""
    lines = [f"reported: {table['citation']['text']}", describe_numbers(table)]
    known = [(c["name"], c["correlation"]) for c in table["columns"] if c["correlation"]]
    if known:
        each = "; ".join(f"{name} {format_correlation(found)}" for name, found in known)
        lines.append(f"rank correlation of reported and measured: {each}")
    lines += [_format_claim(claim) for claim in table["claims"]]
    return [*lines, *list_remarks(table)]


def describe_numbers(table: ComparedTable) -> str:
    """What stands in a cell, and what the signs behind measured numbers mean."""
    text = (
        "measured: the mean over seeds ± half of the 95 % t-interval over seeds, and the number "
        "of seeds in brackets"
    )
    if not any(c["mark"] for row in table["rows"] for c in row["cells"].values()):
        return text
    signs = "; ".join(f"{sign or 'no sign'} {MEANINGS[m]}" for m, sign in PAPER_SIGNS.items())
    return f"{text}; {signs}"


def list_remarks(table: ComparedTable) -> list[str]:
    """Why numbers are only reported, notes on rows, further results, and doubts, a line each."""
    lines: list[str] = []
    reasons: dict[str, list[str]] = {}
    for row in table["rows"]:
        for why in {c["reason"]: 0 for c in row["cells"].values() if c["reason"]}:
            reasons.setdefault(why, []).append(row["label"])
        if row["note"]:
            reasons.setdefault(f"note: {row['note']}", []).append(row["label"])
    lines += [f"{_name_some(labels)}: {why}" for why, labels in reasons.items()]
    others = sum(c["others"] for row in table["rows"] for c in row["cells"].values())
    if others:
        lines.append(f"{others} further result(s) of other versions of code or data are not shown")
    notes = {
        c["notes"]: 0 for row in table["rows"] for c in row["cells"].values() if c["doubtful"]
    }
    return [*lines, *(f"?: {note}" for note in notes)]


def _name_some(labels: list[str]) -> str:
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


def _format_claim(claim: ComparedClaim) -> str:
    """`undecided: ... (section 1): 5 of 6 differences support it ...`."""
    line = f"{claim['state']}: {claim['text']} ({claim['source']}): {count_differences(claim)}"
    return line + (f" [{claim['doubt']}]" if claim["doubt"] else "")


def count_differences(claim: ComparedClaim) -> str:
    """How many of a claim's differences support it, contradict it, leave it undecided, and were
    not measured."""
    possible = [c for c in claim["comparisons"] if c["possible"]]
    measured = [c for c in possible if c["measured"] is not None]
    if not possible:
        return "none of its differences can be measured here"
    if not measured:
        return f"none of {len(possible)} differences is measured"
    counts = Counter(c["verdict"] for c in measured)
    parts = [f"{counts['supported']} of {len(possible)} differences support it"]
    parts += [f"{counts['contradicted']} contradict it"] if counts["contradicted"] else []
    parts += [_describe_undecided(measured)] if counts["undecided"] else []
    if missing := len(possible) - len(measured):
        parts.append(f"{missing} not measured")
    return ", ".join(parts)


def _describe_undecided(measured: Sequence[Comparison]) -> str:
    open_ = [c["measured"] for c in measured if c["verdict"] == "undecided" and c["measured"]]
    single = sum(gap["ci95"] is None for gap in open_)
    right = sum(gap["mean"] > 0 for gap in open_)
    text = f"{len(open_)} undecided ({right} with this sign"
    return text + (f"; {single} of one seed)" if single else ")")


WRITERS: dict[str, Callable[[ComparedTable], str]] = {
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
