"""Python code as parsed: the digest of what a file does, what it imports, and everything that a
module needs inside chosen packages.

What a file does is its syntax tree without positions, so that formatting and comments do not
count. Neither do docstrings, what stands under `if TYPE_CHECKING`, the wording of a `raise` and
the `help` of a `param`: none of them can change a number. Empty fields of the tree are left out,
because newer Pythons add fields that older code leaves empty; expressions that two versions of
Python parse differently (a few f-strings) do have two digests.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from bench.core.collector import collector_off

IGNORED = {"ctx", "kind", "type_comment"}  # fields of nodes that follow from others or say nothing


@dataclass(frozen=True)
class ParsedFile:
    """What a file does, as sha256 hex, and the names it imports.

    imports: absolute dotted names; `from a.b import c` is "a.b.c", whether c is a module of a.b or
    one of its names. Imports inside functions are among them.
    """

    digest: str
    imports: frozenset[str]


def parse(
    text: str | bytes, module: str, is_package: bool, aside: frozenset[str] = frozenset()
) -> ParsedFile:
    """The code of `module`.

    is_package: it is an `__init__.py`, which relative imports depend on. aside: names of class
    methods that do not count, nor what they import.

    A text that is no Python is digested as it stands and imports nothing: who runs it will see
    the error.
    """
    try:
        with collector_off():
            writer = _Writer(aside)
            writer.write(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        raw = text if isinstance(text, bytes) else text.encode()
        return ParsedFile(hashlib.sha256(raw).hexdigest(), frozenset())
    digest = hashlib.sha256("\n".join(writer.parts).encode("utf-8", "surrogatepass")).hexdigest()
    package = module if is_package else module.rpartition(".")[0]
    imports = (name for node in writer.imports for name in _names(node, package))
    return ParsedFile(digest, frozenset(imports))


class _Writer:
    """Writes a tree as text and collects its import statements."""

    def __init__(self, aside: frozenset[str]) -> None:
        self.aside = aside
        self.parts: list[str] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []

    def write(self, node: ast.AST, mute: bool = False) -> None:
        """Append a node and all below it; `mute`: texts in it are only wording."""
        if self._means_nothing(node, mute):
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imports.append(node)
        mute = mute or isinstance(node, ast.Raise) or _is_help(node)
        self.parts.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None and not isinstance(node, ast.Constant):
                continue
            if name in IGNORED or value == [] or (name == "body" and _is_for_types(node)):
                continue
            self.parts.append(name)
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.AST):
                    self.write(each, mute)
                else:
                    self.parts.append(repr(each))
        self.parts.append(")")

    def _means_nothing(self, node: ast.AST, mute: bool) -> bool:
        """Is it a docstring (or another constant on a line of its own), imports for types alone,
        a class method that is left aside, or wording?"""
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Constant)
        if isinstance(node, ast.If):
            return _is_for_types(node) and not node.orelse
        if isinstance(node, ast.FunctionDef):
            return node.name in self.aside and any(map(_is_classmethod, node.decorator_list))
        return mute and isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_for_types(node: ast.AST) -> bool:
    """Is it `if TYPE_CHECKING:`?"""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _is_classmethod(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "classmethod"


def _is_help(node: ast.AST) -> bool:
    """Is it the `help="..."` of a call?"""
    return isinstance(node, ast.keyword) and node.arg == "help"


def _names(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[str]:
    """The absolute dotted names of an import statement in a module of `package`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([node.module] if node.module else [])])
    yield from (f"{base}.{alias.name}" for alias in node.names)


@lru_cache(maxsize=4096)
def _parsed(file: Path, stamp: tuple[int, int], module: str, aside: frozenset[str]) -> ParsedFile:
    """`parse` of a file, once for each of its states (`stamp`: time of change and size)."""
    if file.suffix == ".py":
        return parse(file.read_bytes(), module, file.name == "__init__.py", aside)
    return ParsedFile(hashlib.sha256(file.read_bytes()).hexdigest(), frozenset())


@dataclass(frozen=True)
class _Place:
    """Where a module is: its file (None: a folder without `__init__.py`), and its folders if it is
    a package."""

    file: Path | None
    folders: tuple[Path, ...] = ()


