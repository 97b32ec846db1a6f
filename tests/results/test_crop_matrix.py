"""Methods x crops of a task."""

from __future__ import annotations

import csv
import io
import re
from html import unescape

import pytest
from scipy import stats

from bench.figures.recorded import draw_matrix
from bench.results.html.matrix import Shade, matrix_table, shade_cell
from bench.results.views.board import Board
from bench.results.views.crop_matrix import (
    CropMatrix,
    list_matrix_columns,
    make_crop_matrix,
    write_matrix_csv,
)
from tests.dashboard.test_board import board, entry


def filled() -> Board:
    return board(
        entry("byol", values=(50.0, 52.0)),
        entry("byol", values=(53.0, 56.0), crop="gt"),
        entry("byol", values=(90.0, 91.0), crop="gt", lr="0.5"),  # better, but changed
        entry("orl", values=(60.0, 61.0)),
        entry("orl", values=(59.0,), crop="grid"),
        entry("mae", values=(70.0, 71.0), dead=True),
        entry("byol", "svm", (80.0,)),
    )


def matrix() -> CropMatrix:
    shown = filled()
    column = next(c for c in shown.columns if c.task == "knn")
    made = make_crop_matrix(shown, column)
    assert made is not None
    return made


def test_a_cell_is_the_row_without_changed_settings_and_never_the_best_one() -> None:
    made = matrix()
    assert made.methods == ("orl", "byol")  # 59.75 and 52.75; mae is dead
    assert made.crops == ("image", "grid", "gt")
    gt = made.cells["byol", "gt"]
    assert (gt.mean, gt.seeds, gt.others) == (54.5, (0, 1), 1)
    assert gt.ci95 == pytest.approx(stats.t.ppf(0.975, 1) * stats.sem([53.0, 56.0]))
    assert ("orl", "gt") not in made.cells
    assert made.span == (51.0, 60.5)


def test_gains_are_paired_with_whole_images_of_the_same_method() -> None:
    made = matrix()
    gain = made.cells["byol", "gt"].gap
    assert gain is not None
    assert (gain["mean"], gain["seeds"]) == (3.5, [0, 1])
    # the only difference with an interval: grid of orl has one common seed
    assert gain["ci95"] == pytest.approx(stats.t.ppf(0.975, 1) * stats.sem([3.0, 4.0]))
    single = made.cells["orl", "grid"].gap
    assert single is not None
    assert (single["mean"], single["ci95"]) == (-1.0, None)
    assert made.cells["orl", "image"].gap is None
    assert made.reach == 3.5


def test_a_task_of_one_row_has_no_matrix() -> None:
    assert [c.task for c in list_matrix_columns(filled())] == ["knn"]
    empty = board(entry("mae", values=(70.0, 71.0), dead=True))
    assert make_crop_matrix(empty, empty.columns[0]) is None


def test_the_table_is_coloured_by_what_it_shows_and_escapes_names() -> None:
    scores = matrix_table(matrix(), "score", lambda e: f"?{e.group}")
    assert scores.count("<a ") == 4
    assert '--share:0.000"><a href="?byolimageknn"' in scores  # the lowest
    assert '--share:1.000"><a href="?orlimageknn"' in scores
    assert "n=2 (seeds 0-1)" in scores
    gains = matrix_table(matrix(), "gain")
    assert '<td class="cell up" style="--share:1.000"><span' in gains
    assert '<td class="cell down" style="--share:0.286"><span' in gains
    assert "<a " not in gains
    evil = board(entry("<b>", values=(1.0,)), entry("byol", values=(2.0,)))
    made = make_crop_matrix(evil, evil.columns[0])
    assert made is not None
    assert "<b>&" not in matrix_table(made)
    assert '<th scope="row" class="name">&lt;b&gt;</th>' in matrix_table(made)


def test_the_file_has_a_line_for_each_cell() -> None:
    lines = list(csv.DictReader(io.StringIO(write_matrix_csv(matrix()))))
    (gt,) = [line for line in lines if line["crop"] == "gt"]
    assert (gt["method"], gt["mean"], gt["n"], gt["seeds"]) == ("byol", "54.5", "2", "0 1")
    assert (gt["gain"], len(lines)) == ("3.5", 4)


@pytest.mark.parametrize("shade", ["score", "gain"])
def test_its_picture_has_the_tables_numbers(shade: Shade) -> None:
    """Numbers with their signs, methods and crops; bold are those of the table."""
    made = matrix()
    drawing = draw_matrix(made, shade, "svg").decode()
    words = re.findall(r"<text([^>]*)>([^<>]+)</text>", drawing)
    texts = [unescape(text) for _, text in words]
    shown = {at: shade_cell(made, shade, cell, at[1]) for at, cell in made.cells.items()}
    numbers = [text for text, _, _ in shown.values()]
    names = {*made.methods, *made.crops}
    assert sorted(t for t in texts if t in numbers) == sorted(numbers)
    assert names <= set(texts)
    table = re.sub(r"<[^>]+>", " ", matrix_table(made, shade))
    assert all(number.split()[0] in table for number in numbers)
    bold = [text for how, text in words if "bold" in how]
    assert sorted(bold) == sorted(text for text, kinds, _ in shown.values() if "best" in kinds)
    assert draw_matrix(made, shade, "png") == draw_matrix(made, shade, "png")
