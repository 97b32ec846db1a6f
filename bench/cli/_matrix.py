"""bench list --matrix: which methods go with which crops and tasks, and why others do not."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase

import click

from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.plan.options import check_scale
from bench.plan.pairs import Pair, list_pairs


def show_matrix(scale: str, as_json: bool) -> None:
    """Print both matrices at `scale`, as tables or as {"crops": [...], "tasks": [...]}."""
    check_scale(scale)
    crops, tasks = list_pairs("crop", scale), list_pairs("task", scale)
    if as_json:
        print_json(
            {
                "scale": scale,
                "crops": [_json("crop", pair) for pair in crops],
                "tasks": [_json("task", pair) for pair in tasks],
            }
        )
        return
    _print("crop", crops)
    click.echo()
    _print("task", tasks)
    for kind, pairs in (("crops", crops), ("tasks", tasks)):
        supported = sum(pair.supported for pair in pairs)
        click.echo(
            f"{kind}: {supported} of {len(pairs)} pairs supported, "
            f"{len(pairs) - supported} unsupported"
        )


def _json(kind: str, pair: Pair) -> dict[str, str | bool | None]:
    return {
        "method": pair.method,
        kind: pair.other,
        "supported": pair.supported,
        "reason": pair.reason,
    }


def _print(kind: str, pairs: list[Pair]) -> None:
    """A row per component of `kind`, a column per method: + or the letter of a reason below."""
    methods = list(dict.fromkeys(pair.method for pair in pairs))
    others = list(dict.fromkeys(pair.other for pair in pairs))
    letters = _letters((pair.method, pair.reason) for pair in pairs if pair.reason)
    marks = {
        (pair.method, pair.other): letters.get((pair.method, pair.reason or ""), "+")
        for pair in pairs
    }
    print_table(
        [Column(kind, key=True), *(Column(method) for method in methods)],
        [(other, *(marks[method, other] for method in methods)) for other in others],
    )
    for (method, reason), letter in letters.items():
        echo_prose(f"{letter}  {method}: unsupported ({reason})", "   ", "")


def _letters(reasons: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """a, b, ..., z, aa, ab, ... for each different reason of each method."""
    letters: dict[tuple[str, str], str] = {}
    for reason in reasons:
        n = len(letters)
        lead = ascii_lowercase[n // 26 - 1] if n >= 26 else ""
        letters.setdefault(reason, lead + ascii_lowercase[n % 26])
    return letters
