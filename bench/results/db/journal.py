"""Who asked for which cell and when, and what people write about it."""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from functools import cache

from sqlalchemy.orm import Session

from bench.results.db.models import JournalRow

Origin = tuple[str, float]  # a user, and seconds since 1970


@cache
def user_name() -> str:
    """The user of this process; "" where the system does not know one."""
    try:
        return getpass.getuser()[:64]
    except (KeyError, OSError):
        return ""


def origin_now() -> Origin:
    """This user, now."""
    return user_name(), time.time()


def _open_row(session: Session, label: str) -> JournalRow:
    row = session.get(JournalRow, label)
    if row is None:
        row = JournalRow(label=label, user="", note="", tags="")
        session.add(row)
    return row


def write_origin(session: Session, label: str, origin: Origin) -> None:
    """Remember who changed the state of a cell, and when."""
    row = _open_row(session, label)
    row.user, row.changed = origin


def annotate(session: Session, label: str, note: str | None, tags: Sequence[str] | None) -> None:
    """Replace a cell's note or its tags; None leaves them."""
    row = _open_row(session, label)
    if note is not None:
        row.note = note
    if tags is not None:
        row.tags = ",".join(tags)
