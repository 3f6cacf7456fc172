"""Functions of one quantized value, as tables: chains of real operators between a DequantizeLinear and a QuantizeLinear
that the device can look up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sateen.frontends.onnx.values import Quantization
from sateen.graph import Array, Constant, Dequantize, Op, RealBinary, RealUnary, Tensor
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["FoundTable", "evaluated", "table_of"]


@dataclass(frozen=True)
class FoundTable:
    """A function of one tensor's codes."""

    input: str
    values: Array
    """[256], for the codes −128 to 127."""
    function: str
    """What it computes, for people."""


def table_of(
    ops: Sequence[Op], tensors: Mapping[str, Tensor], real: Tensor, quantization: Quantization
) -> FoundTable | None:
    """The table of a real tensor's codes; ``None`` if these do not depend on one code alone each.

    The operators are computed as they are, on every code, so the table gives what they give.
    """
    found = evaluated(ops, tensors, real, channels=1)
    if found is None:
        return None
    source, result, chain = found[0], found[1].reshape(-1), found[2]
    if np.isnan(result).any():
        # Only the codes that are reached matter; quantizing them refuses what is no number.
        return None
    codes = golden.quantize(result, (quantization.scale, quantization.zero_point), rounding=Rounding.FLOAT32)
    functions = ", ".join(op.function for op in chain if isinstance(op, RealBinary | RealUnary))
    return FoundTable(source.name, codes, functions)


def evaluated(
    ops: Sequence[Op], tensors: Mapping[str, Tensor], real: Tensor, *, channels: int
) -> tuple[Tensor, Array, list[Op]] | None:
    """The tensor of codes of which a real tensor is a function, [256, C] the results for each code of each of so many
    channels, and the operators; ``None`` if they do not depend on one code alone each, and its channel."""
    chain = _chain(ops, real.name, {1, channels})
    sources = {op.input for op in chain or () if isinstance(op, Dequantize)}
    if chain is None or len(sources) != 1:
        return None
    source = tensors[next(iter(sources))]
    if source.shape != real.shape or source.dtype != "int8":
        return None
    every = np.repeat(np.arange(-128, 128).astype(np.int8)[:, None], channels, axis=1)
    values: dict[str, Array] = {source.name: every.reshape(256, *[1] * (len(real.shape) - 2), channels)}
    for op in chain:
        values[op.output] = op.execute(tensors, values)
    return source, values[real.name].reshape(256, channels), chain


def _chain(ops: Sequence[Op], name: str, sizes: set[int]) -> list[Op] | None:
    """The operators that compute a tensor from codes, in order; ``None`` if one of them does more than to compute each
    value from one, and from constants of these numbers of values along the last axis."""
    chain: list[Op] = []
    wanted = {name}
    for op in reversed(ops):
        if op.output not in wanted:
            continue
        wanted.remove(op.output)
        chain.append(op)
        if isinstance(op, RealBinary | RealUnary):
            wanted.update(op.inputs)
        elif not isinstance(op, Dequantize) and not (
            isinstance(op, Constant) and op.values.size == op.values.shape[-1] and op.values.size in sizes
        ):
            return None
    return None if wanted else chain[::-1]
