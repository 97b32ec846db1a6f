"""bench data add and bench data remove: a name for a set, its folder and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._options import JSON, SET, Names
from bench.cli._table import echo_prose, print_json
from bench.contracts import registry
from bench.core.errors import BadInput, unknown
from bench.core.files import expand_path
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.plan.named import NamedSet


@click.command()
@click.argument("name")
@click.argument("data", type=Names("data"), metavar="SET")
@click.argument("path", type=click.Path(path_type=Path))
@SET(help="Setting of the set, FIELD=VALUE, for example --set train=annotations.json:images.")
@click.option("--replace", is_flag=True, help="Replace a named set that has this name already.")
@JSON()
def add(
    name: str, data: str, path: Path, sets: tuple[str, ...], replace: bool, as_json: bool
) -> None:
    """Give data set SET at PATH the name NAME, with its settings.

    NAME then works wherever a data set is named, as in --data NAME, and is what boards call it.
    The layout and the annotations are checked first; images are not read. For example:

    bench data add warehouse coco_json /data/boxes --set train=all.json:images
    """
    from bench.plan.named import NamedSet, check_name, save_named

    check_name(name)
    kind: Any = registry.load("data", data)
    if not kind.needs_path:
        raise BadInput(f"data {data!r} is generated here and has no folder to name")
    settings = _own_settings(data, sets)
    place = expand_path(path)
    component = kind.resolve("paper", dict(settings))
    component.stage(place, open_runtime())
    named = NamedSet(name, data, place, tuple(settings.items()))
    save_named(named, replace)
    if as_json:
        return print_json(_describe(named))
    echo_prose(f"{name} is {data} at {place}, kept in {named.file}", "  ", "")
    click.echo(f"then: bench data check {name}, or --data {name} in any command")


def _own_settings(data: str, sets: tuple[str, ...]) -> dict[str, str]:
    from bench.plan.options import parse_settings

    settings = {}
    for key, value in parse_settings(sets):
        owner, _, field = key.rpartition(".")
        if owner not in ("", "data", data):
            raise unknown("owner of a setting", owner, [data], f"bench list params {data}")
        settings[field] = value
    return settings


def _describe(named: NamedSet) -> dict[str, Any]:
    settings = dict(named.settings)
    return {
        "name": named.name,
        "data": named.data,
        "path": str(named.path),
        "settings": settings,
        "file": str(named.file),
    }


@click.command()
@click.argument("name")
@JSON()
def remove(name: str, as_json: bool) -> None:
    """Forget the named set NAME. Its folder, and results of it, stay."""
    from bench.plan.named import remove_named

    named = remove_named(name)
    if as_json:
        return print_json(_describe(named))
    echo_prose(f"{name} is forgotten; {named.data} at {named.path} stays as it is", "  ", "")
