"""The file tree is the registry: `--crop grid` is the file `methods/crops/grid.py` and
`--method byol` the folder `methods/ssl/byol/`. Components are found by their names and imported
when they are used.

Packages to scan come from the entry-point group `bench.components` (ours are declared there too,
so that this package knows no component by name). A package is either a folder of components named
`ssl`, `crops`, `proposals`, `tasks` or `sets`, or it holds such folders.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from bench.contracts.component import Component
from bench.core.errors import BadInput, Unavailable, unknown

GROUP = "bench.components"  # of entry points
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

# what a component must define itself; a generator needs one of the members that a | joins
REQUIRED = {
    "method": ("viewer", "network"),
    "crop": ("sampler",),
    "proposals": ("propose | prepare",),
    "task": ("run", "headline"),
    "data": ("stage", "run", "open_split", "how_to_get"),
}


@dataclass(frozen=True)
class Entry:
    """A component that exists: where it is, and what it says of itself. Not yet imported."""

    kind: str
    name: str
    module: str
    file: Path
    about: str = ""  # the summary of a component that has no file of its own

    @property
    def summary(self) -> str:
        """The first paragraph of the file's docstring, as one line; "unavailable" and why where
        the file cannot be read."""
        if self.about:
            return self.about
        try:
            with open(self.file, encoding="utf-8") as f:
                text = f.read(2000)
        except (OSError, UnicodeError) as error:
            return f"unavailable: {type(error).__name__}: {error}"
        start = re.match(r'\s*(?:#.*\n)*[rRuU]?"""(.*?)(?:"""|\n\s*\n)', text, re.DOTALL)
        return " ".join(start.group(1).split()) if start else ""


# components of this process alone, by (kind, name)
REGISTERED: dict[tuple[str, str], tuple[Entry, type[Component]]] = {}


def find_syntax_error(file: Path) -> str:
    """Why a component's file is no Python, in one line; "" where it is. Nothing is imported."""
    try:
        ast.parse(file.read_bytes(), file.name)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@cache
def entries() -> dict[tuple[str, str], Entry]:
    """Every component by (kind, name), from file names alone."""
    known: dict[tuple[str, str], Entry] = {}
    for package in sorted({ep.value for ep in entry_points(group=GROUP)}):
        for module, folder in _folders(package):
            for name, file in _components(folder):
                entry = Entry(FOLDERS[folder.name], name, f"{module}.{name}", file)
                other = known.setdefault((entry.kind, entry.name), entry)
                if other.file != entry.file:
                    raise BadInput(
                        f"two components are named {entry.kind} {entry.name!r}: {other.file} and "
                        f"{file}; rename one, or uninstall the package it came with"
                    )
    return known | {marker: entry for marker, (entry, _) in REGISTERED.items()}


def refuse_registered(names: Iterable[tuple[str, str]], what: str) -> None:
    """BadInput where one of these (kind, name) is known to this process alone; `what` is done in
    others."""
    for kind, name in names:
        if (kind, name) in REGISTERED:
            raise BadInput(
                f"{kind} {name!r} is registered in this process, and {what} uses others; write it "
                f"to a file: bench new {kind} {name} --package FOLDER"
            )


def add(entry: Entry, cls: type[Component]) -> None:
    """Make a class of this process the component of its entry (`bench.register`)."""
    REGISTERED[entry.kind, entry.name] = entry, cls
    entries.cache_clear()
    load.cache_clear()


def _components(folder: Path) -> list[tuple[str, Path]]:
    """(name, file) of each component of a folder: its files, and `__init__.py` of its folders.
    `bases.py` offers what components of other packages are derived from."""
    files = [(file.stem, file) for file in folder.glob("[!_]*.py")]
    packages = [(file.parent.name, file) for file in folder.glob("[!_]*/__init__.py")]
    return sorted((name, file) for name, file in (*files, *packages) if name != "bases")


def _folders(package: str) -> list[tuple[str, Path]]:
    try:
        spec = importlib.util.find_spec(package)
    except Exception:  # of a package around it, which this imports; its components are not there
        return []
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
    """Import the component's file and return its one Component subclass, its `name` set.

    Unavailable, in one line, where the file cannot be imported for whatever reason, or does not
    define what a component of its kind must.
    """
    where = entry(kind, name)
    if (kind, name) in REGISTERED:
        return REGISTERED[kind, name][1]
    try:
        module = importlib.import_module(where.module)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Unavailable(
            f"{kind} {name!r} is unavailable: {reason}; its file is {where.file}"
        ) from error
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type)
        and issubclass(c, Component)
        and c.__module__ == module.__name__
        and not c.__name__.startswith("_")
    ]
    if len(classes) != 1 or classes[0].kind != kind:
        raise Unavailable(
            f"{kind} {name!r} is unavailable: {where.file} must define exactly one {kind} class, "
            f"found {[c.__name__ for c in classes] or 'none'}; see docs/design/contracts.md"
        )
    missing = find_missing(classes[0])
    if missing:
        raise Unavailable(
            f"{kind} {name!r} is unavailable: {classes[0].__name__} in {where.file} must define "
            f"{', '.join(missing)}; see docs/design/contracts.md"
        )
    classes[0].name = name
    return classes[0]


def find_missing(cls: type[Component]) -> list[str]:
    """What of `REQUIRED` the class neither defines nor inherits from another component."""
    contract = next(c for c in cls.__mro__ if c.__module__.startswith("bench.contracts."))

    def lacks(name: str) -> bool:
        return getattr(cls, name, None) is getattr(contract, name, None)

    return [either for either in REQUIRED[cls.kind] if all(map(lacks, either.split(" | ")))]


def load_all(kind: str) -> tuple[dict[str, type[Component]], dict[str, str]]:
    """Every component of one kind that can be used, and why each of the others cannot."""
    usable: dict[str, type[Component]] = {}
    reasons: dict[str, str] = {}
    for name in names(kind):
        try:
            usable[name] = load(kind, name)
        except Unavailable as error:
            reasons[name] = str(error)
    return usable, reasons
