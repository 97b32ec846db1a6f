"""Trackers by name.

What they show lies beside the results database, which is written whether a tracker works or not.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from bench.contracts.tracker import NullTracker, Tracker
from bench.core.errors import BadInput, unknown
from bench.core.params import Runtime
from bench.launch.tracked import TrackedRun

TRACKERS = ("wandb", "tensorboard", "none")


def check_tracker(name: str, source: str) -> str:
    """The name of a tracker that can be used here; BadInput else. source: where it was named."""
    if name not in TRACKERS:
        raise unknown(f"tracker in {source}", name, TRACKERS, "bench run --tracker none ...")
    if name == "tensorboard" and find_spec("tensorboard") is None:
        raise BadInput(
            "the tracker tensorboard needs the package tensorboard; try: pip install "
            "'ssl-crop-bench[tensorboard]', or --tracker none"
        )
    return name


def make_tracker(
    runtime: Runtime, tracked: TrackedRun, note: Callable[[str], None] | None = None
) -> Tracker:
    """The tracker that the runtime names, for one run."""
    if runtime.tracker == "none":
        return NullTracker()
    if runtime.tracker == "tensorboard":
        from bench.launch.tensorboard import TensorBoardTracker

        return TensorBoardTracker(tracked, runtime, note)
    from bench.launch.wandb import WandbTracker

    return WandbTracker(tracked, runtime, note)


def tag_runtime(runtime: Runtime, *tags: str) -> Runtime:
    """The same runtime with further tags of every tracked run."""
    return runtime.model_copy(update={"wandb_tags": (*runtime.wandb_tags, *tags)})
