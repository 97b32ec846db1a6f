"""Which values a swept setting may take: declared on the field, or given as text."""

from __future__ import annotations

import json
import math
import typing
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from bench.core.errors import BadInput
from bench.core.params import format_setting
from bench.results.views.studies import PlainSpace

FINITE = 32  # an int range of at most so many values is a list of them
# significant ones of a value drawn from a range: commands stay short, and values meet again
DIGITS = 4
SYNTAX = "values: 1,3,5; a range: 0.0:0.3, with a step: 0:10:2, by its logarithm: log:1e-3:1"


@dataclass(frozen=True)
class Space:
    """The values of one setting, `name` ("owner.field"): a list, or a range `low` to `high`."""

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False  # ints only

    @property
    def finite(self) -> bool:
        return bool(self.values)

    def __str__(self) -> str:
        if self.finite:
            return ", ".join(format_setting(v) for v in self.values)
        how = " by its logarithm" if self.log else ""
        kind = " in whole numbers" if self.whole else ""
        return f"{format_setting(self.low)} to {format_setting(self.high)}{kind}{how}"

    def option(self) -> str:
        """`NAME=...` as `--param` takes it."""
        if self.finite:
            return f"{self.name}={','.join(format_setting(v) for v in self.values)}"
        ends = f"{format_setting(self.low)}:{format_setting(self.high)}"
        return f"{self.name}={'log:' if self.log else ''}{ends}"

    def plain(self) -> PlainSpace:
        """As a study keeps it, in JSON."""
        return {
            "name": self.name,
            "values": list(self.values),
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "whole": self.whole,
        }

    @classmethod
    def of(cls, plain: PlainSpace) -> Space:
        """From `plain()`."""
        return cls(
            plain["name"],
            tuple(plain["values"]),
            plain["low"],
            plain["high"],
            plain["log"],
            plain["whole"],
        )

    def round_drawn(self, value: float) -> Any:
        """A value of the range as it is used: whole, or rounded to four digits and inside the
        range."""
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS - 1}e}"), self.low), self.high)


def declared_space(name: str, info: FieldInfo) -> Space:
    """The space that the field declares (`param(search=...)`); BadInput where it declares none."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    search: Any = extra.get("search")
    if not search:
        raise BadInput(
            f"{name} has no search space of its own; give one ({SYNTAX}); "
            f"try: bench sweep --param {name}={_give_example(info)}"
        )
    kind = search[0] if isinstance(search[0], str) and len(search) == 3 else ""
    if kind in ("log", "float", "int") and all(_is_number(v) for v in search[1:]):
        return _make_range(name, info, search[1], search[2], kind == "log")
    return Space(name, tuple(search))


def parse_space(name: str, info: FieldInfo, text: str) -> Space:
    """The space that `text` describes."""
    head, log, rest = text.partition("log:")
    parts = [p.strip() for p in (rest if log and not head else text).split(":")]
    if log and not head and len(parts) != 2:
        raise _wrong(name, text)
    if len(parts) == 1:
        values = [_parse_value(p.strip()) for p in text.split(",") if p.strip()]
        if not values:
            raise _wrong(name, text)
        return Space(name, tuple(dict.fromkeys(values)))
    numbers = [_parse_value(p) for p in parts]
    if len(numbers) > 3 or not all(_is_number(v) for v in numbers):
        raise _wrong(name, text)
    if len(numbers) == 3:
        return Space(name, _list_steps(name, text, *numbers))
    return _make_range(name, info, numbers[0], numbers[1], bool(log))


def _make_range(name: str, info: FieldInfo, low: float, high: float, log: bool) -> Space:
    if not low < high or (log and low <= 0):
        above = ", and above 0 for log" if log else ""
        raise BadInput(
            f"{name}: a range goes from a smaller to a larger value{above}, got {low}:{high}; "
            f"it takes {SYNTAX}"
        )
    whole = int in _types(info.annotation) and float not in _types(info.annotation)
    if whole and (low != int(low) or high != int(high)):
        raise BadInput(f"{name} takes whole numbers, got {low}:{high}; try: --param {name}=1:5")
    if whole and not log and high - low < FINITE:
        return Space(name, tuple(range(int(low), int(high) + 1)))
    kind = int if whole else float
    return Space(name, (), kind(low), kind(high), log, whole)


def _list_steps(name: str, text: str, low: float, high: float, step: float) -> tuple[float, ...]:
    if not low < high or step <= 0:
        raise _wrong(name, text)
    count = math.floor((high - low) / step + 1e-9) + 1
    steps = (low + i * step for i in range(count))
    return tuple(v if isinstance(v, int) else float(f"{v:.10g}") for v in steps)


def _types(annotation: Any) -> set[Any]:
    return set(typing.get_args(annotation)) or {annotation}


def _give_example(info: FieldInfo) -> str:
    choices = [c for c in typing.get_args(info.annotation) if isinstance(c, str)]
    if bool in _types(info.annotation):
        return "true,false"
    if choices:
        return ",".join(choices)
    default = info.default
    if isinstance(default, int | float) and default:
        return ",".join(format_setting(type(default)(v)) for v in (default, 2 * default))
    return "VALUE,VALUE"


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        try:
            return float(text)  # 1e3, .5
        except ValueError:
            return {"none": None, "true": True, "false": False}.get(text.lower(), text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(name: str, text: str) -> BadInput:
    return BadInput(f"--param {name}: {text!r} is neither values nor a range; it takes {SYNTAX}")
