"""Charts of a cell: learning curves of its trainings, scores of single classes."""

from __future__ import annotations

from functools import partial

import streamlit as st

from bench.figures.page_plots import draw_bars, draw_curve
from bench.results.views.lineage import StageInfo
from bench.results.views.stage_files import (
    find_stage_folder,
    read_class_scores,
    read_learning_curve,
)
from dashboard.charts import show_chart
from dashboard.look import section, show_small_print, table
from dashboard.pictures import offer_plot
from dashboard.widgets import segments, select

ZOOM = "Point at the curve to read it; drag or scroll to zoom, and double-click to go back."


def show_training(stages: dict[str, StageInfo]) -> None:
    """Learning curves of every training in the graph."""
    trainings = {}
    for stage in stages.values():
        folder = find_stage_folder(stage)
        rows = read_learning_curve(folder) if folder else []
        if rows:
            trainings[f"{stage.kind}/{stage.name} {stage.short}"] = rows
    if not trainings:
        return
    st.html(section("Learning curves"))
    which = select(
        "Training",
        list(trainings),
        label_visibility="collapsed" if len(trainings) == 1 else "visible",
    )
    rows = trainings[which]
    figures = list(dict.fromkeys(n for row in rows for n in row if n != "step"))
    figure = segments("Figure", figures, default=figures[0]) or figures[0]
    # Altair and pandas take their time: not for the leaderboard
    from dashboard.figures import curves

    show_chart(curves(rows, figure), f"{figure} of {which} over its steps.")
    st.html(show_small_print(ZOOM))
    points = [(row["step"], row[figure]) for row in rows if figure in row]
    steps, values = zip(*points, strict=True)
    name = f"{which} {figure}"
    offer_plot(name, partial(draw_curve, steps, values, figure, which), ("step", figure), points)


def show_classes(stages: dict[str, StageInfo], key: str) -> None:
    """Scores of single classes, where the task keeps them."""
    folder = find_stage_folder(stages[key]) if key in stages else None
    scores = read_class_scores(folder) if folder else {}
    if not scores:
        return
    st.html(section("Scores of classes"))
    names = list(dict.fromkeys(n for s in scores.values() for n in s))
    name = segments("Score", names, default=names[0]) or names[0]
    chart, numbers = st.columns([3, 2])
    from dashboard.figures import class_bars

    show_chart(class_bars(scores, name), f"Bars of {name} of every class.", chart)
    shares = {label: score[name] for label, score in scores.items() if name in score}
    shares = dict(sorted(shares.items(), key=lambda pair: -pair[1]))
    draw = partial(draw_bars, shares, f"{name}, percent")
    with chart:
        offer_plot(f"classes {name}", draw, ("class", name), list(shares.items()))
    rows = [(c, *(f"{s[n]:.1f}" if n in s else "-" for n in names)) for c, s in scores.items()]
    numbers.html(table(("class", *names), rows, numbers=range(1, len(names) + 1)))
