"""Where every test's random numbers begin: one fixed base, or ``SATEEN_SEED``, and a seed of its own for each test.

A test draws the same numbers alone, in any order and in any number of workers. Another ``SATEEN_SEED`` gives it others.
"""

from __future__ import annotations

import hashlib
import os

VARIABLE = "SATEEN_SEED"
BASE = int(os.environ.get(VARIABLE) or 1)

_current = ""


def seed(*names: object) -> int:
    """The seed of what these names stand for, 1 or more, in 31 bits. Python's own hashes differ between processes."""
    digest = hashlib.sha256("\0".join(map(str, (BASE, *names))).encode()).digest()
    return int.from_bytes(digest[:4], "big") % (2**31 - 1) + 1


def begin(test: str) -> int:
    """Says which test runs now, by its pytest id; its seed."""
    global _current
    _current = test
    return own()


def own() -> int:
    """The seed of the test that runs now."""
    return seed(_current)
