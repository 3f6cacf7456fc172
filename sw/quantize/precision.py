"""The precision that each layer needs to be exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.errors import CompileError
from sateen.graph import (
    Concatenate,
    Constant,
    Graph,
    Move,
    Op,
    Pad,
    Pool2D,
    Reduction,
    Reshape,
    ResidualConv2D,
    Resize,
    ResizeBilinear,
    Slice,
    Table,
    Transpose,
)
from sateen.hw.spec.config import Config
from sateen.hw.spec.pe import TERM_GROUP, Encoding, Precision, TermBudget
from sateen.sim.golden.terms import term_count

__all__ = ["bits_for", "fullest_group", "precision", "value_ranges"]


def precision(op: Op, weights: NDArray[np.signedinteger[Any]], values: tuple[int, int], config: Config) -> Precision:
    """The precision for a layer on a device: that of the layer's term budget, else the lowest that is exact.

    Parameters
    ----------
    weights
        The weights as the PEs take them, with groups along the last axis.
    values
        The smallest and largest activation, padding included.

    Raises
    ------
    CompileError
        If the layer has a budget that the device's PEs do not support.
    """
    budget = getattr(op, "terms", None)
    if budget is not None and not config.pe_kind.budgets:
        raise CompileError(
            f"{op}: it keeps {budget.weight_terms} terms of a group, which pe={config.pe} cannot; use pe=term, "
            f"or set its terms to None"
        )
    result = Precision(activation_bits=bits_for(*values), terms=budget or _every_term(weights, values))
    try:
        config.pe_kind.settings(result)
    except ValueError as error:
        raise CompileError(f"{op}: {error}") from error
    return result


def _every_term(weights: NDArray[np.signedinteger[Any]], values: tuple[int, int]) -> TermBudget:
    """The smallest exact budget: the most terms of any group of weights, and of any activation."""
    data = int(term_count(np.arange(values[0], values[1] + 1), Encoding.NAF).max())
    return TermBudget(
        group=TERM_GROUP, weight_terms=fullest_group(weights), data_terms=max(1, data), encoding=Encoding.NAF
    )


def fullest_group(weights: NDArray[np.signedinteger[Any]]) -> int:
    """The most terms of any group of weights, at least 1; groups lie along the last axis."""
    counts = term_count(weights, Encoding.NAF)
    padded = np.pad(counts, [(0, 0)] * (counts.ndim - 1) + [(0, -counts.shape[-1] % TERM_GROUP)])
    return max(1, int(padded.reshape(-1, TERM_GROUP).sum(axis=1).max()))


def value_ranges(graph: Graph) -> dict[str, tuple[int, int]]:
    """The smallest and largest int8 value that each tensor can hold, derived from the operators."""
    ranges = dict.fromkeys(graph.sources, (-128, 127))
    for op in graph.ops:
        ranges[op.output] = _result_range(op, [ranges[name] for name in op.inputs])
    return ranges


def _result_range(op: Op, inputs: list[tuple[int, int]]) -> tuple[int, int]:
    if isinstance(op, Constant) and op.values.dtype == np.int8:
        return int(op.values.min()), int(op.values.max())
    if isinstance(op, Table):
        reached = op.table[inputs[0][0] + 128 : inputs[0][1] + 129]
        return int(reached.min()), int(reached.max())
    if isinstance(op, Concatenate | Move | Pad | Reduction | Reshape | Resize | ResizeBilinear | Slice | Transpose):
        lows, highs = zip(*inputs, *([(op.value, op.value)] if isinstance(op, Pad) else []), strict=True)
        return min(lows), max(highs)
    if isinstance(op, ResidualConv2D):
        op = op.sum
    low, high = getattr(op, "low", -128), getattr(op, "high", 127)
    if isinstance(op, Pool2D):
        before = inputs[0]
        return min(max(low, before[0]), high), max(min(high, before[1]), low)
    return low, high


def bits_for(low: int, high: int) -> int:
    """Bits of a two's complement number that holds ``low`` to ``high``; at least 1."""
    return max(1, 1 + max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length()))
