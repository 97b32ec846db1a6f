"""A compared table (`bench.results.papers.measured`) as Markdown, LaTeX or CSV, and the pieces of
it that every form has."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from bench.results.views.export import md_escape, tex_escape

Frame = dict[str, Any]


def markdown(frame: Frame) -> str:
    """A Markdown table of `reported / measured`, and the rest as a list."""
    names = [c["name"] for c in frame["columns"]]
    lines = [
        f"**{format_title(frame)}**",
        "",
        "| row | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for row in frame["rows"]:
        cells = [_pair(row, n, " / ") for n in names]
        lines.append("| " + " | ".join(md_escape(c) for c in [row["label"], *cells]) + " |")
    return "\n".join([*lines, "", *(f"- {line}" for line in list_findings(frame))]) + "\n"


def latex(frame: Frame) -> str:
    """A tabular with a reported and a measured column each (package booktabs)."""
    names = [c["name"] for c in frame["columns"]]
    head = " & ".join(rf"\multicolumn{{2}}{{c}}{{{tex_escape(n)}}}" for n in names)
    lines = [
        f"% {format_title(frame)}",
        rf"\begin{{tabular}}{{l{'rr' * len(names)}}}",
        r"\toprule",
        f"row & {head} \\\\",
        r"\midrule",
    ]
    for row in frame["rows"]:
        cells = [part for n in names for part in format_cell(row, n)]
        lines.append(" & ".join(tex_escape(c) for c in [row["label"], *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {line}" for line in list_findings(frame))]
    return "\n".join(lines) + "\n"


def csv_text(frame: Frame) -> str:
    """A line per reported number: row, column, reported, notes, state, mean, ci95, seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
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
        ]
    )
    for row in frame["rows"]:
        for name, cell in row["cells"].items():
            found = cell["measured"] or {"mean": "", "ci95": ""}
            writer.writerow(
                [
                    frame["name"],
                    frame["scale"],
                    row["label"],
                    name,
                    cell["reported"],
                    cell["doubtful"],
                    cell["notes"],
                    cell["state"],
                    found["mean"],
                    found["ci95"],
                    " ".join(map(str, cell["seeds"])),
                ]
            )
    return out.getvalue()


def format_title(frame: Frame) -> str:
    return (
        f"{frame['name']}: {frame['caption']} (reported, then measured at scale {frame['scale']})"
    )


def format_cell(row: Frame, name: str) -> tuple[str, str]:
    """(reported, measured) of a cell; empty where the paper has none."""
    cell = row["cells"].get(name)
    if cell is None:
        return "", ""
    found = cell["measured"]
    if found is None:
        short = {"reported only": "", "not run": "-"}
        shown = short.get(cell["state"], cell["state"])
    else:
        around = "" if found["ci95"] is None else f" ± {found['ci95']:.1f}"
        shown = f"{found['mean']:.1f}{around} ({found['n']})"
    return print_reported(cell["reported"]) + ("?" if cell["doubtful"] else ""), shown


def print_reported(value: float) -> str:
    """A reported number with the paper's digits, one at least."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def _pair(row: Frame, name: str, between: str) -> str:
    reported, measured = format_cell(row, name)
    return reported + (between + measured if measured else "")


def list_findings(frame: Frame) -> list[str]:
    """Rank correlations, claims, reasons and notes, a line each."""
    lines = [f"reported: {frame['citation']['text']}"]
    known = [c for c in frame["columns"] if c["spearman"] is not None]
    if known:
        each = ", ".join(f"{c['name']} {c['spearman']:+.2f} ({c['pairs']} rows)" for c in known)
        lines.append(f"rank correlation of reported and measured: {each}")
    lines += [_claim(claim) for claim in frame["claims"]]
    return [*lines, *remarks(frame)]


def remarks(frame: Frame) -> list[str]:
    """Why numbers are only reported, notes on rows, further results, and doubts, a line each."""
    lines: list[str] = []
    reasons: dict[str, list[str]] = {}
    for row in frame["rows"]:
        for why in {c["reason"]: 0 for c in row["cells"].values() if c["reason"]}:
            reasons.setdefault(why, []).append(row["label"])
        if row["note"]:
            reasons.setdefault(f"note: {row['note']}", []).append(row["label"])
    lines += [f"{_some(labels)}: {why}" for why, labels in reasons.items()]
    others = sum(c["others"] for row in frame["rows"] for c in row["cells"].values())
    if others:
        lines.append(f"{others} further result(s) of other versions of code or data are not shown")
    notes = {
        c["notes"]: 0 for row in frame["rows"] for c in row["cells"].values() if c["doubtful"]
    }
    return [*lines, *(f"?: {note}" for note in notes)]


def _some(labels: list[str]) -> str:
    return ", ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


def _claim(claim: Frame) -> str:
    """`holds: ... (section 1): 5 of 6 measured differences have this sign, 2 beyond ...`."""
    counted = counts(claim)
    line = f"{claim['state']}: {claim['text']} ({claim['source']})" + (
        f": {counted}" if counted else ""
    )
    return line + (f" [{claim['doubt']}]" if claim["doubt"] else "")


def counts(claim: Frame) -> str:
    """How many of a claim's differences were measured, have its sign, and are beyond their
    interval."""
    measured = [c for c in claim["comparisons"] if c["holds"] is not None]
    if not measured:
        return ""
    right = [c for c in measured if c["holds"]]
    line = f"{len(right)} of {len(measured)} measured differences have this sign"
    told = [c for c in measured if c["separated"] is not None]
    beyond = sum(bool(c["separated"]) for c in right)
    against = sum(bool(c["separated"]) for c in told if not c["holds"])
    line += (
        f", {beyond} beyond the 95 % interval; {against} beyond it the other way"
        if told
        else "; one seed, so no interval"
    )
    if len(measured) < len(claim["comparisons"]):
        line += f"; {len(claim['comparisons']) - len(measured)} not measured"
    return line


WRITERS: dict[str, Callable[[Frame], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": csv_text,
}
