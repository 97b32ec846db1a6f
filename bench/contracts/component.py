"""The base of crops, methods, proposals, tasks and datasets: a file, a class, its Params, its
scales."""

from __future__ import annotations

from typing import Any, Self

from bench.core.params import Params

SCALES = ("tiny", "small", "paper")


class Component:
    """One file, one subclass. The registry sets `name` (the file's name); `kind` comes from the
    base.

    `version` is raised when the component's meaning changes (it is part of every key the component
    enters). `scales` names overrides of `Params` per scale; `paper` is the defaults.
    """

    kind: str
    name: str
    version: int = 1
    Params: type[Params] = Params
    scales: dict[str, dict[str, Any]] = {}
    usual: bool = False  # `bench sweep` takes it where none of its kind is named; not inherited
    sweeps: tuple[str, ...] = ()  # settings whose bare name means its own there; not inherited
    # name in bench/figures -> "module:function", the runner of a stage that makes what it is drawn
    # from
    figures: dict[str, str] = {}
    peer: str = ""  # "module:function": the plain way that `bench perf` measures against

    def __init__(self, params: Any) -> None:
        self.params = params

    @classmethod
    def resolve(cls, scale: str, overrides: dict[str, Any] | None = None) -> Self:
        """The component at `scale` with `overrides` (field -> value) on top."""
        return cls(cls.Params.build(cls.name, cls.scales.get(scale, {}), overrides or {}))

    @classmethod
    def from_identity(cls, params: dict[str, Any]) -> Self:
        """The component again from `identity()["params"]`, as a stage's runner receives it."""
        return cls(cls.Params(**params))

    def identity(self) -> dict[str, Any]:
        """What a key records of this component."""
        return {"name": self.name, "version": self.version, "params": self.params.identity()}
