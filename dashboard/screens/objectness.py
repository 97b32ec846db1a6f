"""Objectness of crops against a task's metric, and shares of poor, coarse and precise crops."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from bench.figures.recorded import command, describe_figure, list_points
from bench.results.db.reading import FIRST_COMMAND, is_user_error
from bench.results.views.objectness import Topic, list_metrics, list_topics, read_topic
from dashboard.address import Address
from dashboard.charts import show_chart
from dashboard.look import link_cell, note, section, show_small_print, table, title
from dashboard.pictures import figure, offer_files
from dashboard.source import Source
from dashboard.widgets import expander

TITLE, ORDER = "Objectness", 5
SIZES = {"steps": "gradient steps", "time": "time of pretraining", "none": "nothing"}
SOURCES = {
    "both": "measured and reported",
    "measured": "measured",
    "reported": "reported in papers",
}
STATS = "bench crops stats"
BARS = (
    "Bars are 95 % intervals, over seeds and over images. ρ is Spearman's rank correlation of the "
    "n points; p is the share of orders in which it would be as far from 0. The dashed line is "
    "the parabola that fits them best, drawn where points are, and only if the 95 % interval of "
    "its quadratic term leaves out 0; the mark is its top."
)

SHARES_HOW = (
    "Point at a bar to read it; click an entry of the legend to pick it (with Shift several)."
)


def page(source: Source) -> None:
    """The scatter, its points, the shares; each with the command that makes the figure for a
    paper."""
    st.html(
        title(
            "Objectness vs accuracy",
            "Is there a sweet spot? Paper 000 asks it in Fig. 5 and Fig. 3.",
        )
    )
    address = Address("objectness")
    topics = source.ask(list_topics)
    columns = st.columns([2, 1, 1, 1, 1], vertical_alignment="bottom")
    choices = choose_options(source, address, topics, columns)
    address.write()
    if not topics:
        st.html(
            note(
                "There is no result yet of a crop whose objectness was measured; run first: "
                f"{FIRST_COMMAND}. This page needs results of several crops, and the objectness "
                "of these crops on the same data:"
            )
        )
        st.code(f"bench run --method byol --crop '*' --task knn\n{STATS}", language="bash")
    scatter(source, choices)
    st.html(section("Poor, coarse and precise crops"))
    shares(source, choices)


def choose_options(
    source: Source, address: Address, topics: list[Topic], columns: list[Any]
) -> dict[str, str]:
    """The choices, as the options of `bench figure objectness`."""
    which = address.one(
        "Source", "of", list(SOURCES), "both", where=columns[1], format_func=SOURCES.__getitem__
    )
    size = address.one(
        "Size of points",
        "size",
        list(SIZES),
        "steps",
        where=columns[3],
        format_func=SIZES.__getitem__,
    )
    objects = address.one("Objects are", "objects", ["boxes", "masks"], "boxes", where=columns[4])
    chosen = {"source": which, "size": size, "objects": objects}
    if not topics:
        return chosen
    names = {"/".join(t[:3]): t for t in topics}
    at = address.one(
        "Results",
        "topic",
        list(names),
        next(iter(names)),
        where=columns[0],
        help="Scale, pretraining set and task. Those with the most results come first.",
    )
    topic = names[at]
    metrics = list_metrics(source.ask(read_topic, topic))
    metric = address.one("Metric", "metric", metrics, metrics[0], where=columns[2])
    return {
        **chosen,
        "scale": topic.scale,
        "data": topic.data,
        "task": topic.task,
        "metric": metric,
    }


def scatter(source: Source, choices: dict[str, str]) -> None:
    from dashboard.plots import HOW  # imports Altair and pandas
    from dashboard.plots import scatter as draw

    show_drawing(source, "objectness", choices, lambda c: draw(c, link_cell), f"{BARS} {HOW}")


def shares(source: Source, choices: dict[str, str]) -> None:
    from dashboard.plots import shares as draw

    asked: dict[str, str] = {k: choices[k] for k in ("data", "objects") if k in choices}
    show_drawing(source, "shares", asked, draw, SHARES_HOW)


def show_drawing(
    source: Source,
    name: str,
    asked: dict[str, str],
    draw: Callable[[Mapping[str, Any]], Any],
    legend: str,
) -> None:
    """Show a figure to touch, its legend, its points, its downloads and the command that makes it;
    or why there is none."""
    try:
        content = figure(source, name, dict(asked))
    except Exception as error:
        if not is_user_error(error):
            raise
        st.html(note(str(error)))
        return
    words = describe_figure(name, content)
    show_chart(draw(content), words)
    st.html(show_small_print(words))
    st.html(show_small_print(legend))
    show_points(name, content)
    offer_files(f"{name} {json.dumps(content, sort_keys=True)}", name, content)
    options = "".join(f" --{k} {v}" for k, v in asked.items())
    st.code(command(name) + options, language="bash", wrap_lines=True)


def show_points(name: str, content: Mapping[str, Any]) -> None:
    heads, rows = list_points(name, content)
    with expander("The points as a table"):
        texts = [tuple(format_value(v) for v in row) for row in rows]
        numbers = [i for i, v in enumerate(rows[0]) if isinstance(v, int | float)]
        st.html(table(heads, texts, numbers=numbers))


def format_value(value: object) -> str:
    return "-" if value is None else f"{value:,.1f}" if isinstance(value, float) else str(value)
