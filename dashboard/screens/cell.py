"""One cell: its numbers, where they come from, and the command that makes them again."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from bench.results.views.commands import complete_command
from bench.results.views.differences import collect_settings
from bench.results.views.entries import DEAD, DEAD_TEXT
from bench.results.views.lineage import (
    CellInfo,
    StageInfo,
    code_state,
    code_states,
    find_cell,
    read_graph,
    read_siblings,
)
from bench.results.views.stage_files import (
    find_stage_folder,
    read_summary,
)
from dashboard.cell_charts import show_classes, show_training
from dashboard.live import show_live_training
from dashboard.look import (
    Markup,
    duration,
    link,
    note,
    section,
    show_small_print,
    table,
    title,
    web_link,
)
from dashboard.source import Source
from dashboard.widgets import expander

TITLE, ORDER = "Cell", 1
IN_MENU = False  # it is a page of something that is chosen elsewhere
MADE = (
    "started",
    "seconds",
    "device",
    "host",
    "commit",
    "dirty",
    "python",
    "cpus",
    "peak_memory_mib",
    "arguments",
)


def page(source: Source) -> None:
    """The cell that the address names; a cell that does not exist yet gets the command that makes
    it."""
    key = st.query_params.get("key", "")
    if st.query_params.get("row"):
        return show_missing(source)
    if not key:
        st.html(title("Cell"))
        st.html(note("No cell is chosen. Click one on the leaderboard."))
        return None
    info = source.ask(find_cell, key)
    if info is None:
        st.html(title("Cell"))
        st.html(note(f"No cell has the key {key[:64]}: it was deleted, or the link is cut off."))
        return None
    head(source, info)
    stages = source.ask(read_graph, info.cell["label"])
    left, right = st.columns([3, 2], gap="medium")
    with left:
        metrics(info)
        if info.cell["state"] == "running":
            show_live_training(info.cell["label"])
        show_training(stages)
    with right:
        command(info)
        cost(stages)
        tree(info, stages)
    show_classes(stages, info.cell["label"])
    details(info, stages)
    return None


def show_missing(source: Source) -> None:
    """A cell that was never run: what it would be, and the command that fills it."""
    asked = {n: st.query_params.get(n, "") for n in ("scale", "data", "content", "row", "column")}
    known = {(b.scale, b.data) for b in source.boards()}
    st.html(title("Missing cell"))
    if (asked["scale"], asked["data"]) in known:
        table_ = source.table(asked["scale"], asked["data"])
        full = next(
            (c for c in table_.contents if asked["content"] and c.startswith(asked["content"])), ""
        )
        table_ = source.table(asked["scale"], asked["data"], full) if full else table_
        row = next((r for r in table_.rows if r.key == asked["row"]), None)
        column = next((c for c in table_.columns if c.key == asked["column"]), None)
        if row and column:
            if row.entries.get(column.key):
                st.html(note("This cell was run in the meantime. Open it from the leaderboard."))
                return
            st.html(
                show_small_print(
                    f"{row.title} on {column.title} ({asked['scale']}, {asked['data']}) was never "
                    "run."
                )
            )
            st.html(show_small_print("This command fills it:"))
            st.code(complete_command(row, column), language="bash", wrap_lines=True)
            return
    st.html(note("The leaderboard has no such row or column any more."))


def _data(data: str, name: str) -> str:
    """The data set with what the user calls it."""
    return f"{data}:{name}" if name else data


def head(source: Source, info: CellInfo) -> None:
    """Names, state and the other seeds."""
    cell = info.cell
    where = (
        f"{cell['scale']}; pretrained on {_data(cell['pretrain_data'], cell['pretrain_name'])}, "
        f"scored on {_data(cell['task_data'], cell['task_name'])}"
    )
    engine = f", engine {cell['engine']}" if cell["engine"] else ""
    st.html(
        title(
            f"{cell['method']} × {cell['crop']} × {cell['task']}",
            f"{where}{engine}; seed {cell['seed']}",
        )
    )
    if cell["state"] == "running":
        st.html(note("running: this page follows it"))
    elif cell["state"] != "done":
        kind = "warn" if cell["state"] == "failed" else ""
        st.html(note(f"{cell['state']}: {cell['reason'] or 'no reason was recorded'}", kind))
    others = {s.label: s for s in source.ask(read_siblings, cell["group"])}
    if len(others) > 1:
        links = [
            f"<b>{s.seed}</b>"
            if label == cell["label"]
            else link("cell", str(s.seed), s.state, key=label[:16])
            for label, s in others.items()
        ]
        st.html(f'<div class="b-soft">seeds: {" · ".join(links)}</div>')


def metrics(info: CellInfo) -> None:
    st.html(section("Metrics"))
    if not info.results:
        st.html(show_small_print("There is no result yet."))
    for source, values in info.results.items():
        if DEAD in values:
            st.html(note(f"Dead: {DEAD_TEXT}.", "warn"))
        rows = [
            (f"{n} (headline)" if n == info.headlines[source] else n, f"{v:.2f}")
            for n, v in values.items()
            if n != DEAD
        ]
        st.html(
            table(
                ("metric" if source == "measured" else f"metric ({source})", "percent"),
                rows,
                numbers=(1,),
            )
        )


def command(info: CellInfo) -> None:
    st.html(section("Make it again"))
    st.code(info.cell["command"], language="bash", wrap_lines=True)
    if info.cell["state"] == "done":
        st.html(
            show_small_print(f"In a terminal, bench show {info.cell['label'][:12]} says more.")
        )


def cost(stages: dict[str, StageInfo]) -> None:
    """Steps, time, speed and device of every stage."""
    if not stages:
        return
    st.html(section("Cost"))
    rows, total = [], 0.0
    for stage in stages.values():
        folder: Path | None = find_stage_folder(stage)
        summary = read_summary(folder) if folder else {}
        seconds = stage.provenance.get("seconds")
        total += seconds or 0.0
        speed = summary.get("images_per_second")
        rows.append(
            (
                f"{stage.kind}/{stage.name}",
                summary.get("steps", "-"),
                duration(seconds),
                f"{speed:,.0f}" if isinstance(speed, int | float) else "-",
                stage.provenance.get("device", "-"),
            )
        )
    heads = ("stage", "gradient steps", "wall time", "images/s", "device")
    st.html(table(heads, [*rows, ("all stages", "", duration(total), "", "")], numbers=(1, 2, 3)))
    if len(stages) == 1:
        st.html(show_small_print("The inputs of this stage are not recorded here."))


def tree(info: CellInfo, stages: dict[str, StageInfo]) -> None:
    """The stages that this cell needs, each a link that shows it below."""
    key = info.cell["label"]
    if key not in stages:
        return
    st.html(section("Stages"))
    chosen = choose_stage(stages, key).key
    seen: set[str] = set()
    states = code_states(stages.values())

    def branch(at: str, role: str) -> str:
        stage = stages.get(at)
        if stage is None:
            return f"<li>{escape(role)}: {escape(at[:12])} (not recorded here)</li>"
        text = f"{stage.kind}/{stage.name} {stage.short}"
        mark = ' class="on"' if at == chosen else ""
        changed = states[at]
        state = "" if changed == "current" else f' <span class="b-tag">code {changed}</span>'
        inner = ""
        if at not in seen:
            seen.add(at)
            inner = "".join(branch(child, name) for name, child in stage.inputs.items())
        label = f"{role}: {text}" if role else text
        here = link("cell", label, key=key[:16], stage=at[:16])
        return f"<li{mark}>{here}{state}{f'<ul>{inner}</ul>' if inner else ''}</li>"

    st.html(f'<ul class="b-tree">{branch(key, "")}</ul>')


def choose_stage(stages: dict[str, StageInfo], key: str) -> StageInfo:
    """The stage that the address names, or the cell's last."""
    asked = st.query_params.get("stage", "")
    return next((s for k, s in stages.items() if asked and k.startswith(asked)), stages[key])


