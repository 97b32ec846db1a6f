"""The user guide: pictures of every component, and Python blocks that parse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.contracts import registry
from tests.links import find_dead_links

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md")) + sorted((DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("kind", ["crop", "method"])
def test_every_component_has_a_picture_and_its_first_line(kind: str) -> None:
    """After a change: python docs/draw_pictures.py."""
    page = (DOCS / "pictures.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", page, re.M | re.S))
    for name in registry.names(kind):
        text = " ".join(sections[name].split())
        assert text.startswith(registry.entry(kind, name).summary)
        if name != "random_init":
            (place,) = re.findall(r"\]\((pictures/[\w-]+\.png)\)", text)
            assert 500 < (DOCS / place).stat().st_size < 60_000


def test_every_task_is_on_the_page_of_pictures() -> None:
    page = " ".join((DOCS / "pictures.md").read_text().split())
    for name in registry.names("task"):
        assert f"- `{name}`: {registry.entry('task', name).summary}" in page


def test_no_picture_is_left_over() -> None:
    page = (DOCS / "pictures.md").read_text()
    assert {p.name for p in (DOCS / "pictures").iterdir()} == set(
        re.findall(r"\]\(pictures/([\w-]+\.png)\)", page)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_code_blocks_say_whether_they_run_and_parse(page: Path) -> None:
    """CI runs what is marked bash or python; the rest is text that a sentence explains."""
    kinds = re.findall(r"^ *```(\w*)", page.read_text(), re.M)
    assert set(kinds[::2]) <= {"bash", "python", "text", "bibtex", "json", "yaml", "toml"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        compile(block, str(page), "exec")


@pytest.mark.parametrize("book", sorted(DOCS.rglob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_are_kept_as_they_ran_without_paths_of_a_machine(book: Path) -> None:
    """CI runs them; the site shows what is kept."""
    cells = json.loads(book.read_text())["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not re.search(r"/(tmp|root|home)/", book.read_text())
    for cell in cells:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), str(book), "exec")


def test_the_guide_has_every_environment_variable_of_ours() -> None:
    """Those whose names the code has in full."""
    root = DOCS.parent
    files = [f for p in ("bench", "dashboard") for f in (root / p).rglob("*.py")]
    code = "".join(file.read_text() for file in files)
    used = set(re.findall(r"[\"'](BENCH_[A-Z]+(?:_[A-Z]+)*)[\"']", code))
    page = (DOCS / "environment.md").read_text()
    assert used
    assert {name for name in used if f"`{name}`" not in page} == set()


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="sub/">1</a><a href="sub/#there">2</a><a href="sub/#gone">3</a>'
        '<a href="https://example.org/x">4</a><img src="no.png"><a href="#top" id="top">5</a>'
    )
    (tmp_path / "sub" / "index.html").write_text('<p id="there"></p><a href="../">6</a>')
    assert find_dead_links(tmp_path) == ["index.html: no.png", "index.html: sub/#gone"]
