"""The file tree is the registry: `--crop grid` is the file `methods/crops/grid.py` and
`--method byol` the folder `methods/ssl/byol/`. Components are found by their names and imported
when they are used.

Packages to scan come from the entry-point group `bench.components` (ours are declared there too,
so that this package knows no component by name). A package is either a folder of components named
`ssl`, `crops`, `proposals`, `tasks` or `sets`, or it holds such folders.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from bench.contracts.component import Component
from bench.core.errors import BadInput, unknown

FOLDERS = {
    "ssl": "method",
    "crops": "crop",
    "proposals": "proposals",
    "tasks": "task",
    "sets": "data",
}
PLURAL = {
    "method": "methods",
    "crop": "crops",
    "proposals": "proposals",
    "task": "tasks",
    "data": "data",
}


@dataclass(frozen=True)
class Entry:
    """A component that exists: where it is, and what it says of itself. Not yet imported."""

    kind: str
    name: str
    module: str
    file: Path

    @property
    def summary(self) -> str:
        """The first paragraph of the file's docstring, as one line."""
        with open(self.file, encoding="utf-8") as f:
            start = re.match(
                r'\s*(?:#.*\n)*[rRuU]?"""(.*?)(?:"""|\n\s*\n)', f.read(2000), re.DOTALL
            )
        return " ".join(start.group(1).split()) if start else ""


@cache
def entries() -> dict[tuple[str, str], Entry]:
    """Every component by (kind, name), from file names alone."""
    known: dict[tuple[str, str], Entry] = {}
    for package in sorted({ep.value for ep in entry_points(group="bench.components")}):
        for module, folder in _folders(package):
            for name, file in _components(folder):
                entry = Entry(FOLDERS[folder.name], name, f"{module}.{name}", file)
                other = known.setdefault((entry.kind, entry.name), entry)
                if other.file != entry.file:
                    raise BadInput(
                        f"two components are named {entry.kind} {entry.name!r}: {other.file} and "
                        f"{file}; rename one, or uninstall the package it came with"
                    )
    return known


def _components(folder: Path) -> list[tuple[str, Path]]:
    """(name, file) of each component of a folder: its files, and `__init__.py` of its folders."""
    files = [(file.stem, file) for file in folder.glob("[!_]*.py")]
    packages = [(file.parent.name, file) for file in folder.glob("[!_]*/__init__.py")]
    return sorted([*files, *packages])


def _folders(package: str) -> list[tuple[str, Path]]:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    folders = []
    for root in map(Path, places):
        if root.name in FOLDERS:
            folders.append((package, root))
        folders += [(f"{package}.{n}", root / n) for n in FOLDERS if (root / n).is_dir()]
    return folders


def names(kind: str) -> list[str]:
    """The names of one kind, sorted."""
    return sorted(name for k, name in entries() if k == kind)


def entry(kind: str, name: str) -> Entry:
    """The entry, or an error with the nearest name."""
    try:
        return entries()[kind, name]
    except KeyError:
        raise unknown(kind, name, names(kind), f"bench list {PLURAL[kind]}") from None


@cache
def load(kind: str, name: str) -> type[Component]:
    """Import the component's file and return its one Component subclass, its `name` set."""
    where = entry(kind, name)
    module = importlib.import_module(where.module)
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type)
        and issubclass(c, Component)
        and c.__module__ == module.__name__
        and not c.__name__.startswith("_")
    ]
    if len(classes) != 1 or classes[0].kind != kind:
        raise BadInput(
            f"{where.file} must define exactly one {kind} class, found "
            f"{[c.__name__ for c in classes] or 'none'}; see docs/design/contracts.md"
        )
    classes[0].name = name
    return classes[0]
