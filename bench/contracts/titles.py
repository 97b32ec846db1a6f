"""What stages are called in pictures and tables."""

from __future__ import annotations

from bench.core.stage import Stage


def title_of(stage: Stage) -> str:
    """`orl × image` for a pretraining; for a file of weights `weights` and its key's start."""
    crop = stage.params.get("crop", {}).get("name")
    return f"{stage.name} × {crop}" if crop else f"{stage.name} {stage.short}"
