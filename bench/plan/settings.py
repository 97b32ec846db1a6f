"""Whose setting is it: the components that a cell's `--set` values belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bench.contracts import registry
from bench.contracts.component import Component
from bench.core.errors import BadInput, brief, nearest, unknown
from bench.plan.cell import PRETRAIN_DATA

Settings = tuple[tuple[str, str], ...]  # (OWNER.FIELD or FIELD, value as typed), in order
Touched = dict[tuple[str, str], type[Component]]  # (kind, name) -> what planning a cell asked for


def settings_of(
    cls: type[Component], given: Settings, main: bool, role: str = ""
) -> Iterator[tuple[str, str, str]]:
    """(key, field, value) of each setting of a cell that belongs to a component.

    `role.field` addresses the data set of a role (PRETRAIN_DATA, TASK_DATA) alone; `kind.field`
    addresses the cell's own component of that kind (`main`), and every generator and
    dataset; `name.field` addresses the component of that name wherever it is used. Where a crop
    and its generator share a name, a field is only for the one that has it.
    """
    if not given:
        return
    shared = sum(name == cls.name for _, name in registry.entries()) > 1
    for key, value in given:
        owner, _, field = key.partition(".")
        by_name = owner == cls.name and not (shared and field not in cls.Params.model_fields)
        by_kind = owner == cls.kind and (main or cls.kind in ("proposals", "data"))
        if by_name or by_kind or owner == role:
            yield key, field, value


def name_owners(given: Settings, touched: Touched) -> Settings:
    """The settings of a cell with every bare FIELD as OWNER.FIELD; `touched` are the components
    that planning the cell asks for. Raises BadInput where a field has several owners or none."""
    return tuple((k if "." in k else f"{_owner(k, touched)}.{k}", v) for k, v in given)


def _owner(field: str, touched: Touched) -> str:
    owners = [name for (_, name), cls in touched.items() if field in cls.Params.model_fields]
    if len(owners) == 1:
        return owners[0]
    if owners:
        choices = " or ".join(f"--set {name}.{field}=..." for name in owners)
        raise BadInput(
            f"setting {field!r} is ambiguous: {len(owners)} components have it; say {choices}"
        )
    guess = nearest(field, _fields(touched.values()))
    hint = f" (did you mean {guess!r}?)" if guess else ""
    raise BadInput(
        f"no part of this cell has a setting {brief(field)}{hint}; try: bench list params"
    )


def refuse_unused(given: Iterable[str], used: set[str], touched: Touched) -> None:
    """BadInput for the first of the keys `given` that no component of any cell took."""
    for key in given:
        if key not in used:
            raise _unused(key, touched)


def _unused(key: str, touched: Mapping[tuple[str, str], type[Component]]) -> BadInput:
    owner, _, field = key.partition(".")
    if owner == PRETRAIN_DATA:
        return BadInput(f"{key} is a setting of --data, and nothing is pretrained; leave it out")
    fields = _fields(cls for (_, name), cls in touched.items() if name == owner)
    if fields:  # a crop and a generator of one name, neither of which has the setting
        return unknown(f"setting of {owner}", field, fields, f"bench list params {owner}")
    return unknown("owner of a setting", owner, {name for _, name in touched}, "bench list params")


def _fields(components: Iterable[type[Component]]) -> set[str]:
    return {field for cls in components for field in cls.Params.model_fields}
