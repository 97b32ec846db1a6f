"""Params are identity, Runtime is not: two classes, so that no field has to be marked by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from bench.core.errors import BadInput, brief, unknown

LARGEST = 2**63 - 1  # integer of a setting: what databases and arrays hold


def param(
    default: Any,
    *,
    help: str = "",
    search: list[Any] | None = None,
    later: bool = False,
    place: bool = False,
    **rules: Any,
) -> Any:
    """A Params field: its default, its meaning, and how sweeps may search it.

    `search`: values (`[1, 3, 5, 7]`) or a range (`["log", 1e-4, 1.0]`, `["float", lo, hi]`,
    `["int", lo, hi]`). `later=True`: the field was added after results existed, so it is left out
    of keys while it equals its default. `place=True`: a path; it never enters a key, what it
    points to does, as an input stage (`bench.stages.files`). `rules`: pydantic constraints (`ge`,
    `le`, `gt`, ...).
    """
    extra: dict[str, Any] = {"search": search, "later": later, "place": place}
    return Field(default, description=help, json_schema_extra=extra, **rules)


class Params(BaseModel):
    """What a result depends on. Unknown fields are errors; instances are frozen and hashable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """The JSON-ready dict that enters keys:
        every field, less `later` fields at their default."""
        dumped = self.model_dump(mode="json")
        return {k: v for k, v in dumped.items() if not self._hidden(k)}

    def _hidden(self, name: str) -> bool:
        info = type(self).model_fields[name]
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        later = bool(extra.get("later")) and getattr(self, name) == info.default
        return later or bool(extra.get("place"))

    @classmethod
    def build(cls, owner: str, *layers: dict[str, Any]) -> Self:
        """Defaults, then each layer over the last; errors name `owner`, the field and the rule."""
        values: dict[str, Any] = {}
        for layer in layers:
            for key, value in layer.items():
                if key not in cls.model_fields:
                    raise unknown(
                        f"setting of {owner}", key, cls.model_fields, f"bench list params {owner}"
                    )
                values[key] = cls._read(owner, key, value) if isinstance(value, str) else value
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "settings"
            raise BadInput(
                f"{owner}.{name}: {first['msg'].lower()}, got {brief(first['input'])}; "
                f"try: bench list params {owner}"
            ) from None

    @classmethod
    def _read(cls, owner: str, key: str, text: str) -> Any:
        """The value of a setting as the command line spells it."""
        try:
            return _parse(text, cls.model_fields[key])
        except (ValueError, RecursionError):
            raise BadInput(
                f"{owner}.{key}: the value is a number beyond 64 bits or is nested too deep, got "
                f"{brief(text)}; try: bench list params {owner}"
            ) from None


def _parse(text: str, info: FieldInfo) -> Any:
    """A command-line value: JSON where it reads as JSON, a comma list for tuples, else the text.
    ValueError for an integer that a database does not take, RecursionError for too many brackets.
    """
    if "," in text and info.annotation is str:  # a name may have commas
        return text
    if "," in text and not text.lstrip().startswith(("[", "{", '"')):
        return [_parse(part.strip(), info) for part in text.split(",")]
    if text in get_args(info.annotation):  # a choice may be called "none"
        return text
    try:
        return json.loads(text, parse_int=_parse_int)
    except json.JSONDecodeError:
        return {"none": None, "true": True, "false": False}.get(text.lower(), text)


def _parse_int(digits: str) -> int:
    number = int(digits)
    if abs(number) > LARGEST:
        raise ValueError(f"beyond {LARGEST}")
    return number


def format_setting(value: Any) -> str:
    """A setting's value as `--set` reads it: the inverse of how a Params field is parsed."""
    return value if isinstance(value, str) else json.dumps(value)


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, finite numbers; no paths or objects (TypeError)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def digest(value: Any) -> str:
    """sha256 hex of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


PROBES = ("knn", "linear", "object_knn", "object_linear")  # bench.stages.probes makes them


class Runtime(BaseModel):
    """How and where a run happens; never part of a key."""

    model_config = ConfigDict(extra="forbid")

    home: Path
    database: str
    devices: int | str = "auto"
    workers: int = Field(
        2, ge=0, description="proposal processes, and loader processes of each device"
    )
    threads: int = Field(
        0, ge=0, description="torch threads of a training step; 0: the cores that are free"
    )
    nodes: int = Field(1, ge=1, description="machines that train together, with `devices` each")
    node: int = Field(0, ge=0, description="which of them this is; the first one writes")
    accumulate: int = Field(
        1, ge=1, description="parts of a device's share of a step, one after another"
    )
    compile: bool = Field(False, description="torch.compile the networks of a pretraining")
    launcher: str = Field(
        "local", description="what makes the stages: bench.launch.launchers.LAUNCHERS"
    )
    max_parallel: int = Field(
        0, ge=0, description="stages at the same time; 0: one for each GPU, or one"
    )
    ray_address: str = Field("", description="a Ray cluster's address; empty: a Ray of our own")
    tracker: str = Field("wandb", description="wandb | tensorboard | none")
    wandb_project: str = Field("", description="W&B project; empty: WANDB_PROJECT, else bench")
    wandb_entity: str = Field("", description="W&B account or team; empty: as W&B is set up")
    wandb_tags: tuple[str, ...] = Field((), description="tags of every tracked run")
    wandb_notes: str = Field("", description="note of every tracked run")
    wandb_system: bool = Field(True, description="record the machine, its load, and git")
    slurm: str = Field("", description="what jobs ask Slurm for: KEY=VALUE,...")
    checkpoint_seconds: float = Field(
        20.0, ge=0, description="longest training time a kill can cost"
    )
    probe: tuple[str, ...] = Field((), description="probes of a backbone in training: PROBES")
    force: bool = False
    roots: dict[str, Path] = Field(default_factory=dict, description="data stage key -> folder")
    remarks: dict[str, str] = Field(
        default_factory=dict, description="weights stage key -> what planning saw in the file"
    )
