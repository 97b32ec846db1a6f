"""A number of the board: every seed behind it, the mean and its interval, the cost, the cells."""

from __future__ import annotations

from html import escape

import streamlit as st

from bench.results.views.commands import name_seeds
from bench.results.views.entries import DEAD_TEXT
from bench.results.views.group import Group, GroupSeed, read_group
from bench.results.views.marks import MEANINGS
from dashboard.look import (
    Markup,
    duration,
    link,
    note,
    section,
    show_small_print,
    table,
    title,
)
from dashboard.source import Source

TITLE, ORDER = "Result", 1
IN_MENU = False  # it is a page of something that is chosen elsewhere


def page(source: Source) -> None:
    """The group of cells that the address names by one of them."""
    key, where = st.query_params.get("key", ""), st.query_params.get("source", "measured")
    group = source.ask(read_group, key, where) if key else None
    if group is None:
        st.html(title("Result"))
        source.boards()  # where there is nothing yet, says so
        said = f"No result has the key {key[:64]}: it was deleted, or the link is cut off."
        st.html(note(said if key else "No result is chosen. Click one on the leaderboard."))
        return
    head(group)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        seeds(group)
    with right:
        cost(group)
        st.html(section("Make it again"))
        st.code(
            name_seeds(group.cell["command"], [s.seed for s in group.seeds]),
            language="bash",
            wrap_lines=True,
        )


def head(group: Group) -> None:
    """What it is, and the number."""
    cell = group.cell
    engine = f", engine {cell['engine']}" if cell["engine"] else ""
    settings = " ".join(f"{k}={v}" for k, v in cell["overrides"].items())
    st.html(
        title(
            f"{cell['method']} × {cell['crop']} × {cell['task']}",
            f"{cell['scale']}; pretrained on {cell['pretrain_data']}, scored on "
            f"{cell['task_data']}{engine}"
            + (f"; {settings}" if settings else "")
            + ("" if group.source == "measured" else f"; {group.source}"),
        )
    )
    summary = group.metrics.get(group.headline)
    if summary is None:
        st.html(note("There is no result yet; the cells below say why."))
        return
    half = "" if summary["ci95"] is None else f" ± {summary['ci95']:.1f}"
    n = summary["n"]
    st.html(
        f'<p class="b-number"><b>{summary["mean"]:.1f}{half}</b> {escape(group.headline)}, '
        f"percent, {n} seed{'s' if n > 1 else ''}</p>"
    )
    if summary["ci95"] is None:
        st.html(show_small_print(f"There is no interval: {MEANINGS['unknown']}."))
    else:
        st.html(show_small_print("± is half of the 95 % t-interval over seeds."))
    if group.dead:
        st.html(note(f"Dead: {DEAD_TEXT}.", "warn"))


def seeds(group: Group) -> None:
    """A row per seed, a link to its cell; the mean and the interval below."""
    st.html(section("Seeds"))
    names = list(group.metrics)
    rows: list[tuple[object, ...]] = [
        (
            Markup(link("cell", str(s.seed), f"open the cell of seed {s.seed}", key=s.label[:16])),
            *(f"{s.metrics[n]:.2f}" if n in s.metrics else "-" for n in names),
            duration(s.seconds),
            state_text(s),
        )
        for s in group.seeds
    ]
    numbers = range(1, len(names) + 2)
    if names:
        means = (f"{group.metrics[n]['mean']:.2f}" for n in names)
        rows.append(("mean", *means, "", ""))
        halves = (group.metrics[n]["ci95"] for n in names)
        rows.append(("±", *("-" if h is None else f"{h:.2f}" for h in halves), "", ""))
    st.html(table(("seed", *names, "time", "state"), rows, numbers=numbers, kind="seeds"))
    st.html(show_small_print("Click a seed to open its cell: curves, stages, provenance."))


def state_text(seed: GroupSeed) -> str:
    return f"{seed.state}: {seed.reason}" if seed.reason else seed.state


def cost(group: Group) -> None:
    """What all seeds took together."""
    st.html(section("Cost"))
    if group.seconds is None:
        st.html(show_small_print("The stages of these cells are not recorded in this database."))
        return
    rows = [("all seeds", duration(group.seconds)), ("devices", ", ".join(group.devices) or "-")]
    st.html(table(("", ""), rows))
    st.html(
        show_small_print(
            "A stage that several seeds share, such as proposals, is counted once here, and in "
            "the time of each seed."
        )
    )
