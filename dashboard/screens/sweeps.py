"""A sweep: each setting against the metric, how much it matters, all settings at once, every
trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from bench.figures.page_plots import draw_bars, draw_parallels, draw_setting
from bench.results.views.studies import StudyRow, TrialRow
from bench.results.views.trials import (
    STATES,
    AxisPoint,
    SettingPoint,
    choose_spread,
    continue_command,
    describe_winner,
    find_marked,
    format_score,
    format_setting,
    keep_complete,
    list_parallel,
    list_points,
    monitor_command,
    state_of,
)
from dashboard.address import Address
from dashboard.charts import show_chart
from dashboard.live import show_running
from dashboard.look import (
    Markup,
    duration,
    link,
    link_cell,
    note,
    section,
    show_small_print,
    table,
    title,
)
from dashboard.pictures import offer_plot
from dashboard.source import Source

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE, ORDER = "Sweeps", 4
FIRST = "bench sweep --param n_crops"
PAGE_ROWS = 50
link_trial = partial(link_cell, page="cell")


def page(source: Source) -> None:
    """The sweep that is chosen."""
    st.html(
        title(
            "Sweeps",
            "Which value of a setting is best, how sure is that, and which settings matter?",
        )
    )
    studies = {s["name"]: s for s in source.studies()}
    if not studies:
        st.html(note(f"no sweep was run yet; run first: {FIRST}"))
        st.code(FIRST, language="bash")
        return
    address = Address("sweeps")
    name = address.one(
        "Sweep",
        "study",
        list(studies),
        next(iter(studies)),
        format_func=lambda n: label(studies[n]),
    )
    study = studies[name]
    trials, importances = source.sweep(name)
    winner = find_marked(study, trials)
    st.html(show_small_print(describe_search(study)))
    show_running(source)
    st.html(show_winner(study, winner, trials))
    if keep_complete(trials):
        charts(study, trials, winner)
        show_importances(study, trials, importances, winner)
    st.html(section("Trials"))
    every(study, trials, winner, address)
    st.html(section("Go on"))
    st.html(
        show_small_print(
            "The first command continues the sweep; the second shows it in optuna-dashboard, a "
            "separate package:"
        )
    )
    st.code(
        f"{continue_command(study)}\n{monitor_command(source.url)}",
        language="bash",
        wrap_lines=True,
    )
    address.write()


def label(study: StudyRow) -> str:
    """`n_crops: orl x multi on knn, tiny (name)`."""
    what = ", ".join(p.rpartition(".")[2] for p in study["params"])
    return (
        f"{what}: {study['method']} × {study['crop']} on {study['task']}, {study['scale']} "
        f"({study['name']})"
    )


def describe_search(study: StudyRow) -> str:
    """What is searched, how, and how far it is."""
    spaces = "; ".join(f"{name} in {values}" for name, values in study["params"].items())
    states = ", ".join(f"{n} {STATES.get(s, s)}" for s, n in study["states"].items()) or "none"
    seeds = f"seed{'s' if len(study['seeds']) > 1 else ''} {', '.join(map(str, study['seeds']))}"
    return (
        f"{spaces}. Score: {study['metric']} on {study['holdout']:.0%} of the training images, "
        f"mean over {seeds}. Sampler: {study['sampler']}; pruner: {study['pruner']}. "
        f"Trials: {states}."
    )


def show_winner(study: StudyRow, winner: int | None, trials: Sequence[TrialRow]) -> str:
    """The chosen settings, whether they are the best, their test score and their cells."""
    cells = study["winner"]["cells"] if study["winner"] else []
    return (
        f'<div class="b-note" role="status">{escape(describe_winner(study, winner, trials))}'
        f'<span class="b-go"> {cell_links(cells, study["seeds"])}</span></div>'
    )


def cell_links(cells: Sequence[str], seeds: Sequence[int]) -> Markup:
    """Links to cells, named by their seeds."""
    named = zip(cells, seeds, strict=False)
    return Markup(" ".join(link("cell", f"seed {seed}", key=key[:16]) for key, seed in named))


def charts(study: StudyRow, trials: Sequence[TrialRow], winner: int | None) -> None:
    """Every setting against the metric, two beside each other."""
    from dashboard.sweep_figures import plot_against  # imports Altair and pandas

    st.html(section(f"Setting against {study['metric']}"))
    names = [n for n in study["params"] if list_points(trials, n, winner)]
    wide = min(2, len(names))
    for start in range(0, len(names), wide):
        for column, name in zip(st.columns(wide), names[start : start + 2], strict=False):
            rows = list_points(trials, name, winner)
            spacing = study["spacing"][name]
            chart = plot_against(
                rows, name, study["metric"], spacing, partial(link_cell, page="cell")
            )
            show_chart(chart, f"{study['metric']} of every trial over {name}.", column)
            draw = partial(draw_setting, rows, name, study["metric"], spacing)
            with column:
                offer_rows(f"{study['name']} {name}", draw, rows)
    st.html(
        show_small_print(
            "A point is a trial. Bars are 95 % t-intervals over its seeds; one seed has none. The "
            "line joins the means of values that were listed. ◆ marks the trial that was chosen, "
            "which has the highest mean. All numbers are of validation images. Point at a trial "
            "to read it; click it to open its first cell."
        )
    )


def show_importances(
    study: StudyRow,
    trials: Sequence[TrialRow],
    importances: Mapping[str, float],
    winner: int | None,
) -> None:
    """Importances and parallel coordinates, where there are several settings."""
    from dashboard.sweep_figures import parallels, shares

    st.html(section("Importance of settings"))
    if len(study["params"]) < 2:
        st.html(show_small_print("There is one setting, so that nothing is compared."))
        return
    if importances:
        show_chart(shares(importances), "Bars of the importance of every setting.")
        draw = partial(draw_bars, importances, "importance")
        parts = list(importances.items())
        offer_plot(f"{study['name']} importance", draw, ("setting", "share"), parts)
        st.html(show_small_print("Shares that add up to 1, by PED-ANOVA (Watanabe et al. 2023)."))
    else:
        st.html(
            show_small_print(
                "Too few trials are complete to tell, or all of them have the same value."
            )
        )
    rows = list_parallel(study, trials, winner)
    if rows:
        st.html(section("Settings together"))
        show_chart(parallels(rows, study["metric"]), "The settings of every trial as a line.")
        offer_rows(f"{study['name']} parallel", partial(draw_parallels, rows), rows)
        st.html(
            show_small_print(
                "A line is a trial; the thick orange one was chosen. Every axis goes from its "
                "lowest value at the bottom to its highest."
            )
        )


def offer_rows(
    name: str, draw: Callable[[], Figure], rows: Sequence[SettingPoint] | Sequence[AxisPoint]
) -> None:
    """Downloads of a chart of these rows."""
    offer_plot(name, draw, tuple(rows[0]), [tuple(row.values()) for row in rows])


def every(
    study: StudyRow, trials: Sequence[TrialRow], winner: int | None, address: Address
) -> None:
    """The trials as a table, 50 on a page."""
    pages = max(1, -(-len(trials) // PAGE_ROWS))
    at = address.count("Page", "part", 1, pages) if pages > 1 else 1
    names = list(study["params"])
    rows = [
        (
            t["number"],
            *(format_setting(t["params"][n]) if n in t["params"] else "-" for n in names),
            format_score(t["value"], t["ci95"]),
            state_of(t) + (" ◆" if t["number"] == winner else ""),
            duration(t["seconds"]),
            cell_links(t["cells"], study["seeds"]),
            commands(t["commands"]),
            t["reason"] or "",
        )
        for t in trials[(at - 1) * PAGE_ROWS : at * PAGE_ROWS]
    ]
    heads = (
        "trial",
        *names,
        f"{study['metric']}, validation",
        "state",
        "time",
        "cells",
        "commands",
        "reason",
    )
    texts = {
        1 + i
        for i, n in enumerate(names)
        if choose_spread([t["params"].get(n, 0) for t in trials], "") == "names"
    }
    numbers = {*range(len(names) + 2), len(names) + 3} - texts
    st.html(table(heads, rows, numbers=numbers, kind="trials"))


def commands(lines: Sequence[str]) -> Markup:
    """What makes the trial's cells, folded."""
    if not lines:
        return Markup("")
    inner = "<br>".join(f"<code>{escape(line)}</code>" for line in lines)
    return Markup(f"<details><summary>show</summary>{inner}</details>")
