"""Text stays text: names in labels, options and figures; and nothing but widgets.py makes
widgets."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest

from bench.results.views.lineage import read_graph
from dashboard.widgets import to_markdown
from tests.dashboard.populate import fill

DASHBOARD = Path(__file__).parents[2] / "dashboard"
APP = str(DASHBOARD / "app.py")
# Streamlit's functions that show what they are given as Markdown, all of it or a part
SHOW_MARKDOWN = {
    *("badge", "button", "caption", "chat_message", "checkbox", "download_button", "error"),
    *("expander", "feedback", "form_submit_button", "header", "image_caption", "info", "latex"),
    *("link_button", "markdown", "metric", "multiselect", "number_input", "page_link", "pills"),
    *("popover", "radio", "segmented_control", "select_slider", "selectbox", "slider", "spinner"),
    *("status", "subheader", "success", "tabs", "text_area", "text_input", "title", "toast"),
    *("toggle", "warning", "write"),
}
PICTURE = "![x](https://example.invalid/seen.png)"
HOSTILE = [
    PICTURE,
    "[name](https://example.invalid)",
    "<img src=https://example.invalid/seen.png>",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "$x^2$ costs $5",
    ":red[text] :material/home: :smile:",
    "a_b*c*`d`~~e~~",
    "    code",
    "a\n\nb",
    "&lt; \\",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_of_a_text_is_that_text(text: str) -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(to_markdown(text))
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in tokens[1].children or []) == " ".join(text.split())


@given(st.text(max_size=30).filter(lambda text: text.split()))
def test_so_is_that_of_any_text(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(to_markdown(text))
    shown = "".join(child.content for child in tokens[1].children or [])
    assert shown.replace("\ufffd", "\0") == " ".join(text.split()).replace("\ufffd", "\0")


def calls(file: Path) -> set[str]:
    """The names of the methods that a file calls, but for those of a page's `address`."""
    tree = ast.parse(file.read_text())
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = [f for f in functions if isinstance(f, ast.Attribute)]
    return {f.attr for f in methods if ast.unparse(f.value) != "address"}


def test_pages_take_widgets_from_widgets_alone() -> None:
    files = [f for f in DASHBOARD.rglob("*.py") if f.name != "widgets.py"]
    assert len(files) > 15
    found = {f.name: calls(f) & SHOW_MARKDOWN for f in files}
    assert {name: shown for name, shown in found.items() if shown} == {}
    assert "segmented_control" in calls(DASHBOARD / "widgets.py")


def test_the_names_of_a_learning_curve_are_no_markdown(home: Path) -> None:
    """They come from the store, which others may write."""
    home.mkdir()
    database = fill(f"sqlite:///{home / 'results.db'}", 24, home)
    (done, *_) = [c for c in database.read_cells("done")]
    with database.engine.connect() as connection:
        stages = read_graph(connection, done["label"])
    for stage in stages.values():
        folder = home / "store" / stage.folder
        if folder.is_dir():
            rows = [{"step": s, PICTURE: 1.0 / (s + 1), "$a_b": 2.0} for s in range(3)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "history.jsonl").write_text(text)
    database.engine.dispose()
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["page"] = "cell"
    app.query_params["key"] = done["label"][:16]
    app.run()
    assert not app.exception
    options = [o.content for group in app.get("button_group") for o in group.proto.options]
    assert to_markdown(PICTURE) in options
    assert "\\$a\\_b" in options
    assert PICTURE not in options
