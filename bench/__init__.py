"""bench: every cropping strategy x every SSL method x every downstream task, one command a cell."""

__version__ = "0.1.0"
