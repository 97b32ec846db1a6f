"""Weights & Biases: one run for each stage, offline where nobody is logged in. Trouble with it
never fails a stage."""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.contracts.tracker import NullTracker, Tracker
from bench.core.redact import redact


def wandb_mode() -> str:
    """WANDB_MODE where it is set; else "online" where an API key is at hand, or "offline". It asks
    no server."""
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return mode
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        host = netrc.netrc().authenticators("api.wandb.ai")
    except (OSError, netrc.NetrcParseError):
        host = None
    return "online" if host else "offline"


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
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            init_timeout=30,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bench"),
            dir=str(self.folder),
            mode=cast(Any, wandb_mode()),
            resume="allow",
            settings=settings,
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
        if self.run is None or wandb_mode() != "online":
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
