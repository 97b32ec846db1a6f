"""Who imports whom in this repository: modules, rooms, their floors, circles and upward imports.

Every import counts, at the top of a file, in a function or under TYPE_CHECKING.
`python -m tests.house [ROOT]` prints the numbers.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "methods", "tasks", "dashboard")
# A room imports only from rooms that stand before it; rooms of one line are peers, which do not
# import each other. docs/design/README.md says what each is for.
FLOORS = (
    ("core",),
    ("contracts",),
    ("views",),
    ("data", "nn"),
    ("stages",),
    ("plan",),
    ("results",),
    ("launch",),
    ("sweep", "figures", "measure"),
    ("api", "conformance"),
    ("cli",),
)
ABOVE = {  # what the packages beside bench may import
    "methods": {"core", "contracts", "views", "data", "nn", "stages", "figures", "measure"},
    "tasks": {"core", "contracts", "views", "data", "nn", "stages", "figures", "measure"},
    "dashboard": {"results", "figures"},
}


@dataclass(frozen=True)
class Import:
    """`importer` (a module) imports `target` (a module), in line `line`."""

    importer: str
    target: str
    line: int


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the four packages by name."""
    found = {}
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(root: Path = ROOT) -> list[Import]:
    """Every import of one module of the four packages by another."""
    known = modules(root)
    return [
        Import(name, target, line)
        for name, file in known.items()
        for target, line in _targets(name, ast.parse(file.read_text(encoding="utf-8")), known)
        if target != name
    ]


def _targets(name: str, tree: ast.AST, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in known:
                    yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = known[name].name == "__init__.py"
                base = name.split(".")[: len(name.split(".")) - node.level + package]
                module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{module}.{alias.name}"
                if full in known or module in known:
                    yield (full if full in known else module), node.lineno


def room(module: str) -> str:
    """The room of a module: the folder below `bench`, or one of the other packages."""
    first, *rest = module.split(".")
    return (rest[0] if rest else "bench") if first == "bench" else first


def upward(root: Path = ROOT) -> list[Import]:
    """The imports that the order of the rooms forbids. `bench` itself is above all rooms; all may
    read its version."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    found = []
    for item in imports(root):
        importer, target = room(item.importer), room(item.target)
        if importer in (target, "bench") or target == "bench":
            continue
        if importer in ABOVE:
            allowed = target in ABOVE[importer]
        else:
            allowed = floor.get(target, 99) < floor.get(importer, -1)
        if not allowed:
            found.append(item)
    return found


def circles(root: Path = ROOT) -> list[list[str]]:
    """Groups of modules that import each other in a circle, directly or through others. That a
    package imports its own parts to offer their names is no circle with what its parts import of
    each other."""
    graph: dict[str, set[str]] = {}
    for item in imports(root):
        graph.setdefault(item.importer, set()).add(item.target)
    return sorted(sorted(group) for group in _strong(graph) if len(group) > 1)


def _strong(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of a graph (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            groups.append(set(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return groups


def rooms_and_floors(root: Path = ROOT) -> tuple[int, int]:
    """How many rooms there are, and on how many floors: the longest chain of rooms that import
    each other, a circle of rooms counting as one."""
    graph: dict[str, set[str]] = {}
    for item in imports(root):
        importer, target = room(item.importer), room(item.target)
        graph.setdefault(target, set())
        if importer != target:
            graph.setdefault(importer, set()).add(target)
    group_of = {node: i for i, group in enumerate(_strong(graph)) for node in group}
    below: dict[int, set[int]] = {}
    for node, targets in graph.items():
        below.setdefault(group_of[node], set()).update(
            group_of[t] for t in targets if group_of[t] != group_of[node]
        )

    def height(group: int) -> int:
        return 1 + max((height(other) for other in below[group]), default=0)

    return len(graph), max(height(group) for group in below)


def main() -> None:
    """Print the numbers of the house."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    rooms, floors = rooms_and_floors(root)
    print(f"rooms {rooms}, floors {floors}")
    found = circles(root)
    print(f"circles of modules: {len(found)}")
    for group in found:
        print("  " + " ".join(group))
    bad = upward(root)
    print(f"imports upwards or to a peer: {len(bad)}")
    for item in bad:
        print(f"  {item.importer}:{item.line} imports {item.target}")


if __name__ == "__main__":
    main()