class SourceTree:
    """The code of some packages as it lies on disk now: each file is looked at once, so that one
    tree gives one answer however long it lives. Nothing is imported.

    packages: names of the top-level packages whose modules are followed. closed: modules that are
    not entered by an import, "a.b" for that module and "a.b.*" for it and all below it.
    aside: class methods that do not count (`parse`).
    """

    def __init__(
        self, packages: Iterable[str], closed: Iterable[str] = (), aside: Iterable[str] = ()
    ) -> None:
        self._packages, self._closed = frozenset(packages), frozenset(closed)
        self._aside = frozenset(aside)
        self._places: dict[str, _Place | None] = {}
        self._files: dict[tuple[Path, str], ParsedFile | None] = {}
        self._targets: dict[str, frozenset[str]] = {}

    def closure(self, roots: Iterable[str]) -> dict[str, str]:
        """The digest of every file, by the module's name, that the modules `roots` need: they
        themselves, every file of a root that is a package, and whatever those import, directly or
        not. Roots may be closed modules; one that does not exist is left out.

        The packages on the way to a module ("a" and "a.b" of "a.b.c") do not count unless they are
        imported themselves.
        """
        digests: dict[str, str] = {}
        waiting: list[str] = []
        for root in roots:
            waiting.append(root)
            place = self._locate(root)
            for name, file in _files_of(root, place.folders if place else ()):
                parsed = self._read(file, name)
                if parsed is not None:
                    digests[name] = parsed.digest
                    waiting += self._followed(name, parsed)
        seen: set[str] = set()
        while waiting:
            module = waiting.pop()
            if module in seen:
                continue
            seen.add(module)
            place = self._locate(module)
            parsed = self._read(place.file, module) if place and place.file else None
            if parsed is not None:
                digests[module] = parsed.digest
                waiting += self._followed(module, parsed)
        return digests

    def _followed(self, module: str, parsed: ParsedFile) -> frozenset[str]:
        """The modules that a file imports and that are to be entered."""
        if module not in self._targets:
            names = (self._module_of(name) for name in parsed.imports)
            self._targets[module] = frozenset(n for n in names if n and not self._is_closed(n))
        return self._targets[module]

    def _module_of(self, name: str) -> str | None:
        """The module that an imported name is or lies in; None outside the packages."""
        if name.partition(".")[0] not in self._packages:
            return None
        while name and self._locate(name) is None:
            name = name.rpartition(".")[0]
        return name or None

    def _is_closed(self, module: str) -> bool:
        if module in self._closed:
            return True
        parts = module.split(".")
        return any(".".join([*parts[:n], "*"]) in self._closed for n in range(1, len(parts) + 1))

    def _locate(self, module: str) -> _Place | None:
        """Where a module is, from the names of files alone; None where there is none."""
        if module not in self._places:
            self._places[module] = self._look_for(module)
        return self._places[module]

    def _look_for(self, module: str) -> _Place | None:
        parent, _, name = module.rpartition(".")
        if not parent:
            return _top_level(module)
        above = self._locate(parent)
        for folder in above.folders if above else ():
            package = folder / name
            if (package / "__init__.py").is_file():
                return _Place(package / "__init__.py", (package,))
            if package.with_name(f"{name}.py").is_file():
                return _Place(package.with_name(f"{name}.py"))
        folders = tuple(f / name for f in (above.folders if above else ()) if (f / name).is_dir())
        return _Place(None, folders) if folders else None

    def _read(self, file: Path, module: str) -> ParsedFile | None:
        """The parsed file; None where it cannot be read."""
        marker = file, module
        if marker not in self._files:
            try:
                state = file.stat()
                stamp = state.st_mtime_ns, state.st_size
                self._files[marker] = _parsed(file, stamp, module, self._aside)
            except OSError:
                self._files[marker] = None
        return self._files[marker]


def _top_level(package: str) -> _Place | None:
    """Where a top-level package or module is; it is not imported."""
    try:
        spec = find_spec(package)
    except ValueError:  # what is imported under that name has no file
        return None
    if spec is None:
        return None
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return _Place(file, tuple(Path(p) for p in spec.submodule_search_locations or ()))


def _files_of(root: str, folders: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """(name, file) of every file in the folders of a package: a module's dotted name, or the path
    of another file below the folder after a slash."""
    for folder in folders:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            parts = file.relative_to(folder).parts
            if any(part.startswith(".") or part == "__pycache__" for part in parts):
                continue
            if file.suffix == ".py":
                names = [*parts[:-1], *([] if file.stem == "__init__" else [file.stem])]
                yield ".".join([root, *names]), file
            else:
                yield f"{root}/{'/'.join(parts)}", file
