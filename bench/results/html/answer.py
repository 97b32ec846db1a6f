"""Which crop? The effect of each crop beside whole images, in a line and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from bench.results.html.pieces import Markup, table
from bench.results.views.board import Board
from bench.results.views.crop_effects import ALL, BASE, CropEffect
from bench.results.views.differences import verdict

Effects = Mapping[str, Mapping[str, CropEffect]]
NOTE = (
    f"Points above or below the crop {BASE} of the same method, settings and seeds, as the mean "
    "over methods. ± is the t-interval over methods; all intervals of this table hold together "
    "with 95 % (Bonferroni). One method says nothing about others, so it has no interval. "
    "Methods, and the seeds that all pairs share, are below each number."
)
KINDS = {"better": "b-good", "worse": "b-bad"}


def answer(board: Board, effects: Effects) -> str:
    """Which crops are better than whole images over all tasks shown, in a sentence; "" where no
    crop can be compared with them."""
    over = {crop: row[ALL] for crop, row in effects.items() if ALL in row}
    if not over:
        return ""
    groups: dict[str, list[str]] = {}
    for crop, effect in over.items():
        word = verdict(effect.gap)
        number = f" {_format_gap(effect)}" if word in KINDS else ""
        groups.setdefault(word, []).append(f"{crop}{number}")
    tasks = len({key for row in effects.values() for key in row if key != ALL})
    parts = [
        f"{text} {_join(groups[word])}"
        for word, text in (
            ("better", "better are"),
            ("worse", "worse are"),
            ("not distinguishable", "not distinguishable are"),
            ("unknown", "unknown (one method) are"),
        )
        if word in groups
    ]
    where = f"the mean over {tasks} tasks" if tasks > 1 else "the one task shown"
    most = max(len(e.methods) for e in over.values())
    methods = f"{most} method{'s' if most > 1 else ''}"
    return f"Which crop? Beside {BASE}, in {where} and with up to {methods}: {'; '.join(parts)}."


def _join(names: list[str]) -> str:
    """`a, b and 3 more`."""
    shown = names[:4]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def effects_table(board: Board, effects: Effects) -> str:
    """A row per crop, the best mean over tasks first; a column per task."""
    columns = [c for c in board.columns if any(c.key in row for row in effects.values())]
    rows = [
        (crop, *(_show_effect(row.get(key)) for key in (ALL, *(c.key for c in columns))))
        for crop, row in effects.items()
    ]
    heads = (
        "crop",
        "mean over tasks",
        *(Markup(f"{escape(c.title)}<small>{escape(c.headline)}</small>") for c in columns),
    )
    return table(heads, rows, numbers=range(1, len(heads)), kind="effects")


def _show_effect(effect: CropEffect | None) -> str:
    """`+1.2 ±0.4 better`, and below it `3 methods, 3 seeds`."""
    if effect is None:
        return "-"
    word, n = verdict(effect.gap), len(effect.methods)
    seeds = len(effect.gap["seeds"])
    counts = f"{n} method{'s' if n > 1 else ''}, {seeds} seed{'' if seeds == 1 else 's'}"
    shown = f"{_format_gap(effect)} {word}" if word in KINDS else _format_gap(effect)
    doubt = "" if word in KINDS else f"<small>{word}</small>"
    mark = KINDS.get(word, "")
    return Markup(f'<span class="{mark}">{shown}</span>{doubt}<small>{counts}</small>')


def _format_gap(effect: CropEffect) -> str:
    half = "" if effect.gap["ci95"] is None else f" ±{effect.gap['ci95']:.1f}"
    return f"{effect.gap['mean']:+.1f}{half}"
