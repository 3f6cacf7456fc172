"""Arithmetic of float32 at the speed of C++: millions of numbers, compared with the processor's own."""

from __future__ import annotations

from pathlib import Path

from cpp_benches import built, run
from sateen.hw.float32 import Fused, Quotient
from sateen.hw.spec.timing import QUOTIENT_CYCLES

__all__ = ["check_fused", "check_quotients"]

FOLDER = Path(__file__).parent


def check_fused(seed: int, count: int) -> None:
    """AssertionError with the first of so many results that is wrong."""
    run(built(FOLDER / "fused.cpp", Fused()), Fused.LATENCY, count, seed)


def check_quotients(seed: int, count: int, *, bits: int = 43) -> None:
    """The same of quotients and roots."""
    run(built(FOLDER / "quotients.cpp", Quotient(bits=bits)), bits, QUOTIENT_CYCLES, count, seed)
