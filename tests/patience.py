"""How long a test waits for another process: long enough for a machine at ten times its load."""

from __future__ import annotations

HANG = 600.0  # seconds; whatever takes longer hangs, and the test fails
