"""bench: every crop x every SSL method x every downstream task, one command for each cell."""

__version__ = "0.1.0"
