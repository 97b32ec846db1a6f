"""bench list: what exists, from the file tree; imports no component but for `params` and
`--matrix`."""

from __future__ import annotations

from typing import Any

import click

from bench.cli._common import ScaleName, print_json
from bench.contracts import registry
from bench.core.errors import unknown

KINDS = {plural: kind for kind, plural in registry.PLURAL.items()}


class KindName(click.ParamType):
    """A kind, completed."""

    name = "kind"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        kinds = [*KINDS, "params"]
        return [
            click.shell_completion.CompletionItem(k) for k in kinds if k.startswith(incomplete)
        ]


@click.command()
@click.argument("kind", type=KindName(), required=False)
@click.argument("name", required=False)
@click.option(
    "--matrix", is_flag=True, help="Which methods go with which crops and tasks, or why not."
)
@click.option(
    "--scale", "-s", type=ScaleName(), default="tiny", help="Of --matrix.", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="[{name, kind, summary, file}]")
def command(kind: str | None, name: str | None, matrix: bool, scale: str, as_json: bool) -> None:
    """List methods, crops, tasks, data or proposals; `list params NAME` lists a component's
    settings."""
    if matrix:
        from bench.cli._matrix import show

        show(scale, as_json)
        return
    if kind == "params":
        _params(name, as_json)
        return
    if kind is not None and kind not in KINDS:
        raise unknown("kind", kind, [*KINDS, "params"], "bench list methods")
    wanted = [KINDS[kind]] if kind else list(registry.PLURAL)
    found = [
        e
        for k in wanted
        for e in sorted(registry.entries().values(), key=lambda e: e.name)
        if e.kind == k
    ]
    if as_json:
        print_json(
            [
                {"name": e.name, "kind": e.kind, "summary": e.summary, "file": str(e.file)}
                for e in found
            ]
        )
        return
    width = max((len(e.name) for e in found), default=0)
    for k in wanted:
        click.echo(registry.PLURAL[k] if len(wanted) > 1 else "", nl=len(wanted) > 1)
        for e in (e for e in found if e.kind == k):
            click.echo(f"  {e.name:<{width}}  {e.summary}")


def _params(name: str | None, as_json: bool) -> None:
    """A component's settings with their defaults, per scale."""
    every = registry.entries()
    if name is None:
        click.echo(
            "bench list params NAME, where NAME is one of: "
            + ", ".join(sorted({n for _, n in every}))
        )
        return
    hits = [registry.load(k, n) for k, n in every if n == name]
    if not hits:
        raise unknown("component", name, {n for _, n in every}, "bench list")
    rows = [row for cls in hits for row in _rows(cls)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        scales = "".join(f"  {s}: {v}" for s, v in row["scales"].items())
        click.echo(
            f"  {row['owner']}.{row['name']} = {row['default']}{scales}  {row['help']}".rstrip()
        )


def _rows(cls: Any) -> list[dict[str, Any]]:
    values = cls.Params().model_dump(mode="json")
    return [
        {
            "owner": cls.name,
            "name": field,
            "default": values[field],
            "help": info.description or "",
            "scales": {s: over[field] for s, over in cls.scales.items() if field in over},
            "search": (info.json_schema_extra or {}).get("search"),
        }
        for field, info in cls.Params.model_fields.items()
    ]
