"""Results that come from a file, checked: their shape, and for imports their values too."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from bench.core.errors import BadInput
from bench.results.db.records import CellRecord, ResultRecord

if TYPE_CHECKING:
    from bench.contracts.task import Task

SCHEMA = 1
LARGEST_SEED = 2**31 - 1  # the column's
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode: controls, directions, halves, line breaks
PERCENT = 100 * (1 + 1e-9)  # a mean of percentages may be rounded up


def strip_controls(text: str) -> str:
    """The text without characters that a terminal would obey instead of showing them."""
    return "".join(c for c in text if unicodedata.category(c) not in INVISIBLE)


M = TypeVar("M", bound=BaseModel)
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KeyOrNone = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(strip_controls)]
Name = Annotated[Text, Field(max_length=128)]  # the columns' lengths
Word = Annotated[Text, Field(max_length=64)]
ShortWord = Annotated[Text, Field(max_length=32)]


class _Cell(BaseModel):
    model_config = ConfigDict(strict=True)

    method: Name
    crop: Name
    task: Name
    scale: ShortWord
    pretrain_data: Name
    task_data: Name
    engine: Word
    seed: int = Field(ge=0, le=LARGEST_SEED)
    overrides: dict[Text, Text]
    pretrain_data_key: KeyOrNone = ""
    task_data_key: KeyOrNone = ""
    pretrain_name: Word = ""
    task_name: Word = ""
    pretraining: KeyOrNone = ""
    protocol: KeyOrNone = ""
    label: Key
    group: Key
    command: Text


class _Result(BaseModel):
    model_config = ConfigDict(strict=True, populate_by_name=True)

    version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    source: str | None = Field(default=None, pattern="^(measured|imported)$")
    headline: Word
    cell: _Cell
    metrics: dict[Word, Finite] = Field(min_length=1)
    order: list[Word]
    stages: list[Key] | None = None
    seconds: Finite | None = None

    @model_validator(mode="after")
    def _orders_its_metrics(self) -> Self:
        if sorted(self.order) != sorted(self.metrics):
            raise ValueError("its order does not list each of its metrics once")
        return self


class _KeptCell(BaseModel):
    model_config = ConfigDict(strict=True)

    cell: _Cell
    state: str = Field(pattern="^(failed|interrupted|unsupported)$")
    reason: Text | None


def check_record(record: Any, where: str) -> ResultRecord:
    """The record, if it is a whole result record of a schema that this version knows; else
    BadInput. Control characters are stripped from its texts."""
    checked = _validate(_Result, record, where, "a whole result record")
    plain = checked.model_dump(by_alias=True, exclude_unset=True)
    return cast("ResultRecord", {**plain, "cell": checked.cell.model_dump()})


def check_cell(record: Any, where: str) -> tuple[CellRecord, str, str | None]:
    """(cell, state, reason) of a cell that is not done, if the record is whole; else BadInput."""
    kept = _validate(_KeptCell, record, where, "a whole record of a cell")
    return cast("CellRecord", kept.cell.model_dump()), kept.state, kept.reason


def check_import(records: Sequence[Any], where: str) -> list[ResultRecord]:
    """The results of an export from elsewhere; BadInput where one is not whole, has a value
    outside of its metric's range, or where two from one source are of one group and seed."""
    results = [check_record(r, f"{where}, result {at}") for at, r in enumerate(records, 1)]
    seen: dict[tuple[str, str, int], ResultRecord] = {}
    for at, result in enumerate(results, 1):
        _check_values(result, f"{where}, result {at}")
        cell = result["cell"]
        place = result.get("source") or "measured", cell["group"], cell["seed"]
        if place in seen:
            raise describe_twins(seen[place]["cell"], cell, where)
        seen[place] = result
    return results


def describe_twins(one: CellRecord, other: CellRecord, where: str) -> BadInput:
    """The error of two results that would be one seed of one row."""
    return BadInput(
        f"{where} has a result of {other['method']} x {other['crop']} x {other['task']} with seed "
        f"{other['seed']} ({other['label'][:12]}), and there is another of the same row and seed "
        f"({one['label'][:12]}); nothing was imported: remove one of them"
    )


def describe_changeling(known: CellRecord, other: CellRecord, where: str) -> BadInput:
    """The error of a cell that is here with another row or seed: one of the two was edited."""
    return BadInput(
        f"{where} has cell {other['label'][:12]} with seed {other['seed']} in row "
        f"{other['group'][:12]}, but here it has seed {known['seed']} in row "
        f"{known['group'][:12]}; nothing was imported: ask for another export"
    )


def _check_values(result: ResultRecord, where: str) -> None:
    """Headline and values are what the task's declaration allows; of a task that is not installed
    here nothing is known."""
    name, headline = result["cell"]["task"], result["headline"]
    task = _find_task(name)
    if headline not in result["metrics"]:
        raise BadInput(f"{where}: its headline {headline!r} is none of its metrics")
    if task and headline != task.headline:
        raise BadInput(f"{where}: {name} is ranked by {task.headline}, not by {headline}")
    declared = task.metrics if task else {}
    for metric, value in result["metrics"].items():
        if declared.get(metric, "").endswith("percent") and not 0 <= value <= PERCENT:
            raise BadInput(
                f"{where}: {metric} is {value:g}, but {name} declares it in percent, 0 to 100"
            )


def _find_task(name: str) -> type[Task] | None:
    """The task of that name, if it is installed here."""
    from bench.contracts import registry

    if ("task", name) not in registry.entries():
        return None
    return cast("type[Task]", registry.load("task", name))


def _validate(model: type[M], record: Any, where: str, what: str) -> M:
    try:
        return model.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = strip_controls(".".join(map(str, first["loc"])))[:80] or "it"
        problem = strip_controls(first["msg"].removeprefix("Value error, "))
        raise BadInput(
            f"{where} is not {what} of schema {SCHEMA}: {place}: {problem.lower()}; "
            "try: bench results export --out FILE"
        ) from None
