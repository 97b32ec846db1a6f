"""What a page says that met what nobody thought of."""

from __future__ import annotations

FAULT = "this page cannot be shown"


def describe_fault(error: Exception) -> str:
    """What it met, and what a reader can do."""
    what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return (
        f"{FAULT} ({what}). Either a row of the results database is damaged, which bench results "
        "check finds, or this is a fault of the dashboard; its log has the traceback."
    )
