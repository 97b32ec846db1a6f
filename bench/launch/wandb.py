"""Weights & Biases: one run for each stage, offline where nobody is logged in. It never stops a
stage for longer than a server's first answer takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from bench.core.params import Runtime
from bench.core.redact import redact
from bench.launch.careful import CarefulTracker
from bench.launch.tracked import TrackedRun, clip_tags
from bench.launch.wandb_login import CLOUD, Mode, Tracking, find_tracking

INIT_SECONDS = 15  # that a server has to answer a new run
FINISH_SECONDS = 60  # that the last figures of a run have to be sent


@dataclass
class _Session:
    """What this process knows of W&B: whether its server failed, and what was said already."""

    offline: bool = False
    said: set[str] = field(default_factory=set)


SESSION = _Session()


@contextmanager
def _environment(mode: Mode) -> Iterator[None]:
    """The environment in which a run is opened: W&B refuses one with a mode or an address that it
    does not know, also where neither is used, and asks for a key in a terminal unless it is
    silent."""
    changed = {"WANDB_MODE": mode, "WANDB_SILENT": "true"}
    if mode != "online":
        changed["WANDB_BASE_URL"] = CLOUD  # not asked
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class WandbTracker(CarefulTracker):
    """A W&B run whose id is that of the tracked run, so that a resumed stage goes on in it."""

    def __init__(
        self, tracked: TrackedRun, runtime: Runtime, note: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(tracked, note)
        self.folder, self.system = runtime.home, runtime.wandb_system
        # an argument replaces what the environment says, so that is joined here
        asked = os.environ.get("WANDB_TAGS", "").split(",")
        words = (runtime.wandb_notes or os.environ.get("WANDB_NOTES", ""), tracked.notes)
        self.arguments: dict[str, Any] = {
            "id": tracked.id,
            "name": tracked.name,
            "group": tracked.group,
            "job_type": tracked.job_type,
            "config": tracked.config,
            "tags": clip_tags((*runtime.wandb_tags, *asked, *tracked.tags)),
            "notes": " ".join(w for w in words if w) or None,
            "project": runtime.wandb_project or os.environ.get("WANDB_PROJECT") or "bench",
            "entity": runtime.wandb_entity or os.environ.get("WANDB_ENTITY") or None,
        }
        self.mode: Mode = "offline"
        self.step = 0

    def start(self) -> Any:
        """A run as `find_tracking` says; offline, in this process from now on, where the server
        does not take it."""
        tracking = find_tracking()
        if tracking.problem:
            self._note_once(f"W&B runs are kept {tracking.mode}: {tracking.reason}")
        self.mode = "offline" if SESSION.offline and tracking.mode == "online" else tracking.mode
        try:
            return self._open_run(self.mode)
        except Exception as error:
            if self.mode != "online":
                raise
            self._give_up(tracking, error)
            return self._open_run(self.mode)

    def _give_up(self, tracking: Tracking, error: Exception) -> None:
        """Keep runs offline from now on."""
        SESSION.offline, self.mode = True, "offline"
        reason = redact(" ".join(str(error).split()))[:160]
        self._note_once(
            f"W&B at {tracking.server} does not take runs ({type(error).__name__}: {reason}); "
            "they are kept offline; to send them later: bench track sync"
        )
        import wandb

        with suppress(Exception):
            wandb.teardown()  # it holds the name of the run

    def _note_once(self, text: str) -> None:
        if text not in SESSION.said:
            SESSION.said.add(text)
            self.note(text)

    def _open_run(self, mode: Mode) -> Any:
        with _environment(mode):
            return self._init_run(mode)

    def _init_run(self, mode: Mode) -> Any:
        import wandb

        options: dict[str, Any] = {
            "silent": True,
            "console": "off",
            "disable_code": True,
            "save_code": False,
            "init_timeout": INIT_SECONDS,
        }
        if not self.system:
            options |= {"disable_git": True, "x_disable_stats": True}
            options["x_disable_machine_info"] = True
        if "finish_timeout" in getattr(wandb.Settings, "model_fields", ()):  # not in older ones
            options["finish_timeout"] = FINISH_SECONDS
        self.folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            dir=str(self.folder),
            mode=mode,
            resume="allow",
            settings=wandb.Settings(**options),
            **self.arguments,
        )

    def log(self, figures: dict[str, float], step: int) -> None:
        self.step = max(step, self.step)
        self.safely(lambda run: run.log(dict(figures), step=self.step))

    def image(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        def action(run: Any) -> None:
            import wandb

            # Without a step W&B opens a new one, and drops the figures of the step it closed.
            run.log({name: wandb.Image(picture)}, step=self.step if step is None else step)

        self.safely(action)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        def action(run: Any) -> None:
            import wandb

            content = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
            run.log({name: content}, step=self.step)

        self.safely(action)

    def finish(self, summary: dict[str, Any] | None = None, failed: bool = False) -> None:
        if self.run is None and not summary and not failed:
            return

        def action(run: Any) -> None:
            run.summary.update(dict(summary or {}))
            run.finish(exit_code=1 if failed else 0)

        self.safely(action)

    @property
    def url(self) -> str | None:
        if self.run is None or self.mode != "online":
            return None  # asking an offline run for its URL prints a warning
        return cast("str | None", getattr(self.run, "url", None))
