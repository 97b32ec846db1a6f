"""Weights & Biases: one run for each stage, offline where nobody is logged in. Trouble with it
never fails a stage, and never stops one for longer than a server's first answer takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.contracts.tracker import NullTracker, Tracker
from bench.core.redact import redact
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


class WandbTracker(Tracker):
    """A W&B run whose id is the stage's key, so that a resumed stage goes on in the same run.

    The run starts at the first figure or picture: a stage that has nothing to say costs nothing
    until `finish`, which leaves its config and summary.
    """

    def __init__(
        self,
        run_key: str,
        name: str,
        group: str,
        job_type: str,
        config: dict[str, Any],
        folder: Path,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.arguments: dict[str, Any] = {
            "id": run_key,
            "name": name,
            "group": group,
            "job_type": job_type,
            "config": config,
        }
        self.folder, self.note = folder, note or (lambda text: None)
        self.run: Any = None
        self.mode: Mode = "offline"
        self.broken = False
        self.step = 0

    def _safely(self, action: Callable[[Any], None]) -> None:
        """Do it with the run, starting it if need be; the first failure switches tracking off."""
        if self.broken:
            return
        try:
            if self.run is None:
                self.run = self._start()
            action(self.run)
        except Exception as error:  # a tracker never fails a run
            self.broken = True
            reason = redact(" ".join(str(error).split()))[:160]
            self.note(
                f"tracking is off for {self.arguments['name']}: {type(error).__name__}: {reason}"
            )

    def _start(self) -> Any:
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
            "they are kept offline; to send them later: wandb sync --include-offline "
            f"{self.folder / 'wandb'}"
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
            "disable_git": True,
            "disable_code": True,
            "save_code": False,
            "init_timeout": INIT_SECONDS,
            "x_disable_stats": True,
            "x_disable_machine_info": True,
        }
        if "finish_timeout" in getattr(wandb.Settings, "model_fields", ()):  # not in older ones
            options["finish_timeout"] = FINISH_SECONDS
        self.folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bench"),
            dir=str(self.folder),
            mode=mode,
            resume="allow",
            settings=wandb.Settings(**options),
            **self.arguments,
        )

    def log(self, figures: dict[str, float], step: int) -> None:
        self.step = max(step, self.step)
        self._safely(lambda run: run.log(dict(figures), step=self.step))

    def image(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        def action(run: Any) -> None:
            import wandb

            # Without a step W&B opens a new one, and drops the figures of the step it closed.
            run.log({name: wandb.Image(picture)}, step=self.step if step is None else step)

        self._safely(action)

    def finish(self, summary: dict[str, Any] | None = None, failed: bool = False) -> None:
        def action(run: Any) -> None:
            run.summary.update(dict(summary or {}))
            run.finish(exit_code=1 if failed else 0)

        self._safely(action)

    @property
    def url(self) -> str | None:
        if self.run is None or self.mode != "online":
            return None  # asking an offline run for its URL prints a warning
        return cast("str | None", getattr(self.run, "url", None))


def make_tracker(mode: str, **run: Any) -> Tracker:
    """The tracker named by `Runtime.tracker`; anything that goes wrong gives a NullTracker and a
    note."""
    if mode == "none":
        return NullTracker()
    try:
        return WandbTracker(**run)
    except Exception as error:  # a tracker never fails a run
        note = run.get("note")
        if note:
            note(f"tracking is off for this stage: {error}")
        return NullTracker()
