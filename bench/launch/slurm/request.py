"""What jobs ask Slurm for: the KEY=VALUE texts of `--slurm`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.core.errors import BadInput, brief, unknown

EXAMPLE = "--slurm partition=gpu,time=4:00:00,gpus=1"
ON_CPU = "cpu."  # before a key: for stages that use no GPU
HOURS = 4  # of a job, where no time is asked for
SAVE_SECONDS = 120  # before a job's time is up, in which its stage saves
Value = str | int


def parse_time(text: str) -> int:
    """Minutes, rounded up, of a time as Slurm spells it: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or
    D-HH:MM:SS. ValueError for anything else, and for no time at all."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not match:
        raise ValueError(text)
    days, *rest = match.groups()
    numbers = [int(n) for n in rest if n is not None]
    if days is None and len(numbers) < 3:  # minutes come first
        numbers.insert(0, 0)
    hours, minutes, seconds = (*numbers, 0, 0)[:3]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise ValueError(text)
    return -(-total // 60)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError(text)
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _memory(text: str) -> str:
    if not re.fullmatch(r"\d+[KMGT]?", text):
        raise ValueError(text)
    return text


def _word(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError(text)
    return text


@dataclass(frozen=True)
class Key:
    """A key of `--slurm`: the option of sbatch that it is, how its value is read (ValueError where
    it breaks the rule), and the rule."""

    option: str
    read: Callable[[str], Value]
    rule: str


KEYS = {
    "account": Key("account", _word, "a name"),
    "constraint": Key("constraint", _word, "a feature of nodes"),
    "cpus": Key("cpus-per-task", _positive, "a number of cores"),
    "exclude": Key("exclude", _word, "a list of nodes"),
    "gpus": Key("gpus-per-node", _count, "a number of GPUs"),
    "gres": Key("gres", _word, "a list of resources"),
    "mem": Key("mem", _memory, "an amount such as 16G"),
    "nodelist": Key("nodelist", _word, "a list of nodes"),
    "partition": Key("partition", _word, "a name"),
    "qos": Key("qos", _word, "a name"),
    "reservation": Key("reservation", _word, "a name"),
    "save": Key("", _positive, "the seconds in which a stage saves before its time is up"),
    "time": Key("time", parse_time, "a time such as 4:00:00 or 2-12:00"),
}


@dataclass(frozen=True)
class Asked:
    """What jobs ask for: by key, for stages that use a GPU and, where it differs, for others."""

    all: Mapping[str, Value] = field(default_factory=dict)
    on_cpu: Mapping[str, Value] = field(default_factory=dict)

    def values(self, uses_gpu: bool) -> dict[str, Value]:
        """What a stage's job asks for, by key of `KEYS`."""
        common: dict[str, Value] = {"time": HOURS * 60, "save": SAVE_SECONDS, **self.all}
        if uses_gpu:
            return common
        common.pop("gpus", None)
        return {**common, **self.on_cpu}


def parse(text: str) -> Asked:
    """What `KEY=VALUE,...` asks for. A comma inside a value is one that no KEY= follows. BadInput
    for an unknown key, and for a value that breaks its rule."""
    all_, on_cpu = dict[str, Value](), dict[str, Value]()
    for part in re.split(r",(?=[^,=]+=)", text) if text else ():
        name, equals, value = part.partition("=")
        key = name.removeprefix(ON_CPU)
        if not equals:
            raise BadInput(f"--slurm is KEY=VALUE,..., got {brief(part)}; try: {EXAMPLE}")
        if key not in KEYS:
            raise unknown("key of --slurm", key, KEYS, f"bench run --launcher slurm {EXAMPLE}")
        try:
            read = KEYS[key].read(value)
        except ValueError:
            raise BadInput(
                f"--slurm {key} is {KEYS[key].rule}, got {brief(value)}; try: {EXAMPLE}"
            ) from None
        (on_cpu if name.startswith(ON_CPU) else all_)[key] = read
    asked = Asked(all_, on_cpu)
    for values in (asked.values(True), asked.values(False)):
        _check_time(values)
    return asked


def _check_time(values: Mapping[str, Value]) -> None:
    minutes, save = int(values["time"]), int(values["save"])
    if save >= minutes * 60:
        raise BadInput(
            f"--slurm time: a job of {minutes} minutes would save from its first second on, since "
            f"save={save} seconds before its end; try: --slurm time={minutes},save=30"
        )
