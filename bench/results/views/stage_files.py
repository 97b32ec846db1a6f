"""What a stage left in its folder: learning curves, scores of classes, summaries. Reads only; a
file that is missing or torn is an empty answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.home import home_folder
from bench.core.statistics import is_number
from bench.results.views.lineage import StageInfo

KINDS = {"bbox", "segm", "keypoints"}  # outer keys of COCO's scores


def find_stage_folder(stage: StageInfo, home: Path | None = None) -> Path | None:
    """The stage's committed folder in the store, or None where it is not (any more)."""
    root = ((home or home_folder()) / "store").resolve()
    folder = (root / stage.folder).resolve()
    return folder if folder.is_relative_to(root) and folder.is_dir() else None


def read_learning_curve(folder: Path) -> list[dict[str, float]]:
    """The rows of `history.jsonl`, then those of `probe.jsonl`: {step, figure: value}; lines that
    are half-written and values that are no finite numbers are left out."""
    rows = []
    texts = [_read_text(folder / name) for name in ("history.jsonl", "probe.jsonl")]
    for line in "\n".join(texts).splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and is_number(row.get("step")):
            rows.append({k: v for k, v in row.items() if is_number(v)})
    return rows


def read_class_scores(folder: Path) -> dict[str, dict[str, float]]:
    """{class: {score: value in percent}} from `per_class.json`, however the task nests it."""
    content = _read_json(folder / "per_class.json")
    if set(content) <= KINDS:
        classes: dict[str, dict[str, float]] = {}
        for kind, scores in content.items():
            for name, value in scores.items() if isinstance(scores, dict) else ():
                if is_number(value):
                    classes.setdefault(name, {})[f"AP_{kind}"] = value
        return classes
    return {
        name: {k: v for k, v in scores.items() if is_number(v)}
        if isinstance(scores, dict)
        else {"score": scores}
        for name, scores in content.items()
        if isinstance(scores, dict) or is_number(scores)
    }


def read_summary(folder: Path) -> dict[str, Any]:
    """`summary.json` of a training: steps, samples, images per second, device."""
    return _read_json(folder / "summary.json")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(path))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
