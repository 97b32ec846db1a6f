"""Methods x crops of a task as an HTML table, its cells coloured by their numbers."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, Literal

from bench.results.html.board import SIGNS
from bench.results.html.pieces import frame_table, hint_attributes
from bench.results.views.board_text import format_number
from bench.results.views.commands import compact_seeds
from bench.results.views.crop_effects import BASE
from bench.results.views.crop_matrix import CropMatrix, MatrixCell
from bench.results.views.differences import verdict
from bench.results.views.entries import Entry
from bench.results.views.marks import MEANINGS

Shade = Literal["score", "gain"]  # what the colours and numbers are: the mean, or above `image`


def matrix_table(
    matrix: CropMatrix, shade: Shade = "score", link: Callable[[Entry], str] = lambda entry: ""
) -> str:
    """The table. `link`: the escaped address of a result, "" for none."""
    heads = "".join(f'<th scope="col" class="num">{escape(crop)}</th>' for crop in matrix.crops)
    body = "".join(
        f'<tr><th scope="row" class="name">{escape(method)}</th>'
        + "".join(_cell(matrix, shade, link, method, crop) for crop in matrix.crops)
        + "</tr>"
        for method in matrix.methods
    )
    head = f'<thead><tr><th scope="col">method</th>{heads}</tr></thead>'
    return frame_table(f'<table class="b heat">{head}<tbody>{body}</tbody></table>')


def explain_matrix(shade: Shade) -> str:
    """What the table's numbers and colours are."""
    if shade == "gain":
        return (
            f"Points above (blue) or below (orange) the crop {BASE} of the same method and "
            "settings, over common seeds. Bold: the 95 % interval leaves out 0; the intervals of "
            "the whole table hold together (Bonferroni)."
        )
    return (
        "Means over seeds, in percent; the stronger the blue, the higher. Marks are those of the "
        "board. Of several settings of a method and crop, the unchanged ones are shown, else "
        "those with most seeds."
    )


def _cell(
    matrix: CropMatrix, shade: Shade, link: Callable[[Entry], str], method: str, crop: str
) -> str:
    cell = matrix.cells.get((method, crop))
    if cell is None:
        return '<td class="cell"></td>'
    hint = describe_cell(matrix, cell)
    number, kinds, share = shade_cell(matrix, shade, cell, crop)
    value, sign = number.partition(" ")[::2]
    text = f'<b class="v">{escape(value)}</b>{escape(sign)}'
    to = link(cell.entry)
    inner = (
        f'<a href="{to}" target="_self"{hint_attributes(hint)}>{text}</a>'
        if to
        else f"<span{hint_attributes(hint)}>{text}</span>"
    )
    return f'<td class="cell {" ".join(kinds)}" style="--share:{share:.3f}">{inner}</td>'


def shade_cell(
    matrix: CropMatrix, shade: Shade, cell: MatrixCell, crop: str
) -> tuple[str, list[str], float]:
    """(number with its sign; classes: "up" or "down" is the colour, "best" is bold; the share of
    the colour, from 0 to 1) of a cell."""
    if shade == "gain" and crop != BASE:
        return _show_gain(matrix, cell)
    text, kinds, share = _show_score(matrix, cell)
    return text, kinds, share if shade == "score" else 0.0


def _show_score(matrix: CropMatrix, cell: MatrixCell) -> tuple[str, list[str], float]:
    low, high = matrix.span
    share = 1.0 if high == low else (cell.mean - low) / (high - low)
    sign = SIGNS.get(cell.mark, "") if cell.mark else ""
    return f"{cell.mean:.1f} {sign}".strip(), ["up", *([cell.mark] if cell.mark else [])], share


def _show_gain(matrix: CropMatrix, cell: MatrixCell) -> tuple[str, list[str], float]:
    gap = cell.gap
    if gap is None:
        return "-", [], 0.0
    share = abs(gap["mean"]) / matrix.reach if matrix.reach else 0.0
    sure = ["best"] if verdict(gap) in ("better", "worse") else []
    return f"{gap['mean']:+.1f}", ["up" if gap["mean"] >= 0 else "down", *sure], share


def describe_cell(matrix: CropMatrix, cell: MatrixCell) -> str:
    """The text that is shown where the pointer is over a cell."""
    n = len(cell.seeds)
    seeds = f"seed{'s' if n > 1 else ''} {compact_seeds(cell.seeds)}"
    text = f"{matrix.column.headline} {format_number(cell.entry)}, n={n} ({seeds})"
    parts = [f"{cell.row.title}: {text}"]
    if cell.gap is not None:
        parts.append(f"{format_gain(cell)} beside {BASE}: {verdict(cell.gap)}")
    parts += [MEANINGS[cell.mark]] if cell.mark else []
    if cell.others:
        parts.append(f"{cell.others} more row{'s' if cell.others > 1 else ''} of other settings")
    return "; ".join(parts)


def format_gain(cell: MatrixCell) -> str:
    """`+1.2 ± 0.4`, the points above the crop `image`; "" where there is nothing to compare."""
    if cell.gap is None:
        return ""
    half = "" if cell.gap["ci95"] is None else f" ± {cell.gap['ci95']:.1f}"
    return f"{cell.gap['mean']:+.1f}{half}"


def describe_matrix(matrix: CropMatrix, shade: Shade) -> str:
    """The matrix in words, for those who cannot see its colours."""
    column, (low, high) = matrix.column, matrix.span
    method, crop = max(matrix.cells, key=lambda at: matrix.cells[at].mean)
    text = (
        f"Heat map of {len(matrix.methods)} methods by {len(matrix.crops)} crops on "
        f"{column.title}: {column.headline} from {low:.1f} to {high:.1f} percent, the highest of "
        f"{method} with {crop}."
    )
    if shade == "gain":
        sure = [verdict(cell.gap) for cell in matrix.cells.values() if cell.gap]
        better, worse = sure.count("better"), sure.count("worse")
        text += f" {better} are better and {worse} worse than {BASE}, of {len(sure)} compared."
    return f"{text} The table below it has all of them."


def _write_full(cell: MatrixCell, shade: Shade, text: str, crop: str) -> str:
    """The number with its interval, its sign and the number of seeds."""
    gains = shade == "gain" and crop != BASE
    number = format_gain(cell) or "-" if gains else format_number(cell.entry)
    sign = "" if gains else text.partition(" ")[2]
    return f"{number} {sign}".strip() + f" ({len(cell.seeds)})"


def list_cells(
    matrix: CropMatrix, shade: Shade, link: Callable[[Entry], str]
) -> list[dict[str, Any]]:
    """A row for each cell, as the chart takes it: `shade` is the share of the colour, below 0 of
    "down"; `full` is the number with its interval and the number of seeds."""
    rows = []
    for (method, crop), cell in matrix.cells.items():
        text, kinds, share = shade_cell(matrix, shade, cell, crop)
        rows.append(
            {
                "method": method,
                "crop": crop,
                "settings": cell.row.note or "-",
                "text": text,
                "full": _write_full(cell, shade, text, crop),
                "bold": "best" in kinds,
                "shade": -share if "down" in kinds else share,
                "mean": format_number(cell.entry),
                "n": len(cell.seeds),
                "seeds": compact_seeds(cell.seeds),
                "gain": format_gain(cell) or "-",
                "about": describe_cell(matrix, cell).partition("; ")[2] or "-",
                "link": link(cell.entry),
            }
        )
    return rows
