"""Every table of the four papers: what they report beside what was measured here, and which claims
hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import streamlit as st

from bench.figures.recorded import draw_pairs
from bench.results.db.reading import NothingYet
from bench.results.papers.compared import ComparedTable
from bench.results.papers.pairs import Pair
from dashboard.address import Address
from dashboard.charts import show_chart
from dashboard.look import link_cell, note, section, show_small_print, title
from dashboard.pictures import digest_of, offer_drawing, write_csv
from dashboard.screens.leaderboard import SCALES
from dashboard.source import Source
from dashboard.widgets import download, expander

TITLE, ORDER = "Papers", 4
FIRST = "bench table run 000/T1 --scale tiny"
FORMS = {
    "csv": ("CSV", "text/csv"),
    "markdown": ("Markdown", "text/markdown"),
    "latex": ("LaTeX", "application/x-tex"),
}
ENDS = {"csv": "csv", "markdown": "md", "latex": "tex"}


def page(source: Source) -> None:
    """The table that is chosen, its claims, what is only reported, downloads."""
    # tables are read where this page is asked for alone
    from bench.results.papers.table_text import list_remarks
    from dashboard.paper_table import paper_table

    st.html(title("Papers", "What the papers report beside what was measured here."))
    address = Address("papers")
    frame = source.paper_table(*choose_table(source, address))
    address.write()
    st.html(section(f"Table {frame['table']}: {frame['caption']}"))
    st.html(show_small_print(frame["citation"]["text"]))
    st.html(paper_table(frame))
    st.html(
        show_small_print(
            "Numbers are percent. Those in italics are printed in the paper, at its scale. Those "
            f"beside them were measured at scale {frame['scale']}: the mean over seeds ± the 95 % "
            "t-interval, and the number of seeds. A question mark says that a number is doubtful; "
            "the remarks say why. ρ is Spearman's rank correlation of reported and measured, from "
            "three rows on, with its 95 % interval and the share p of orders in which it would be "
            "as far from 0. Bold is the best measured number of a column of those with two seeds "
            "or more; ≈ is not distinguishable from it. Click a measured number to open its cell."
        )
    )
    show_pairs(frame)
    fill(frame)
    claims(frame)
    remarked = list_remarks(frame)
    if remarked:
        st.html(section("Remarks"))
        st.html("".join(show_small_print(line) for line in remarked))
    downloads(frame)


def show_pairs(frame: ComparedTable) -> None:
    """Reported against measured, where anything was measured."""
    from bench.results.papers.pairs import HEADS, list_pairs

    pairs = list_pairs(frame)
    if not pairs:
        return
    from dashboard.plots import HOW, compare_reported, describe_pairs

    chart = compare_reported(frame, link_cell)
    if chart is None:
        return
    st.html(section("Reported and measured"))
    show_chart(chart, describe_pairs(pairs))
    st.html(show_small_print(f"Bars are 95 % t-intervals over seeds. {HOW}"))
    title = f"{frame['table']} of paper {frame['paper']}, scale {frame['scale']}"
    offer_drawing(
        digest_of(json.dumps([title, pairs])),
        f"{name_file(frame)}_pairs",
        partial(draw_pairs, pairs, title),
        partial(write_csv, HEADS, [format_pair(pair) for pair in pairs]),
    )


def format_pair(pair: Pair) -> list[object]:
    """The pair as a line of a CSV file."""
    seeds = " ".join(map(str, pair["seeds"]))
    return [seeds if head == "seeds" else value for head, value in pair.items()]


def choose_table(source: Source, address: Address) -> tuple[str, str]:
    """The table's name and the scale."""
    from bench.results.papers.reported import CITATIONS
    from bench.results.papers.tables import list_tables

    columns = st.columns([3, 4, 1], vertical_alignment="bottom")
    every = list_tables()
    papers = list(dict.fromkeys(t["paper"] for t in every))
    paper = address.one(
        "Paper",
        "paper",
        papers,
        papers[0],
        where=columns[0],
        format_func=lambda p: f"{p}  {CITATIONS[p].title}",
    )
    mine = {t["table"]: t for t in every if t["paper"] == paper}
    number = address.one(
        "Table",
        "table",
        list(mine),
        next(iter(mine)),
        where=columns[1],
        format_func=lambda n: f"{n}  {mine[n]['caption']}",
    )
    scale = address.one("Scale", "scale", SCALES, usual_scale(source), where=columns[2])
    return mine[number]["name"], scale


def usual_scale(source: Source) -> str:
    """The scale with most cells."""
    try:
        return source.boards()[0].scale
    except NothingYet:
        return SCALES[0]


def fill(frame: ComparedTable) -> None:
    """The command that measures what is not measured yet."""
    from bench.results.papers.tables import load_table

    cells = [c for row in frame["rows"] for c in row["cells"].values()]
    missing = sum(c["state"] not in ("measured", "reported only") for c in cells)
    if not load_table(frame["name"]).cells(frame["scale"]):
        st.html(
            note(
                "This table is only reported: nothing of it can be measured here. See the remarks."
            )
        )
    elif missing:
        command = f"bench table run {frame['name']} --scale {frame['scale']}"
        if any(c["measured"] for c in cells):
            st.html(
                show_small_print(
                    f"{missing} of {len(cells)} numbers are not measured yet. This command "
                    "measures them:"
                )
            )
        else:
            st.html(
                note(f"Nothing of this table was measured at this scale yet; run first: {command}")
            )
        st.code(command, language="bash")


def claims(frame: ComparedTable) -> None:
    """What the paper concludes, and whether that holds here."""
    from dashboard.paper_table import claims_table, differences_table

    if not frame["claims"]:
        return
    st.html(section("Claims"))
    st.html(claims_table(frame))
    st.html(
        show_small_print(
            "A claim is supported where every difference that can be measured here was, and its "
            "95 % interval is on the claim's side of 0; contradicted where an interval is on the "
            "other side, with all intervals of the claim holding together at 95 %; else, and with "
            "one seed, undecided."
        )
    )
    with expander("Every difference"):
        st.html(differences_table(frame))


def downloads(frame: ComparedTable) -> None:
    """As the terminal writes it (`bench table show --format`)."""
    from bench.results.papers.table_text import WRITERS

    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(show_small_print("Download this table:"))
        for form, (name, mime) in FORMS.items():
            file = f"{name_file(frame)}.{ENDS[form]}"
            make = partial(_write, WRITERS[form], frame)
            download(name, make, file, mime, key=f"download.papers.{form}")


def name_file(frame: ComparedTable) -> str:
    return f"{frame['name'].replace('/', '_')}_{frame['scale']}"


def _write(writer: Callable[[ComparedTable], str], frame: ComparedTable) -> bytes:
    return writer(frame).encode()
