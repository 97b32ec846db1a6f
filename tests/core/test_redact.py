"""No password of a URL is shown, whatever the URL looks like."""

from __future__ import annotations

import pytest

from bench.core.redact import redact, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:hunter2@h:5432/db", "postgresql+psycopg://u:***@h:5432/db"),
        ("postgresql://bench:bench@h/bench", "postgresql://bench:***@h/bench"),
        ("nosuch://u:hunter2@h/db", "nosuch://u:***@h/db"),
        ("postgresql://u:hun/ter2@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:hun@ter2@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p%40w@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:hunter 2@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:hunter2@h:port/db", "postgresql://u:***@h:port/db"),
        ("postgresql://u:hunter2", "postgresql://u:***"),
        ("postgresql://u:hunter2/db", "postgresql://u:***/db"),
        ("postgresql://h/db?user=u&password=hunter2", "postgresql://h/db?user=u&password=***"),
        ("postgres//u:hunter2@h/db", "***@h/db"),
        ("u:hunter2@h/db", "***@h/db"),
        # nothing to hide
        ("sqlite:////a b/results.db", "sqlite:////a b/results.db"),
        ("sqlite:///C:/x/@y.db", "sqlite:///C:/x/@y.db"),
        ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
        ("postgresql+psycopg:///db?host=/tmp", "postgresql+psycopg:///db?host=/tmp"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact(f"cannot open {url}", url) == f"cannot open {shown}"


def test_a_drivers_words_are_shown_without_the_password() -> None:
    url = "postgresql://u:hun%20ter2@h/db"
    assert redact("bad literal 'hun ter2', or hun%20ter2", url) == "bad literal '***', or ***"
    assert redact("host=h password=hunter2 port=1") == "host=h password=*** port=1"
    assert redact("--url=ray://u:hunter2@h:1 --set a.b=x:y@z") == (
        "--url=ray://u:***@h:1 --set a.b=x:y@z"
    )
