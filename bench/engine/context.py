"""What a stage's runner receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BadData
from bench.params import Runtime
from bench.seeds import seed_for
from bench.stage import Stage
from bench.store import SCRATCH
from bench.track.base import NullTracker, Tracker

if TYPE_CHECKING:
    from bench.data.base import ImageSet

Advance = Callable[..., None]
Watch = Callable[["StageContext", int, int, Any], bool]  # (stage, epochs done, epochs, backbone) -> stop


class Progress:
    """Silent progress; the terminal's version (`bench.cli._progress`) overrides `task`."""

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        """A bar of `total` steps, `done` of them already; returns advance(n=1, **figures)."""
        return lambda n=1, **figures: None

    def drop(self, advance: Advance) -> None:
        """Take the bar of `advance` away, finished or not."""

    def note(self, text: str) -> None:
        """A line for the user."""


@dataclass
class StageContext:
    """One stage being made. The runner writes what it has to say into `work`, which becomes the stage's
    folder when the runner returns. `work` survives a kill, so a runner finds its own partial files there;
    whatever lies under `scratch` (checkpoints) is dropped at the end.
    """

    stage: Stage
    work: Path
    inputs: Mapping[str, Path]
    runtime: Runtime
    progress: Progress = field(default_factory=Progress)
    tracker: Tracker = field(default_factory=NullTracker)
    watch: Watch | None = None  # called after every epoch but the last of a training on one device

    @property
    def params(self) -> Mapping[str, Any]:
        return self.stage.params

    @property
    def scratch(self) -> Path:
        """A folder for resume state; not part of the result."""
        folder = self.work / SCRATCH
        folder.mkdir(exist_ok=True)
        return folder

    def seed(self, purpose: str, *dims: int | str) -> int:
        """`seed_for` on the stage's base seed (`params["seed"]`, else 0)."""
        return seed_for(int(self.params.get("seed", 0)), purpose, *dims)

    def images(self, role: str, split: str) -> ImageSet:
        """A split of the data stage that is input `role`."""
        from bench.registry import load

        stage = self.stage.inputs[role]
        root = self.runtime.roots.get(stage.key)
        if root is None:
            raise BadData(
                f"no folder is known for {stage.name} data {stage.short}; try: --data {stage.name}=PATH"
            )
        data = load("data", stage.name).from_identity(dict(stage.params["params"]))
        if "holdout" in stage.params:
            from bench.data.holdout import load_part

            return load_part(data, self.inputs[role], root, split, stage.params["holdout"])  # type: ignore[arg-type]
        return data.load(self.inputs[role], root, split)  # type: ignore[attr-defined]