def details(info: CellInfo, stages: dict[str, StageInfo]) -> None:
    """Provenance and settings of the chosen stage; the settings of the whole cell."""
    key = info.cell["label"]
    if key not in stages:
        when = " until it is done" if info.cell["state"] == "running" else ""
        text = f"The stages of this cell are not recorded in this database{when}."
        st.html(show_small_print(text))
        return
    stage = choose_stage(stages, key)
    st.html(section(f"Provenance of {stage.kind}/{stage.name} {stage.short}"))
    provenance: dict[str, Any] = dict(stage.provenance)
    rows = [
        (n, provenance[n] if isinstance(provenance[n], str) else json.dumps(provenance[n]))
        for n in MADE
        if n in provenance
    ]
    rows += [
        ("packages", ", ".join(f"{k} {v}" for k, v in (provenance.get("packages") or {}).items()))
    ]
    code = {
        "changed": "changed since this was made",
        "current": "as installed now",
        "unknown": "unknown",
    }
    rows += [("code", code[code_state(stage)]), ("key", stage.key), ("version", stage.version)]
    tracked = web_link(provenance.get("tracker_url"))
    rows += [("W&B", Markup(tracked) if tracked else "not tracked online")]
    rows += [("folder", str(find_stage_folder(stage) or "not in this store"))]
    st.html(table(("", "value"), rows))
    with expander("Settings of this stage"):
        st.json(dict(stage.params))
    with expander("Settings of the cell and of every input"):
        st.html(table(("setting", "value"), list(collect_settings(stages, key).items())))
