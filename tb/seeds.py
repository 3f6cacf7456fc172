"""Where every test's random numbers begin: one fixed base, or ``WEFT_SEED``, and a seed of its own for each test.

A test draws the same numbers alone, in any order and in any number of workers. Other numbers are drawn with another ``WEFT_SEED``.
"""

from __future__ import annotations

import hashlib
import os

VARIABLE = "WEFT_SEED"
BASE = int(os.environ.get(VARIABLE) or 1)

_current = ""


def seed(*names: object) -> int:
    """The seed of what these names stand for, from 1 to 2\\ :sup:`31`; no hash of Python's, which differ from process to process."""
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
