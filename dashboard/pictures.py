"""Figures as images of a page, drawn once for all sessions, with downloads for papers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from bench.figures.recorded import collect_figure, draw_picture, list_pictures, picture
from bench.results.db.place import home_folder
from bench.results.views.stages import StageInfo
from dashboard.source import Source

TYPES = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}


def figure(source: Source, name: str, choices: Mapping[str, str]) -> Mapping[str, Any]:
    """The content of a figure of the results database; BadInput where there is none."""
    return _collected(source.mark, name, tuple(sorted(choices.items())), source)


def show(key: str, draw: Callable[[str], bytes | None], name: str) -> bool:
    """The image and its downloads; False where it is not there. `key`: what it is drawn from."""
    image = _drawn(key, "png", draw)
    if image is None:
        return False
    st.image(image, width="content")
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind, mime in TYPES.items():
            st.download_button(
                kind.upper(),
                lambda kind=kind: _drawn(key, kind, draw) or b"",
                f"{name}.{kind}",
                mime,
                key=f"download.{name}.{kind}",
                on_click="ignore",
            )
    return True


def content_picture(name: str, content: Mapping[str, Any]) -> Callable[[str], bytes]:
    return lambda kind: draw_picture(name, content, kind)


def stage_picture(stage: StageInfo) -> Callable[[str], bytes | None]:
    return lambda kind: picture(stage, kind)


def list_all_pictures(source: Source) -> list[Any]:
    """Every picture that is recorded: those the store holds first."""
    return source.ask(list_pictures, home_folder())


@st.cache_resource(max_entries=16, show_spinner=False)
def _collected(
    mark: tuple[Any, ...], name: str, choices: tuple[tuple[str, str], ...], _source: Source
) -> Mapping[str, Any]:
    return _source.ask(collect_figure, name, home_folder(), dict(choices))


@st.cache_resource(max_entries=24, show_spinner="drawing")
def _drawn(key: str, kind: str, _draw: Callable[[str], bytes | None]) -> bytes | None:
    return _draw(kind)
