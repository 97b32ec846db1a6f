"""Words that a shell completes from the store and from the components' settings."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


class Key(click.ParamType):
    """The beginning of a stage's key, completed from the names of the store's folders."""

    name = "key"

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds or ("*",)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from bench.results.db.place import home_folder

        store = home_folder() / "store"
        folders = [f for kind in self.kinds for f in store.glob(f"{kind}/*-*") if f.is_dir()]
        return [
            CompletionItem(key, help=f"{folder.parent.name}/{name}")
            for folder in sorted(folders)
            for name, _, key in [folder.name.rpartition("-")]
            if key.startswith(incomplete.lower())
        ]


class Setting(click.ParamType):
    """KEY=VALUE of a component's setting, completed from the settings that there are."""

    name = "key=value"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from bench.contracts import registry

        owner, dot, _ = incomplete.partition(".")
        if not dot:
            names = sorted({name for _, name in registry.entries()})
            return [CompletionItem(f"{n}.") for n in names if n.startswith(owner)]
        fields = [
            (f"{owner}.{field}=", info.description or "")
            for kind, name in sorted(registry.entries())
            if name == owner
            for field, info in registry.load(kind, name).Params.model_fields.items()
        ]
        return [CompletionItem(f, help=text) for f, text in fields if f.startswith(incomplete)]
