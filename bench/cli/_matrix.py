"""bench list --matrix: which methods go with which crops and tasks, and why not where they do not."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, cast

import click

from bench.cli._common import print_json
from bench.contracts import registry
from bench.plan.options import check_scale
from bench.plan.planner import pair_reason, task_reason

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.method import Method
    from bench.contracts.task import Task

Row = dict[str, Any]


def show(scale: str, as_json: bool) -> None:
    """Print both matrices at `scale`, as tables or as {"crops": [...], "tasks": [...]}."""
    check_scale(scale)
    crops, tasks = pairs("crop", scale), pairs("task", scale)
    if as_json:
        print_json({"scale": scale, "crops": crops, "tasks": tasks})
        return
    _table("crop", crops)
    click.echo()
    _table("task", tasks)
    for kind, rows in (("crops", crops), ("tasks", tasks)):
        good = sum(r["supported"] for r in rows)
        click.echo(
            f"{kind}: {good} of {len(rows)} pairs supported, {len(rows) - good} unsupported"
        )


def pairs(kind: str, scale: str) -> list[Row]:
    """{method, `kind`, supported, reason} for every method x component of `kind` ("crop" or
    "task")."""
    methods = {
        name: cast("Method", registry.load("method", name).resolve(scale))
        for name in registry.names("method")
    }
    found = []
    for other in registry.names(kind):
        theirs = registry.load(kind, other).resolve(scale)
        for name, method in methods.items():
            if kind == "crop":
                reason = pair_reason(method, cast("Crop", theirs))
            else:
                reason = task_reason(method.params.backbone, cast("Task", theirs))
            found.append(
                {"method": name, kind: other, "supported": reason is None, "reason": reason}
            )
    return found


def _table(kind: str, rows: list[Row]) -> None:
    """A row per component of `kind`, a column per method: + or the letter of a reason below."""
    methods = list(dict.fromkeys(r["method"] for r in rows))
    others = list(dict.fromkeys(r[kind] for r in rows))
    letters = _letters((r["method"], r["reason"]) for r in rows if r["reason"])
    marks = {(r["method"], r[kind]): letters.get((r["method"], r["reason"]), "+") for r in rows}
    first = max(len(name) for name in [kind, *others])
    click.echo(f"{kind:<{first}}  " + " ".join(methods))
    for other in others:
        cells = " ".join(f"{marks[m, other]:^{len(m)}}" for m in methods)
        click.echo(f"{other:<{first}}  {cells}".rstrip())
    for (method, reason), letter in letters.items():
        click.echo(f"{letter}  {method}: unsupported ({reason})")


def _letters(reasons: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """a, b, ..., z, aa, ab, ... for each different reason of each method."""
    found: dict[tuple[str, str], str] = {}
    for one in reasons:
        n = len(found)
        lead = ascii_lowercase[n // 26 - 1] if n >= 26 else ""
        found.setdefault(one, lead + ascii_lowercase[n % 26])
    return found
