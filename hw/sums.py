"""Partial sums, as the tile of either engine gives them to its accumulators."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

__all__ = ["SUM_BITS", "check_accumulators", "partial_sums", "tag_shape"]

SUM_BITS = 32
"""Width of a complete sum."""


def tag_shape(position_bits: int, *, in_place: bool = False) -> data.StructLayout:
    """What accompanies a beat and its sums: their ``address`` in the accumulators; whether the sum begins with this
    beat (``first``) and the half of the accumulators is complete with it (``last``); whether the tile gives its sums
    (``keep``); with ``in_place``, whether the beat's sum goes on where the last beat's ended (``stay``)."""
    stay = {"stay": 1} if in_place else {}
    return data.StructLayout({"address": position_bits, "first": 1, **stay, "last": 1, "keep": 1})


def partial_sums(*, cols: int, sum_bits: int, tag: data.Layout) -> data.StructLayout:
    """A beat's sums of ``sum_bits``, one for each column, and its tag."""
    return data.StructLayout({"sums": data.ArrayLayout(signed(sum_bits), cols), "tag": tag})


def check_accumulators(*, cols: int, positions: int, sum_bits: int) -> None:
    """Raises ``ValueError`` unless there can be accumulators of ``positions`` sums for each of ``cols`` columns."""
    if cols < 1:
        raise ValueError(f"cols must be 1 or more, not {cols!r}")
    if positions < 2:
        raise ValueError(f"positions must be 2 or more, not {positions!r}")
    if not 1 <= sum_bits <= SUM_BITS:
        raise ValueError(f"sum_bits must be 1 to {SUM_BITS}, not {sum_bits!r}")
