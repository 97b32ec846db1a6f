"""Objectness of crops against a task's metric, and shares of poor, coarse and precise crops."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from bench.figures.recorded import command
from bench.results.db.reading import FIRST_COMMAND, is_user_error
from bench.results.views.objectness import Topic, list_metrics, list_topics, read_topic
from dashboard.address import Address
from dashboard.look import note, section, show_small_print, table, title
from dashboard.pictures import content_picture, figure, show
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
    content = show_drawing(source, "objectness", choices, BARS)
    if content is None:
        return
    with expander("The points as a table"):
        for one in content["series"]:
            st.html(show_small_print(f"{one['title']}; {one['y']}"))
            rows = [
                (
                    p["method"],
                    p["label"],
                    interval_text(p["x"], p["x_ci"]),
                    interval_text(p["y"], p["y_ci"]),
                    p["n"],
                    "-" if p["size"] is None else f"{p['size']:,.0f}",
                )
                for g in one["groups"]
                for p in g["points"]
            ]
            st.html(
                table(
                    ("method", "crop", "objectness", "metric", "results", "size"),
                    rows,
                    numbers=(2, 3, 4, 5),
                )
            )


def interval_text(mean: float, ci95: float | None) -> str:
    """`38.1 ±0.5`."""
    return f"{mean:.1f}" if ci95 is None else f"{mean:.1f} ±{ci95:.1f}"


def shares(source: Source, choices: dict[str, str]) -> None:
    show_drawing(source, "shares", {k: choices[k] for k in ("data", "objects") if k in choices})


def show_drawing(source: Source, name: str, asked: dict[str, str], legend: str = "") -> Any:
    """Show a figure, its legend and the command that makes it; its content, or None where it says
    why not."""
    try:
        content = figure(source, name, dict(asked))
    except Exception as error:
        if not is_user_error(error):
            raise
        st.html(note(str(error)))
        return None
    show(f"{name} {json.dumps(content, sort_keys=True)}", content_picture(name, content), name)
    if legend:
        st.html(show_small_print(legend))
    options = "".join(f" --{k} {v}" for k, v in asked.items())
    st.code(command(name) + options, language="bash", wrap_lines=True)
    return content
