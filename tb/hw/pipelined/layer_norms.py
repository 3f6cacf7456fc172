"""Layer normalization at the speed of C++: many rows, compared with the processor's own arithmetic."""

from __future__ import annotations

from pathlib import Path

from cpp_benches import built, run
from sateen.hw.pipelined.layer_norm import LayerNorm
from sateen.hw.spec.timing import row_cycles

__all__ = ["check"]

BENCH = Path(__file__).parent / "layer_norm.cpp"


def check(seed: int, layers: int, *, cols: int = 8, beat_bytes: int = 8, longest: int = 256) -> None:
    """Sends layers of a few rows through the unit. AssertionError with the first code that is wrong."""
    program = built(BENCH, LayerNorm(cols=cols, beat_bytes=beat_bytes, longest=longest))
    run(program, cols, min(cols, beat_bytes), longest, row_cycles(0, longest), layers, seed)
