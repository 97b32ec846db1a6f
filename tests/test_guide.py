"""The user guide: pictures of every component, and Python blocks that parse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.contracts import registry

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
