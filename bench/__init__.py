"""bench: every crop x every SSL method x every downstream task.

The Python API, of which the command line is a thin layer:

>>> import bench
>>> plan = bench.plan(method="byol", crop="gt,grid", task="knn", seeds=range(2))
>>> len(plan.cells)
4

`run` makes cells, `plan` says what a run would make, `sweep` searches a setting; `leaderboard`,
`results` and `crop_stats` return pandas tables; `load_backbone` returns a network, `views` what a
network sees, `figure` a figure of the papers; `register` takes a component from a notebook. Errors
are exceptions of one family, `BenchError`. Nothing heavy is imported before it is needed.

`plan`, `results`, `sweep` and `views` are packages of the code too. They can be called.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_ROOMS = {  # functions that share their name with a package of the code -> where they are
    "plan": "bench.api.planning",
    "results": "bench.api.tables",
    "sweep": "bench.api.sweeping",
    "views": "bench.api.seeing",
}
_PLACES = {
    **_ROOMS,
    "run": "bench.api.running",
    "Results": "bench.api.running",
    "CellResult": "bench.api.running",
    "CellsFailed": "bench.api.running",
    "Forecast": "bench.api.planning",
    "SweepResult": "bench.api.sweeping",
    "leaderboard": "bench.api.tables",
    "crop_stats": "bench.api.crops",
    "load_backbone": "bench.api.networks",
    "View": "bench.api.seeing",
    "figure": "bench.api.drawing",
    "register": "bench.contracts.registering",
    "BenchError": "bench.core.errors",
    "BadInput": "bench.core.errors",
    "BadData": "bench.core.errors",
    "Unsupported": "bench.core.errors",
    "StageFailed": "bench.core.errors",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _CallableRoom(ModuleType):
    # A package that can be called like the function of the same name, whose docstring it shows.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    @property
    def __wrapped__(self) -> Any:
        """The function, whose signature `inspect.signature` shows."""
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_ROOMS[name]), name)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.__wrapped__.__doc__  # type: ignore[no-any-return]


class _Package(ModuleType):
    """This package: the rooms that have a function's name become callable when the import system
    sets them."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _ROOMS and isinstance(value, ModuleType):
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
