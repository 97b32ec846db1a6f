"""The base of crops, methods, proposals, tasks and datasets: a file, a class, its Params, its
scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from bench.contracts.needs import Needs
from bench.core.params import Params

SCALES = ("tiny", "small", "paper")


class Component:
    """One file, one subclass. The registry sets `name` (the file's name); `kind` comes from the
    base.

    `version` is raised when the component's meaning changes (it is part of every key the component
    enters). `scales` names overrides of `Params` per scale. At `paper` the defaults hold but for
    what `scales["paper"]` says: settings added later, whose default must stay out of older keys.
    """

    kind: str
    name: str
    version: int = 1
    Params: type[Params] = Params
    scales: dict[str, dict[str, Any]] = {}
    usual: bool = False  # `bench sweep` takes it where none of its kind is named; not inherited
    source: str = ""  # digest of the source of a class without a file (`bench.register`)
    sweeps: tuple[str, ...] = ()  # settings whose bare name means its own there; not inherited

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

    @classmethod
    def figures(cls) -> dict[str, str]:
        """The figures of `bench.figures` that this component can show: name -> "module:function",
        the runner of the stage that makes what the figure is drawn from. The runner is a text
        because the stage records it."""
        return {}

    @classmethod
    def peer(cls) -> Callable[..., Any] | None:
        """What `bench perf` measures this component against; None where there is nothing.

        The function is imported here and not at the top of the component's file, so that planning
        stays fast. What it takes and returns depends on the kind:

        - method: (method, network) -> the method in another library's modules
          (`bench.measure.training_speed.Peer`);
        - proposals: () -> list of `bench.measure.timing.Race`;
        - task: (scale) -> list of `bench.measure.evaluation_speed.Work`.

        Raises BadInput where the other library is not installed.
        """
        return None

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        """What a component with these params needs of its data set, so that a plan says what
        cannot work."""
        return Needs()

    def identity(self) -> dict[str, Any]:
        """What a key records of this component."""
        record = {"name": self.name, "version": self.version, "params": self.params.identity()}
        return {**record, "source": self.source} if self.source else record
