"""Figures and pictures of the papers, one file each; `bench figure NAME` and the dashboard draw
the same.

The first paragraph of a file's docstring is its summary. A figure's file has

    SOURCE   the paper's figure, as people cite it
    OPTIONS  which options of `bench figure` it takes
    draw(content) -> matplotlib Figure, from plain data

and one of

    collect(connection, ask) -> content    read from the results database at once
    stage(ask) -> Stage                    computed once and kept in the store (kind "figure")

A figure of the database that the dashboard shows to the touch also has

    describe(content) -> str               what it shows in a sentence or two, for those who
                                           cannot see it
    list_rows(content) -> (heads, rows)    its points as a table, with full precision

The stage's runner writes the content with `save`, and `load` reads it. What belongs to a component
is made by that component: its `figures()` name the runner.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

from bench.core.errors import unknown


def names() -> list[str]:
    """Every figure: the files that name a source, found without importing them."""
    files = Path(__file__).parent.glob("[!_]*.py")
    return sorted(f.stem for f in files if "\nSOURCE = " in f.read_text(encoding="utf-8"))


def summary(name: str) -> str:
    """The first paragraph of the file's docstring, without importing it."""
    text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    first = re.match(r'\s*"""(.*?)(?:\n\n|""")', text, re.DOTALL)
    return " ".join(first.group(1).split()) if first else ""


def figure(name: str) -> ModuleType:
    """The figure's module; an unknown name is an error with the nearest one."""
    if name not in names():
        raise unknown("figure", name, names(), "bench figure list")
    return importlib.import_module(f"bench.figures.{name}")
