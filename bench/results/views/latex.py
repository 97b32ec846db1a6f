"""Text for LaTeX tables that compile with pdfLaTeX, XeLaTeX, LuaLaTeX and tectonic, whatever names
hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': "''",
    "\n": " ",
    "\t": " ",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "µ": r"$\mu$",
    "–": "--",
    "—": "---",
    "’": "'",
}
GREEK = (
    (
        "αβγδεζηθικλμνξπρςστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu "
        "nu xi pi rho varsigma sigma tau upsilon phi chi psi omega",
    ),
    ("ΓΔΘΛΞΠΣΥΦΨΩ", "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"),
)
for letters, names in GREEK:
    LATEX |= {c: f"$\\{name}$" for c, name in zip(letters, names.split(), strict=True)}
# letters and marks on letters that pdfLaTeX sets without a package, in its usual encoding
LETTERS = set("ßæøåœłıÆØÅŒŁ¡¿§¶£©")
MARKS = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
LAST = 0x17F  # beyond it pdfLaTeX knows too few of them
# true in XeLaTeX, LuaLaTeX and tectonic alone, which have these letters if their font does
OLD = r"\ifx\Umathchar\undefined "


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is; mathematical signs and Greek letters in math. What pdfLaTeX
    cannot set, it shows by its numbers (U+4E2D), the newer programs as it is."""
    composed = unicodedata.normalize("NFC", text)
    parts = re.split(r"([^\x00-\x7f]+)", "".join(LATEX.get(c, c) for c in composed))
    return "".join(part if part.isascii() else _set_foreign(part) for part in parts).translate(
        _CONTROLS
    )


_CONTROLS = {at: f"U+{at:04X}" for at in (*range(0x20), 0x7F)}


def _set_foreign(text: str) -> str:
    """Letters outside ASCII: those that every program sets, and runs of the others."""
    parts = []
    for known, run in _split(text):
        numbers = " ".join(f"U+{ord(c):04X}" for c in run)
        shown = "".join(c if unicodedata.category(c)[0] != "C" else f"U+{ord(c):04X}" for c in run)
        parts.append(run if known else f"{OLD}{numbers}\\else {shown}\\fi{{}}")
    return "".join(parts)


def _split(text: str) -> Iterable[tuple[bool, str]]:
    """(whether every program sets them, letters), in order."""
    run, known = "", False
    for c in text:
        if run and is_known(c) != known:
            yield known, run
            run = ""
        run, known = run + c, is_known(c)
    if run:
        yield known, run


def is_known(letter: str) -> bool:
    """Whether pdfLaTeX sets a letter outside ASCII without a package."""
    parts = unicodedata.normalize("NFD", letter)
    base, marks = parts[0], parts[1:]
    marked = len(marks) == 1 and base.isascii() and base.isalpha() and marks[0] in MARKS
    return letter in LETTERS or (marked and ord(letter) <= LAST)


def latex_needs(texts: Iterable[str]) -> str:
    """A comment that says what a document needs to set the table."""
    foreign = any(OLD in escape_latex(text) for text in texts)
    return r"% needs \usepackage{booktabs}" + (
        "; names outside Latin are shown by numbers in pdfLaTeX, and by XeLaTeX, LuaLaTeX and "
        "tectonic in a font that has them"
        if foreign
        else ""
    )
