"""What a set is, as the list and the guide describe it, and the set that a command names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import click

from bench.cli._options import JSON, SCALE, SET, WORKERS, Names, add_options
from bench.contracts import registry
from bench.contracts.data import Data
from bench.core.errors import BadInput, unknown

if TYPE_CHECKING:
    from bench.plan.named import NamedSet


class SetRow(TypedDict):
    """A set as `bench data list --json` describes it."""

    name: str
    summary: str
    tasks: list[str]
    needs_path: bool
    looked_for: str | None
    found: bool
    files: dict[str, float]
    megabytes: float
    site: str
    layout: str
    official: dict[str, Any]
    sample: bool
    set: NotRequired[str]  # of a named set: the set that reads it
    settings: NotRequired[dict[str, str]]


data_options = add_options(
    click.argument("data", type=Names("data"), metavar="NAME[=PATH]"),
    SCALE(help="Scale whose settings of the data are used."),
    SET(),
    WORKERS(help="Processes that read the files."),
    JSON(),
)


def describe_set(name: str) -> SetRow:
    """A set as the list prints it."""
    cls: Any = registry.load("data", name)
    kinds: dict[str, Any] = dict(registry.load_all("task")[0])
    tasks = [task for task, kind in kinds.items() if name in kind.data.values()]
    place = cls.default_place() if cls.needs_path else None
    get = cls.how_to_get
    return {
        "name": name,
        "summary": registry.entry("data", name).summary,
        "tasks": tasks,
        "needs_path": cls.needs_path,
        "looked_for": str(place) if place else None,
        "found": bool(place and place.exists()),
        "files": dict(get.files),
        "megabytes": get.megabytes,
        "site": get.site,
        "layout": get.layout,
        "official": dict(cls.official),
        "sample": cls.sample() is not None,
    }


def describe_named(named: NamedSet) -> SetRow:
    """A named set in the same terms."""
    row = describe_set(named.data)
    settings = " ".join(f"--set {key}={value}" for key, value in named.owned)
    return {
        **row,
        "name": named.name,
        "summary": f"{named.data} at {named.path} {settings}".strip(),
        "looked_for": str(named.path),
        "found": named.path.exists(),
        "set": named.data,
        "settings": dict(named.settings),
    }


def whereabouts(row: SetRow) -> str:
    """Where the set is here."""
    if not row["needs_path"]:
        return "generated here"
    if row["found"]:
        return f"found at {row['looked_for']}"
    if row["looked_for"]:
        return f"not found at {row['looked_for']}"
    return "no path known" if row["files"] else "only by path"


def open_component(text: str, scale: str, sets: tuple[str, ...]) -> tuple[Data, Path | None]:
    """The data set of NAME or NAME=PATH with its settings: `field`, `data.field`, `NAME.field`."""
    from bench.plan.options import check_scale, parse_data, parse_settings

    name, path, _, named = parse_data(text)
    if name is None:
        raise BadInput("the name of a data set is missing; try: bench data list")
    mine = {}
    for key, value in (*named, *parse_settings(sets)):
        owner, _, setting = key.rpartition(".")
        if owner not in ("", "data", name):
            raise unknown("owner of a setting", owner, [name], f"bench list params {name}")
        mine[setting] = value
    component: Any = registry.load("data", name).resolve(check_scale(scale), mine)
    return component, path
