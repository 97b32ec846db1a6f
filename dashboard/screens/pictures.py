"""Pictures that the store keeps: crops, score and attention maps, pairs, embeddings and others."""

from __future__ import annotations

import streamlit as st

from bench.figures.recorded import Kept, command_again, describe
from dashboard.address import Address
from dashboard.look import note, show_small_print, table, title
from dashboard.on_demand import offer_making
from dashboard.pictures import list_all_pictures, show, stage_picture
from dashboard.source import Source

TITLE, ORDER = "Pictures", 6


def page(source: Source) -> None:
    """One kind of picture, those of it that were made, and the command that makes another."""
    st.html(title("Pictures", "Pictures that bench figure made and the store keeps."))
    address = Address("pictures")
    kinds = {name: (summary, paper) for name, summary, paper in describe()}
    every = list_all_pictures(source)
    if not every:
        # without a cell there is nothing to draw either, and another command comes first
        source.boards()
    first = next((k.stage.name for k in every if k.stage.name in kinds), next(iter(kinds)))
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    name = address.one("Picture", "name", list(kinds), first, where=left)
    shown = {k.stage.key[:12]: k for k in every if k.stage.name == name}
    if shown:
        key = address.one(
            "Made",
            "key",
            list(shown),
            next(iter(shown)),
            where=right,
            format_func=lambda k: label(shown[k]),
        )
    summary, paper = kinds[name]
    st.html(show_small_print(f"{summary} ({paper})"))
    if shown:
        show_kept(shown[key], summary)
    else:
        st.html(note("No such picture was made yet."))
    offer_making(source, address, name)
    address.write()


def show_kept(kept: Kept, summary: str) -> None:
    """A picture, the command that makes it again, and what it was made from."""
    stage = kept.stage
    if not show(stage.key, stage_picture(stage), stage.name, f"{summary} {label(kept)}"):
        st.html(
            note(
                "The store in BENCH_HOME does not hold this picture, or not any more. This "
                "command makes it again:",
                "warn",
            )
        )
    st.code(command_again(kept), language="bash", wrap_lines=True)
    rows: list[tuple[str, object]] = list(kept.inputs.items())
    rows += [(k, v) for k, v in stage.params.items() if isinstance(v, str | int | float | list)]
    st.html(table(("made from", ""), rows))


def label(kept: Kept) -> str:
    """When, and from what."""
    when = kept.made[:16].replace("T", " ")
    what = ", ".join(
        text for role, text in kept.inputs.items() if role != "data"
    ) or kept.inputs.get("data", "")
    return f"{when}  {what}"[:160]
