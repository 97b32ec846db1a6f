"""TensorBoard: a folder of events for each run, under `tensorboard` in BENCH_HOME."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.params import Runtime
from bench.launch.careful import CarefulTracker
from bench.launch.tracked import TrackedRun, clip_tags

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # in BENCH_HOME


class TensorBoardTracker(CarefulTracker):
    """Scalars, pictures and tables of one run; its config and summary are a point of the page
    HPARAMS, whose parallel coordinates compare the runs of a group."""

    def __init__(
        self, tracked: TrackedRun, runtime: Runtime, note: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(tracked, note)
        self.tags = clip_tags((*runtime.wandb_tags, *tracked.tags))
        words = [w for w in (runtime.wandb_notes, tracked.notes) if w]
        self.notes = " ".join([*words, *(f"#{tag}" for tag in self.tags)])
        name = f"{tracked.name.replace('/', '-')}-{tracked.id}"
        self.folder: Path = runtime.home / FOLDER / tracked.group / name
        self.step = 0

    def start(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self.folder))
        if self.notes:
            writer.add_text("notes", self.notes)
        return writer

    def log(self, figures: dict[str, float], step: int) -> None:
        self.step = max(step, self.step)

        def action(writer: SummaryWriter) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, self.step)

        self.safely(action)

    def image(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        at = self.step if step is None else step
        self.safely(lambda writer: writer.add_image(name, picture, at, dataformats="HWC"))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(map(_show, line)) + " |" for line in lines)
        self.safely(lambda writer: writer.add_text(name, text))

    def finish(self, summary: dict[str, Any] | None = None, failed: bool = False) -> None:
        if self.run is None and not summary and not failed:
            return
        metrics = {k: v for k, v in (summary or {}).items() if isinstance(v, int | float)}
        plain = {
            key: value
            for key, value in self.tracked.config.items()
            if isinstance(value, bool | int | float | str)
        }

        def action(writer: SummaryWriter) -> None:
            ended = {"failed": float(failed)}
            writer.add_hparams(plain, {**metrics, **ended}, run_name=".")
            writer.close()

        self.safely(action)


def _show(value: Any) -> str:
    return "" if value is None else str(value)
