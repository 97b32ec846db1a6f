"""The one error family: what a user did that cannot work, in one line,
with the next command to type."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BenchError(Exception):
    """Printed without a traceback. `exit_code`: 2 bad input, 1 a stage failed."""

    exit_code = 2


class BadInput(BenchError):
    """A name, value or option that breaks a rule."""


class BadData(BenchError):
    """A dataset that is missing, half-written or damaged. `findings`: all that is wrong, where the
    message names the first of several. `count`: how many there are; `findings` may end with a line
    that stands for many of a kind."""

    findings: tuple[str, ...] = ()
    count: int = 1

    @classmethod
    def of(cls, findings: list[str], noun: str = "such images", count: int = 0) -> BadData:
        """The error of damaged images, or of other things: the first one and how many there
        are."""
        number = count or len(findings)
        error = cls(findings[0] + (f" ({number} {noun})" if number > 1 else ""))
        error.findings, error.count = tuple(findings), number
        return error


class Unsupported(BenchError):
    """A combination that cannot work, with the reason; a first-class outcome, never a crash."""


class Unavailable(Unsupported):
    """A component that exists but cannot be used, with the reason: its file cannot be imported, or
    lacks what a component must have. It stops its own cells only."""


class Taken(BenchError):
    """Another process makes the stage now; the line says which."""


class StageFailed(BenchError):
    """A stage raised; the rest of the plan carries on."""

    exit_code = 1


def brief(value: object, most: int = 80) -> str:
    """The value as an error quotes it; of a long one, its beginning and its length."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    if len(text) <= most:
        return text
    return f"{text[: most - 20]}... ({len(text):,} characters)"


def nearest(value: str, names: Iterable[str]) -> str | None:
    """The name closest to `value`, or None when nothing is close."""
    if len(value) > 200:  # comparing takes the product of the lengths
        return None
    matches = get_close_matches(value, list(names), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(what: str, value: str, names: Iterable[str], then: str) -> BadInput:
    """Error for a name that does not exist: the value, the nearest name,
    the list, the next command."""
    names = sorted(names)
    guess = nearest(value, names)
    hint = f" (did you mean {guess!r}?)" if guess else ""
    known = ", ".join(names) if len(names) <= 30 else ", ".join(names[:30]) + ", ..."
    return BadInput(f"unknown {what} {brief(value)}{hint}; known: {known or 'none'}; try: {then}")
