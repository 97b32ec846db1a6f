"""What is shown can be seen, in both themes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from bench.results.html.matrix import Shade
from dashboard.charts import INK, PAPER
from dashboard.look import PALETTE
from dashboard.matrix_figure import scale_colours
from dashboard.plots import SHARES
from tests.dashboard.contrast import contrast, mix

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "dashboard" / ".streamlit" / "config.toml").read_text())
THEMES = {
    name: (theme["textColor"], theme["backgroundColor"])
    for name, theme in CONFIG["theme"].items()
    if isinstance(theme, dict)
}
SHEETS = ("dashboard/style.css", "bench/results/html/site.css")


def pairs(sheet: str) -> dict[str, tuple[str, str]]:
    """The colours of a style sheet by name, for the light and the dark page."""
    text = (ROOT / sheet).read_text()
    colours = re.findall(r"--([a-z]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    return {name: (light, dark) for name, light, dark in colours}


def test_the_measure_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)  # WebAIM's example
    assert mix("#000000", "#FFFFFF", 0.75) == "#404040"


@pytest.mark.parametrize("sheet", SHEETS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_have_4_5_and_bars_3_and_the_best_is_never_the_dimmest(
    sheet: str, theme: str
) -> None:
    text, page = THEMES[theme]
    colours = {name: both[theme == "dark"] for name, both in pairs(sheet).items()}
    for name in ("good", "bad", "link"):
        assert contrast(colours[name], page) >= 4.5, name
    soft = re.search(r"--soft: color-mix\(in srgb, \S+ (\d+)%", (ROOT / sheet).read_text())
    assert soft
    assert contrast(mix(text, page, int(soft[1]) / 100), page) >= 4.5
    assert contrast(colours["bar"], page) >= 3
    assert contrast(colours["top"], page) > contrast(colours["bar"], page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_on_the_colours_of_a_matrix_have_4_5(theme: str) -> None:
    text, page = THEMES[theme]
    sheet = (ROOT / "bench/results/html/tables.css").read_text()
    share = re.search(r"calc\(var\(--share, 0\) \* (\d+)%\)", sheet)
    heats = re.findall(r"--heat: (#\w{6})", sheet)
    assert share
    assert len(heats) == 2
    for heat in heats:
        assert contrast(text, mix(heat, page, int(share[1]) / 100)) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("shade", ["score", "gain"])
def test_numbers_on_the_colours_of_a_heat_map_have_4_5(shade: Shade, theme: str) -> None:
    assert PAPER[theme] == THEMES[theme][::-1]  # the page's own colours
    page, text = PAPER[theme]
    colours = scale_colours(shade, theme).to_dict()["range"]
    assert page in colours
    assert len(set(colours)) == len(colours) == (3 if shade == "gain" else 2)
    for colour in colours:
        assert contrast(text, colour) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_charts_can_be_read(theme: str) -> None:
    _, page = THEMES[theme]
    words, lines = INK[theme]
    assert contrast(words, page) >= 4.5
    assert contrast(lines, page) >= 3
    for colour in (*PALETTE, *(colour for _, colour in SHARES)):
        assert contrast(colour, page) >= 3, colour
