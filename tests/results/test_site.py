"""`bench leaderboard --html`: a page that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.core.errors import BadInput
from bench.results.html.answer import answer
from bench.results.html.site import Plot, Section, write_site
from bench.results.views.crop_effects import list_crop_effects
from tests.dashboard.populate import fill
from tests.dashboard.test_board import board, entry
from tests.results.test_crop_effects import filled

EVIL = '"><img src=x onerror=alert(1)>'


class Reader(HTMLParser):
    """Tags with their attributes, and whether all of them are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())


def page(**changes: str) -> str:
    name = changes.get("name", "byol")
    shown = board(entry(name, values=(50.0, 52.0)), entry(name, values=(53.0, 56.0), crop="gt"))
    plot = Plot(changes.get("title", "Plot"), b"<svg/>", name, ("a", "b"), [(name, 1.0)])
    return write_site([Section(name, shown, [plot])], [], "1.2")


def test_the_page_is_whole_and_asks_nobody() -> None:
    reader = Reader(page())
    assert reader.open == []
    places = [v for _, a in reader.tags for k, v in a.items() if k in ("src", "href", "action")]
    assert places
    assert all(str(p).startswith(("data:image/svg+xml;base64,", "#board")) for p in places)
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in reader.tags}
    assert "url(" not in page()
    assert "@import" not in page()


def test_a_browser_may_run_this_script_and_fetch_nothing() -> None:
    written = page()
    (script,) = re.findall(r"<script>(.*?)</script>", written, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in written
    assert "default-src 'none'" in written


def test_names_are_text_and_the_same_results_are_the_same_page() -> None:
    written = page(name=EVIL, title=EVIL)
    assert EVIL not in written
    reader = Reader(written)
    assert reader.open == []
    assert [a for t, a in reader.tags if t == "img" and "onerror" in a] == []
    assert written == page(name=EVIL, title=EVIL)


def test_it_has_the_numbers_the_matrix_and_the_answer() -> None:
    shown = filled()
    written = write_site([Section("tiny, pretrained on scenes", shown)], [], "1.2")
    said = answer(shown, list_crop_effects(shown))
    assert said == (
        "Which crop? Beside image, in the mean over 2 tasks and with up to 3 methods: better are "
        "gt +2.5 ±1.1; unknown (one method) are grid."
    )
    assert said in written
    assert written.count('class="b heat"') == 4  # two tasks, scores and points above image
    assert ">52.9<" not in written
    assert '<span class="v">53.0</span>' in written  # byol, gt, knn


def test_the_command_writes_it_and_never_over_the_page_of_another(
    home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    fill(f"sqlite:///{home / 'results.db'}", 60, home)
    folder = tmp_path / "out" / "deep"
    run = ["leaderboard", "--html", str(folder)]
    outcome = CliRunner().invoke(cli, run, catch_exceptions=False)
    assert "index.html: 2 boards, " in outcome.output
    written = (folder / "index.html").read_text()
    assert Reader(written).open == []
    assert "small, pretrained on coco" in written
    assert [f.name for f in folder.iterdir()] == ["index.html"]
    one = CliRunner().invoke(cli, [*run, "--task", "knn", "--scale", "small"])
    assert ": 1 board, " in one.output  # its own page it does write again
    (folder / "index.html").write_text("<p>my page</p>")
    with pytest.raises(BadInput, match="was not written by bench leaderboard --html"):
        CliRunner().invoke(cli, run, catch_exceptions=False)
    assert (folder / "index.html").read_text() == "<p>my page</p>"
