"""Two to four rows side by side: differences over common seeds, and what differs in their
configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from bench.figures.page_plots import draw_differences
from bench.results.views.board import Column, Row, Table
from bench.results.views.board_text import format_number
from bench.results.views.commands import compact_seeds
from bench.results.views.differences import (
    DrawnDifference,
    PairedDifference,
    collect_settings,
    find_differing,
    hold_together,
    paired_difference,
    verdict,
)
from bench.results.views.entries import Entry
from bench.results.views.lineage import find_cell, read_graph
from bench.results.views.placement import make_table
from dashboard.address import Address
from dashboard.charts import show_chart
from dashboard.look import Markup, link, link_cell, note, section, show_small_print, table, title
from dashboard.pictures import offer_plot
from dashboard.screens.leaderboard import choose_board, choose_content
from dashboard.source import Source
from dashboard.widgets import enter_text

TITLE, ORDER = "Compare", 2
MOST, OFFERED, COMMANDS = 4, 200, 6  # rows compared, rows offered, commands shown
MARKS = {"better": "b-good", "worse": "b-bad"}


def page(source: Source) -> None:
    """Rows from the address; the first is what the others are compared with."""
    st.html(title("Compare", "Differences from the first row, over the seeds that both have."))
    linked_cells(source)
    address = Address("compare")
    columns = st.columns([1, 1, 2, 3], vertical_alignment="bottom")
    scale, data = choose_board(source, address, columns)
    content = choose_content(source, address, scale, data, columns[2])
    hint = "Part of a name, crop or setting"
    needle = enter_text("Find rows", columns[3], key="compare.find", placeholder=hint)
    rows = choose_rows(content, address, needle)
    shown = [c for c in content.columns if sum(c.key in r.entries for r in rows) > 1]
    if shown:
        shown = choose_columns(shown, address)
    address.write()
    if len(rows) < 2:
        st.html(note("Pick two to four rows above, or on the leaderboard."))
        return
    if not shown:
        st.html(note("These rows have no task in common."))
    else:
        numbers(rows, shown)
    configuration(source, rows, shown or list(content.columns))


def linked_cells(source: Source) -> None:
    """`?key=...&key=...`: cells instead of rows become the rows that hold them, on the cells'
    tasks."""
    keys = st.query_params.get_all("key")
    if not keys:
        return
    infos = [i for i in (source.ask(find_cell, k) for k in keys) if i is not None]
    rows: list[str] = []
    for info in infos:
        cell = info.cell
        content = make_table(
            source.entries(cell["scale"], cell["pretrain_data"]), cell["pretrain_data_key"]
        )
        rows += [
            r.key
            for r in content.rows
            if any(e.group == cell["group"] for e in r.entries.values())
        ]
    if infos:
        first = infos[0].cell
        given: dict[str, Any] = {
            "scale": first["scale"],
            "data": first["pretrain_data"],
            "row": rows[:MOST],
        }
        given["task"] = list(dict.fromkeys(i.cell["task"] for i in infos))
        st.query_params.from_dict({"page": "compare", **given})


def choose_rows(content: Table, address: Address, needle: str) -> list[Row]:
    """The rows picked, in the order they were picked; a search offers the first 200 that match."""
    known = {r.key: r for r in content.rows if r.source != "reported"}
    picked = [
        k
        for k in (address.given.get("row") or st.session_state.get("compare.row", []))
        if k in known
    ]
    words = needle.lower().split()
    offered = [k for k, r in known.items() if all(w in r.title.lower() for w in words)][:OFFERED]
    options = list(dict.fromkeys([*picked[:MOST], *offered]))
    chosen = address.several(
        "Rows",
        "row",
        options,
        format_func=lambda k: known[k].title,
        max_selections=MOST,
        placeholder="Two to four rows",
    )
    if len(known) > OFFERED and not words:
        st.html(
            show_small_print(
                f"There are {len(known)} rows. The first {OFFERED} are offered; a search finds "
                "the others."
            )
        )
    return [known[k] for k in chosen]


def choose_columns(columns: list[Column], address: Address) -> list[Column]:
    tasks = list(dict.fromkeys(c.task for c in columns))
    chosen = address.several("Tasks", "task", tasks)
    return [c for c in columns if not chosen or c.task in chosen]


def numbers(rows: list[Row], columns: list[Column]) -> None:
    """Means, paired differences and their picture."""
    base, others = rows[0], rows[1:]
    gaps, comparisons = pair_rows(rows, columns)
    lines: list[list[Any]] = []
    drawn: list[DrawnDifference] = []
    for column in columns:
        line: list[Any] = [column.title, column.headline, value(base.entries.get(column.key))]
        for row in others:
            gap = gaps[column.key, row.key]
            line += [value(row.entries.get(column.key)), difference(gap)]
            drawn += list_drawn(column, row, gap)
        lines.append(line)
    heads = [
        "task",
        "metric",
        base.title,
        *(h for r in others for h in (r.title, "difference from the first")),
    ]
    st.html(table(heads, lines, kind="compare"))
    st.html(
        show_small_print(
            "A difference is the mean over common seeds of the row minus the first row, in "
            "points. "
            f"± is the t-interval of paired differences over seeds; {describe_level(comparisons)} "
            "Without two common seeds nothing is claimed."
        )
    )
    if commands := resampling(rows, columns):
        st.html(
            show_small_print(
                "The intervals above say what other seeds would change. What other test images "
                "would change is another question. For most tasks, these commands answer it for "
                "one common seed, by resampling the test images, and print both intervals; run "
                "them where the store is:"
            )
        )
        st.code("\n".join(commands[:COMMANDS]), language="bash", wrap_lines=True)
    if drawn:
        show_differences(drawn)


def list_drawn(column: Column, row: Row, gap: PairedDifference | None) -> list[DrawnDifference]:
    """The difference as the chart takes it; nothing where it has no interval."""
    if gap is None or gap["ci95"] is None:
        return []
    mean, half = gap["mean"], gap["ci95"]
    labels = row.entries[column.key].labels
    return [
        {
            "task": column.title,
            "row": row.title,
            "mean": mean,
            "low": mean - half,
            "high": mean + half,
            "n": gap["n"],
            "seeds": compact_seeds(gap["seeds"]),
            "cell": labels[gap["seeds"][0]],
        }
    ]


def show_differences(drawn: list[DrawnDifference]) -> None:
    """The differences as a chart to touch, with its downloads."""
    # Altair and pandas
    from dashboard.figures import describe_differences, differences
    from dashboard.plots import HOW

    show_chart(differences(drawn, link_cell), describe_differences(drawn))
    st.html(show_small_print(HOW))
    heads = tuple(DrawnDifference.__annotations__)
    rows = [tuple(row.values()) for row in drawn]
    offer_plot("differences", partial(draw_differences, drawn), heads, rows)


def pair_rows(
    rows: list[Row], columns: list[Column]
) -> tuple[dict[tuple[str, str], PairedDifference | None], int]:
    """({(column, row): its paired difference from the first row}, number of differences that have
    an interval). All of these intervals hold together with 95 %."""
    gaps: dict[tuple[str, str], PairedDifference | None] = {}
    for column in columns:
        first = rows[0].entries.get(column.key)
        for row in rows[1:]:
            entry = row.entries.get(column.key)
            gap = paired_difference(first.values, entry.values) if first and entry else None
            gaps[column.key, row.key] = gap
    count = sum(gap is not None and gap["ci95"] is not None for gap in gaps.values())
    return {at: gap and hold_together(gap, count) for at, gap in gaps.items()}, count


def describe_level(comparisons: int) -> str:
    if comparisons < 2:
        return "it holds with 95 %."
    return (
        f"the {comparisons} intervals hold together with 95 % (Bonferroni), so that more tasks "
        "and rows do not make a difference by chance."
    )


def resampling(rows: list[Row], columns: list[Column]) -> list[str]:
    """`bench compare FIRST OTHER` for measured rows that share a seed with the first: for their
    lowest common seed."""
    commands = []
    for column in columns:
        entries = [r.entries.get(column.key) for r in rows]
        first, *others = (e if e is not None and e.source == "measured" else None for e in entries)
        for other in others:
            seeds = set(first.values) & set(other.values) if first and other else set()
            if first and other and seeds:
                seed = min(seeds)
                commands.append(
                    f"bench compare {first.labels[seed][:12]} {other.labels[seed][:12]}"
                )
    return commands


def value(entry: Entry | None) -> Any:
    """The mean, linked to a cell; or the state."""
    if entry is None:
        return "missing"
    if entry.mean is None:
        return entry.state
    return Markup(
        link(
            "result",
            f"{format_number(entry)} (n={entry.n})",
            key=entry.labels[min(entry.values)][:16],
            source=entry.source,
        )
    )


def difference(gap: PairedDifference | None) -> Any:
    """`+1.2 ± 0.4 better (seeds 0-2)`."""
    if gap is None:
        return "no common seed"
    half = "" if gap["ci95"] is None else f" ± {gap['ci95']:.1f}"
    word = verdict(gap)
    text = f"{gap['mean']:+.1f}{half} {word} (seeds {compact_seeds(gap['seeds'])})"
    return Markup(f'<span class="{MARKS.get(word, "")}">{text}</span>')


def configuration(source: Source, rows: list[Row], columns: list[Column]) -> None:
    """Settings that differ, in every stage that is recorded."""
    st.html(section("Settings that differ"))
    scored = [
        c.key for c in columns if all((e := r.entries.get(c.key)) and e.values for r in rows)
    ]
    settings = []
    for row in rows:
        entries = list(row.entries.values())
        entry = row.entries[scored[0]] if scored else max(entries, key=lambda e: bool(e.values))
        label = entry.labels[min(entry.values or entry.labels)]
        settings.append(collect_settings(source.ask(read_graph, label), label))
    if not any(settings):
        st.html(note("The stages of these rows are not recorded in this database."))
        return
    lines = [
        (name, *values)
        for name, values in find_differing(settings).items()
        if not name.endswith(".seed")
    ]
    if lines:
        st.html(table(("setting", *(r.title for r in rows)), lines, kind="compare"))
    else:
        st.html(show_small_print("No recorded setting differs."))
