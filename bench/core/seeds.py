"""Derived seeds: one base seed,
a purpose and dimensions give independent, reproducible streams."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(base: int, purpose: str, *dims: int | str) -> int:
    """A 63-bit seed from sha256 of (base, purpose, *dims);
    equal inputs give equal seeds everywhere."""
    text = "\x1f".join([str(base), purpose, *map(str, dims)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng_for(base: int, purpose: str, *dims: int | str) -> np.random.Generator:
    """A numpy Generator seeded by `seed_for`."""
    return np.random.Generator(np.random.PCG64(seed_for(base, purpose, *dims)))
