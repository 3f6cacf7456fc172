"""Sums of many terms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from amaranth.hdl import Module, Value

from sateen.hw.stream.delay import FANOUT, delayed

__all__ = ["adder_tree"]


def adder_tree(m: Module, terms: Sequence[Value], *, after: int) -> tuple[Value, int]:
    """The sum of ``terms``, one or more, of which registers after each stage add up :data:`FANOUT`.

    One sum per cycle. ``after`` is the latency of the terms; returned with the sum is that of the sum.
    """
    while len(terms) > 1:
        groups = [terms[start : start + FANOUT] for start in range(0, len(terms), FANOUT)]
        terms = [
            delayed(m, reduce(lambda a, b: a + b, group), name=f"sum_{after}_{index}")
            for index, group in enumerate(groups)
        ]
        after += 1
    return terms[0], after
