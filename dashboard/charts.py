"""How charts are put on a page: readable axes in both themes, and words for those who do not see
them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    import altair as alt

# text and lines of charts on each background, at least 4.5:1 and 3:1
INK = {"light": ("#4A5058", "#868C94"), "dark": ("#B9C0C8", "#7E858D")}
PAPER = {"light": ("#FFFFFF", "#1B1F24"), "dark": ("#14171B", "#E8EBEE")}  # page, text


def show_chart(chart: alt.TopLevelMixin, description: str, where: Any = st) -> None:
    """Show an Altair chart; `description` says what it shows, for a screen reader."""
    where.altair_chart(dress(chart, is_dark()).properties(description=description))


def is_dark() -> bool:
    """Whether the reader's theme is dark."""
    theme = getattr(st.context, "theme", None)
    return theme is not None and theme.type == "dark"


def dress(chart: Any, dark: bool) -> Any:
    """The chart with axes, ticks and legends that can be read on the page's background."""
    text, line = INK["dark" if dark else "light"]
    axes = chart.configure_axis(
        labelColor=text, titleColor=text, domainColor=line, tickColor=line, gridOpacity=0.5
    )
    return axes.configure_text(color=text).configure_legend(
        labelColor=text,
        titleColor=text,
        labelLimit=320,
        orient="top",
        symbolBaseFillColor=text,
        symbolBaseStrokeColor=text,
    )


def mix(one: str, other: str, share: float) -> str:
    """`share` of the first colour over the second, both `#RRGGBB`."""
    pairs = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02X}" for a, b in pairs)
