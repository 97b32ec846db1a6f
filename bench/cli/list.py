"""bench list: what exists, from the file tree; imports no component but for `params` and
`--matrix`."""

from __future__ import annotations

from typing import Any

import click

from bench.cli._options import JSON, SCALE, Choices
from bench.cli._table import echo_prose, echo_terms, print_json, terminal_width
from bench.contracts import registry
from bench.core.errors import unknown

KINDS = {plural: kind for kind, plural in registry.PLURAL.items()}


@click.command()
@click.argument("kind", type=Choices("kind", lambda: [*KINDS, "params"]), required=False)
@click.argument("name", required=False)
@click.option(
    "--matrix",
    is_flag=True,
    help="Show which methods go with which crops and tasks, and why the others do not.",
)
@SCALE(help="Scale that --matrix is shown for.")
@JSON()
def command(kind: str | None, name: str | None, matrix: bool, scale: str, as_json: bool) -> None:
    """List the components of a KIND: methods, crops, tasks, data or proposals.

    bench list params NAME lists the settings of a component, with their defaults and scales.
    """
    if matrix:
        from bench.cli._matrix import show_matrix

        show_matrix(scale, as_json)
        return
    if kind == "params":
        _params(name, as_json)
        return
    if kind is not None and kind not in KINDS:
        raise unknown("kind", kind, [*KINDS, "params"], "bench list methods")
    wanted = [KINDS[kind]] if kind else list(registry.PLURAL)
    entries = sorted(registry.entries().values(), key=lambda e: e.name)
    entries = [e for kind in wanted for e in entries if e.kind == kind]
    if as_json:
        print_json(
            [
                {"name": e.name, "kind": e.kind, "summary": _describe(e), "file": str(e.file)}
                for e in entries
            ]
        )
        return
    for each in wanted:
        if len(wanted) > 1:
            click.echo(registry.PLURAL[each])
        echo_terms((e.name, _describe(e)) for e in entries if e.kind == each)


def _describe(entry: registry.Entry) -> str:
    """What the component says of itself, or that its file is no Python; whether it can be imported
    is the business of bench doctor."""
    error = registry.find_syntax_error(entry.file)
    return f"unavailable: {error}" if error else entry.summary


def _params(name: str | None, as_json: bool) -> None:
    """A component's settings with their defaults, per scale."""
    every = registry.entries()
    if name is None:
        echo_prose("bench list params NAME, where NAME is one of:")
        echo_prose(", ".join(sorted({n for _, n in every})), "  ")
        return
    components = [registry.load(k, n) for k, n in every if n == name]
    if not components:
        raise unknown("component", name, {n for _, n in every}, "bench list")
    rows = [row for cls in components for row in _rows(cls)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        name = f"{row['owner']}.{row['name']} = {row['default']}"
        scales = [f"{scale}: {value}" for scale, value in row["scales"].items()]
        click.echo("\n".join(_fill([f"  {name}", *scales], "    ")))
        if row["help"]:
            echo_prose(row["help"], "      ")


def _fill(parts: list[str], indent: str) -> list[str]:
    """Lines of whole parts, two spaces apart, as many on each as the terminal has room for."""
    lines = parts[:1]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 2 <= terminal_width():
            lines[-1] += f"  {part}"
        else:
            lines.append(indent + part)
    return lines


def _rows(cls: Any) -> list[dict[str, Any]]:
    values = cls.Params().model_dump(mode="json")
    return [
        {
            "owner": cls.name,
            "name": field,
            "default": values[field],
            "help": info.description or "",
            "scales": {s: _plain(over[field]) for s, over in cls.scales.items() if field in over},
            "search": (info.json_schema_extra or {}).get("search"),
        }
        for field, info in cls.Params.model_fields.items()
    ]


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
