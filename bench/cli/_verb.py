"""Commands whose options have older names, or are written to a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from bench.cli._config import SAVE, save


class Verb(click.Command):
    """A command that may have --save-config, and options that had other names in the last version,
    old -> new. An old name works and is not listed; a line says what it is called now."""

    renamed: Mapping[str, str] = {}

    def invoke(self, ctx: click.Context) -> Any:
        if SAVE in ctx.meta:
            save(ctx, ctx.meta[SAVE])
        return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*map(self._rename, args[:end]), *args[end:]])

    def _rename(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if name not in self.renamed:
            return word
        click.echo(f"bench: {name} is called {self.renamed[name]} now", err=True)
        return f"{self.renamed[name]}{equals}{value}"


def renamed_options(**names: str) -> type[click.Command]:
    """The class of a command whose option `--old` is called `--new` now: old="new"."""
    pairs = {f"--{old}": f"--{new}" for old, new in names.items()}
    return type("Renamed", (Verb,), {"renamed": pairs})
