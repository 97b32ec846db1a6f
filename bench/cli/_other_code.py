"""The line that says that what is reused was made by other code than today's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.core.stage import Stage
    from bench.core.store import Store

SHOWN = 3  # names in the line


def stages_line(store: Store, stages: Iterable[Stage], which: str, option: str) -> str:
    """The line about `stages` that are in the store; "" where today's code made them all.

    `which` says what they are ("reused stages"), `option` what makes them again ("--force").
    """
    from bench.launch.provenance import made_by_other_code

    changed = made_by_other_code(store, stages)
    names = list(dict.fromkeys(f"{stage.kind}/{stage.name}" for stage in changed))
    return line(len(changed), which, names, option)


def line(count: int, which: str, names: list[str], option: str) -> str:
    """`3 of the reused stages were made by other code (pretrain/byol, ...); --force makes them
    again`."""
    if not count:
        return ""
    shown = ", ".join(names[:SHOWN]) + (", ..." if names[SHOWN:] else "")
    verb, them = ("was", "it") if count == 1 else ("were", "them")
    return (
        f"{count} of the {which} {verb} made by other code ({shown}); {option} makes {them} again"
    )
