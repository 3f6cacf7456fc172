"""How precisely each layer must be computed to be exact."""

from __future__ import annotations

from weft.graph import Graph, MaxPool2D, Reshape

__all__ = ["bits_for", "value_ranges"]


def value_ranges(graph: Graph) -> dict[str, tuple[int, int]]:
    """Least and largest int8 value that each tensor can hold, from the clamps of the operators that make them."""
    ranges = dict.fromkeys(graph.inputs, (-128, 127))
    for op in graph.ops:
        before = ranges[op.inputs[0]]
        if isinstance(op, Reshape):
            ranges[op.output] = before
        else:
            low, high = getattr(op, "low", -128), getattr(op, "high", 127)
            if isinstance(op, MaxPool2D):
                low, high = min(max(low, before[0]), high), max(min(high, before[1]), low)
            ranges[op.output] = low, high
    return ranges


def bits_for(low: int, high: int) -> int:
    """Bits of a two's complement number that holds ``low`` to ``high``; 1 or more."""
    return max(1, 1 + max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length()))
