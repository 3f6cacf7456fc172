"""A requantizing lane at the speed of C++: millions of sums next to ties, by each rounding in turn, compared with the
processor's own arithmetic."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cpp_benches import built, run
from sateen.hw.requantize import SETTINGS, Requantize

__all__ = ["check", "soak"]

BENCH = Path(__file__).parent / "lane.cpp"


@cache
def _built() -> Path:
    """The program, of the lane as it is now."""
    assert [SETTINGS[field].offset for field in ("zero_point", "low", "high", "rounding")] == [0, 8, 16, 24]
    return built(BENCH, Requantize())


def check(seed: int, count: int) -> None:
    """Sends ``count`` sums through the lane. AssertionError with the first that is wrong."""
    run(_built(), Requantize.LATENCY, count, seed)


def soak(seed: int) -> str:
    """Five million sums."""
    check(seed, 5_000_000)
    return "equal"
