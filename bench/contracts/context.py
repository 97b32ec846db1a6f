"""What a stage's runner receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from bench.contracts.tracker import NullTracker, Tracker
from bench.core.errors import BadData
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.seeds import seed_for
from bench.core.stage import Stage
from bench.core.store import SCRATCH

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet

# (stage, epochs done, epochs, backbone) -> stop
Watch = Callable[["StageContext", int, int, Any], bool]


class _Splits(Protocol):
    """What `images` asks of a `bench.contracts.data.Data`."""

    def load(self, folder: Path, root: Path, split: str) -> ImageSet: ...

    def load_part(self, folder: Path, root: Path, split: str, share: float) -> ImageSet: ...


@dataclass
class StageContext:
    """One stage being made. The runner writes what it has to say into `work`, which becomes the
    stage's folder when the runner returns. `work` survives a kill, so a runner finds its own
    partial files there; whatever lies under `scratch` (checkpoints) is dropped at the end.
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
        from bench.contracts.registry import load

        stage = self.stage.inputs[role]
        root = self.runtime.roots.get(stage.key)
        if root is None:
            raise BadData(
                f"no folder is known for {stage.name} data {stage.short}; "
                f"try: --data {stage.name}=PATH"
            )
        component = load("data", stage.name).from_identity(dict(stage.params["params"]))
        data, folder = cast(_Splits, component), self.inputs[role]
        if "holdout" in stage.params:
            return data.load_part(folder, root, split, stage.params["holdout"])
        return data.load(folder, root, split)
