"""Which component a swept setting belongs to, and what a sweep takes where nothing is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.contracts import registry
from bench.contracts.component import Component
from bench.core.errors import BadInput, nearest
from bench.sweep.space import Space, declared_space, parse_space

# whose settings may be swept; data are what is scored on
KINDS = ("method", "crop", "task", "proposals")


@dataclass(frozen=True)
class Owned:
    """A setting, the component that has it, its values, and which others have a setting of that
    name."""

    kind: str
    owner: str
    field: str
    space: Space
    declared: bool
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.owner}.{self.field}"


def load_components(name: str = "") -> dict[tuple[str, str], type[Component]]:
    """Every usable component whose settings may be swept, imported; or those of one name, which
    must be usable."""
    wanted = [(k, n) for k, n in registry.entries() if k in KINDS and name in ("", n)]
    if name:
        return {entry: registry.load(*entry) for entry in wanted}
    usable = {kind: registry.load_all(kind)[0] for kind in KINDS}
    return {(k, n): usable[k][n] for k, n in wanted if n in usable[k]}


def default_component(kind: str) -> str:
    """The component of `kind` that a sweep takes where none is named."""
    usable, _ = registry.load_all(kind)
    defaults = [name for name, cls in usable.items() if vars(cls).get("usual")]
    if not defaults:
        raise BadInput(f"--{kind} is missing; try: bench list {registry.PLURAL[kind]}")
    return defaults[0]


def find_setting(text: str, named: Mapping[str, str], scale: str) -> Owned:
    """The setting that `--param TEXT` means: `field`, `owner.field`, `kind.field`, with or without
    `=SPACE`. `named`: the components that other options name, by kind; they win where several have
    the field.

    A bare name belongs to the only component that has it, else to the only one of those named,
    else to the one that claims it (`Component.sweeps`); else BadInput lists the owners.
    """
    key, equals, wanted = (part.strip() for part in text.partition("="))
    owner, dot, field = key.rpartition(".")
    if not field or (dot and not owner) or (equals and not wanted):
        raise BadInput(f"--param takes NAME or NAME=SPACE, got {text!r}; try: --param NAME=1,3,5")
    if owner in registry.PLURAL and owner in KINDS:  # method.lr: that of the sweep's method
        owner = named.get(owner) or default_component(owner)
    every = load_components(owner)
    kind, name, others = (
        _check_owner(owner, field, every)
        if dot
        else _find_owner(field, equals + wanted, every, named)
    )
    info = every[kind, name].Params.model_fields[field]
    full = f"{name}.{field}"
    space = parse_space(full, info, wanted) if wanted else declared_space(full, info)
    _check_values(every[kind, name], field, space, scale)
    return Owned(kind, name, field, space, not wanted, others)


Owner = tuple[str, str, tuple[str, ...]]  # kind, name, other owners


def _check_owner(owner: str, field: str, every: dict[tuple[str, str], type[Component]]) -> Owner:
    if not every:
        guess = nearest(owner, {n for k, n in registry.entries() if k in KINDS})
        hint = f" (did you mean {guess!r}?)" if guess else ""
        raise BadInput(f"unknown component {owner!r}{hint}; try: bench list params")
    having = [e for e, cls in every.items() if field in cls.Params.model_fields]
    if not having:
        fields = {f for cls in every.values() for f in cls.Params.model_fields}
        raise _explain_unknown(field, fields, f" of {owner}", f"bench list params {owner}")
    return (*having[0], ())


def _find_owner(
    field: str, rest: str, every: dict[tuple[str, str], type[Component]], named: Mapping[str, str]
) -> Owner:
    having = [e for e, cls in every.items() if field in cls.Params.model_fields]
    if not having:
        fields = {f for cls in every.values() for f in cls.Params.model_fields}
        raise _explain_unknown(field, fields, "", "bench list params")
    of_named = [(k, n) for k, n in having if named.get(k) == n]
    claiming = [e for e in having if field in vars(every[e]).get("sweeps", ())]
    for choice in (having, of_named, [] if of_named else claiming):
        if len(choice) == 1:
            return (*choice[0], tuple(n for k, n in having if (k, n) != choice[0]))
    choices = sorted(of_named or having)
    names = "; ".join(
        f"{registry.PLURAL[kind]} {', '.join(n for k, n in choices if k == kind)}"
        for kind in dict.fromkeys(k for k, _ in choices)
    )
    raise BadInput(
        f"{field!r} is a setting of several components: {names}; name one: "
        f"bench sweep --param {choices[0][1]}.{field}{rest}, "
        f"or add --{choices[0][0]} {choices[0][1]}"
    )


def _explain_unknown(field: str, fields: set[str], where: str, then: str) -> BadInput:
    guess = nearest(field, fields)
    hint = f" (did you mean {guess!r}?)" if guess else ""
    return BadInput(f"no setting {field!r}{where}{hint}; try: {then}")


def _check_values(cls: type[Component], field: str, space: Space, scale: str) -> None:
    """Every value, or both ends of a range, must be one that the field takes."""
    for value in space.values or (space.low, space.high):
        cls.Params.build(cls.name, cls.scales.get(scale, {}), {field: value})
