"""The units of onnxruntime's softmax at the speed of C++: many rows, compared with the processor's own arithmetic."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cpp_benches import built, run
from sateen.hw.pipelined.shares import Share, Shares, entries_shape, total_latency
from sateen.hw.spec.timing import ADD_CYCLES, DIVIDE_CYCLES

__all__ = ["check", "soak"]

BENCH = Path(__file__).parent / "shares.cpp"


@cache
def _built(lanes: int) -> Path:
    """The program, of the units as they are now."""
    fields = entries_shape(lanes)
    assert [fields[name].offset for name in ("valid", "row", "mask", "first")] == [0, 1, 4, 4 + lanes]
    return built(BENCH, Shares(lanes=lanes))


def check(seed: int, rows: int, *, lanes: int = 4, longest: int = 300) -> None:
    """Sends rows through the units. AssertionError with the first share that is wrong."""
    numbers = ADD_CYCLES, DIVIDE_CYCLES, Share.LATENCY, total_latency(lanes), rows, longest, seed
    run(_built(lanes), lanes, *numbers)


def soak(seed: int) -> str:
    """A hundred thousand rows."""
    check(seed, 100_000)
    return "equal"
