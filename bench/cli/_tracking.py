"""The options of commands that track their runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.cli._options import Choices, add_options, shared

if TYPE_CHECKING:
    from bench.api.request import TrackingOptions


def _trackers() -> list[str]:
    from bench.launch.tracking import TRACKERS

    return list(TRACKERS)


TRACKER = shared(
    "--tracker",
    type=Choices("tracker", _trackers),
    help="Where learning curves and pictures are shown: wandb, tensorboard or none. The default "
    "is BENCH_TRACKER, or else wandb, offline unless you are logged in.",
)
WANDB_PROJECT = shared(
    "--wandb-project", metavar="NAME", help="W&B project. The default is WANDB_PROJECT, or bench."
)
WANDB_ENTITY = shared(
    "--wandb-entity", metavar="NAME", help="W&B account or team. The default is WANDB_ENTITY."
)
WANDB_TAGS = shared(
    "--wandb-tags", metavar="TAG[,TAG...]", help="Tags of every tracked run, beside WANDB_TAGS."
)
WANDB_NOTES = shared("--wandb-notes", metavar="TEXT", help="Note of every tracked run.")
WANDB_SYSTEM = shared(
    "--wandb-system/--no-wandb-system",
    default=True,
    show_default=True,
    help="Record the machine, its load, and the git commit with every W&B run.",
)

tracker_options = add_options(
    TRACKER(), WANDB_PROJECT(), WANDB_ENTITY(), WANDB_TAGS(), WANDB_NOTES(), WANDB_SYSTEM()
)


def take_tracking(options: dict[str, Any], *tags: str) -> TrackingOptions:
    """What `tracker_options` say, taken out of a command's options; `tags` are added to those of
    every run."""
    given = (options.pop("wandb_tags") or "").split(",")
    return {
        "tracker": options.pop("tracker"),
        "wandb_project": options.pop("wandb_project") or "",
        "wandb_entity": options.pop("wandb_entity") or "",
        "wandb_notes": options.pop("wandb_notes") or "",
        "wandb_tags": (*(tag for tag in given if tag.strip()), *tags),
        "wandb_system": options.pop("wandb_system"),
    }
