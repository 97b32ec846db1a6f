"""Which code gives a stage its meaning, as a digest: a result whose digest differs from today's
was made by code that has changed since.

That code is the module of the stage's runner, the components that the stage names (every file of a
component's folder), and whatever these import, directly or not, inside bench and the packages that
hold components. A stage's inputs are not among it: they have digests of their own. What is
compared is the parsed code (`bench.core.code`), so formatting, comments and docstrings are free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from bench.contracts.registry import entries
from bench.core.code import SourceTree

SCHEME = "ast1:"  # what a digest means; one that was recorded by another scheme says nothing
DIGITS = 40  # hex digits of a digest: with SCHEME it fits the 64 characters of its column
PARTS = ("method", "crop", "proposals", "task")  # params of a stage that name a component
CLOSED = (  # imports that are not followed: what no number that a stage leaves depends on
    # the rooms that plan, start and show; what they decide about a stage is in its key
    "bench",
    "bench.plan.*",
    "bench.results.*",
    "bench.launch.*",
    "bench.sweep.*",
    "bench.figures.*",
    "bench.measure.*",
    "bench.api.*",
    "bench.conformance.*",
    "bench.cli.*",
    # keys, folders, processes, messages, pictures for people
    "bench.core.code",
    "bench.core.collector",
    "bench.core.errors",
    "bench.core.files",
    "bench.core.identity",
    "bench.core.locks",
    "bench.core.params",
    "bench.core.picture",
    "bench.core.processes",
    "bench.core.progress",
    "bench.core.records",
    "bench.core.relay",
    "bench.core.signals",
    "bench.core.stage",
    "bench.core.store",
    "bench.core.supervisor",
    # how components are declared and found
    "bench.contracts.component",
    "bench.contracts.needs",
    "bench.contracts.planner",
    "bench.contracts.registry",
    "bench.contracts.source",
    "bench.contracts.titles",
    "bench.contracts.tracker",
)
# class methods that say what a component offers besides: figures, a rival to race, sample data,
# and what planning asks
ASIDE = ("annotations", "data_needs", "figures", "peer", "sample")
Components = tuple[tuple[str, str], ...]  # (kind, name) of each


def component_names(kind: str, name: str, params: Mapping[str, Any]) -> Components:
    """(kind, name) of the components that a stage of this kind, name and params is made by: those
    its params name, and its own where it bears a component's name (a data set's)."""
    named = [(p, params[p]["name"]) for p in PARTS if "name" in _mapping(params.get(p))]
    return tuple(dict.fromkeys([*named, *([(kind, name)] if (kind, name) in entries() else [])]))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


class Code:
    """The code that is installed, as it lies on disk when it is first asked for. Keep one for a
    whole plan or board: a question costs microseconds once its files were read."""

    def __init__(self) -> None:
        packages = {entry.module.partition(".")[0] for entry in entries().values()}
        self._tree = SourceTree({"bench", *packages}, CLOSED, ASIDE)
        self._digests: dict[tuple[str, Components], str] = {}

    def closure(self, runner: str, components: Components = ()) -> dict[str, str]:
        """The digest of every file that gives a stage with this runner ("module:function") and
        these components its meaning, by the module's name."""
        known = (entries().get(each) for each in components)  # a weights file's method is none
        modules = [runner.partition(":")[0], *(entry.module for entry in known if entry)]
        return self._tree.closure(modules)

    def digest_of(self, runner: str, components: Components) -> str:
        """`digest` of every stage with this runner and these components."""
        marker = runner, components
        if marker not in self._digests:
            lines = [runner, *sorted(f"{kind} {name}" for kind, name in components)]
            lines += [f"{name} {of}" for name, of in sorted(self.closure(*marker).items())]
            whole = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            self._digests[marker] = SCHEME + whole[:DIGITS]
        return self._digests[marker]

    def digest(self, runner: str, kind: str, name: str, params: Mapping[str, Any]) -> str:
        """ "ast1:" and 40 hex digits over the code that gives a stage its meaning."""
        return self.digest_of(runner, component_names(kind, name, params))

    def state(
        self, runner: str, kind: str, name: str, params: Mapping[str, Any], recorded: str | None
    ) -> str:
        """ "current", "changed" or "unknown": the digest recorded with a stage beside that of the
        installed code. Unknown where none was recorded, or one that was computed differently."""
        if not runner or not recorded or not recorded.startswith(SCHEME):
            return "unknown"
        return "current" if self.digest(runner, kind, name, params) == recorded else "changed"
