"""LaTeX tables compile, whatever names hold."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.results.views.board_text import export_board
from bench.results.views.latex import escape_latex, is_known, latex_needs
from tests.dashboard.test_board import board, entry

PROGRAMS = ("pdflatex", "xelatex", "tectonic")
NAMES = (
    r"a\b{c}_d^e~f#g$h&i%j",
    "方法 β-VAE",
    "São Paulo ß Łódź",
    "e\u0301 ﬁ 🙂 ελ",
    "quote \"x\" <y> |z| 'w'",
    "tab\tbell\x07 del\x7f",
    "عربي हिन्दी",
    "[x] -- ?` !`",
)


def compile_latex(program: str, text: str, folder: Path) -> str:
    """What the program wrote to its log; it fails at the first error."""
    source = folder / "table.tex"
    source.write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{text}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    options = ["-interaction=nonstopmode", "-halt-on-error"] if program != "tectonic" else []
    done = subprocess.run(
        [program, *options, source.name], cwd=folder, capture_output=True, check=False
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, output[-2000:]
    assert (folder / "table.pdf").read_bytes()[:5] == b"%PDF-"
    return output


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_board_compiles_whatever_its_names_are(program: str, tmp_path: Path) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    rows = [entry(name, values=(50.0 + at, 51.0 + at)) for at, name in enumerate(NAMES)]
    crops = [entry("byol", values=(40.0,), crop=name) for name in NAMES]
    every = "".join(chr(c) for c in (*range(0xA0, 0x250), *range(0x370, 0x400)))
    table = export_board(board(*rows, *crops), "tex")
    compile_latex(program, f"{table}\n\n\\noindent {escape_latex(every)}", tmp_path)


def test_a_papers_table_compiles(home: Path, tmp_path: Path) -> None:
    from bench.results.db.database import open_database
    from bench.results.papers.measured import compare_table
    from bench.results.papers.table_text import WRITERS
    from tests.dashboard.populate import paper_cells

    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    home.mkdir()
    database = open_database(f"sqlite:///{home / 'results.db'}")
    paper_cells(database, "000/T1", seeds=2)
    text = WRITERS["latex"](compare_table(database, "000/T1", "tiny"))
    compile_latex("pdflatex", f"\\scriptsize {text}", tmp_path)


def test_letters_are_set_in_the_way_that_every_program_knows() -> None:
    assert escape_latex("100 % ± 2") == r"100 \% $\pm$ 2"
    assert escape_latex("β_1 ≤ Δ") == r"$\beta$\_1 $\leq$ $\Delta$"
    assert escape_latex("Łódź São") == "Łódź São"
    assert escape_latex("e\u0301") == "é"
    old = r"\ifx\Umathchar\undefined U+4E2D U+6587\else 中文\fi{}"
    assert escape_latex("x中文y") == f"x{old}y"
    assert escape_latex("\x07") == "U+0007"
    assert not any(map(is_known, "ðþąŋĦ中"))  # not in pdfLaTeX's usual encoding
    assert latex_needs(["São"]) == r"% needs \usepackage{booktabs}"
    assert "numbers in pdfLaTeX" in latex_needs(["São", "中"])
