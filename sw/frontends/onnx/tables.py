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


ERROR = 4 * 2.0**-24
"""The error of an approximated function, relative to 1, its result, or what it takes, if that is larger."""
SIGNS = (np.ones(256), -np.ones(256), np.tile([1.0, -1.0], 128), np.tile([-1.0, 1.0], 128))
"""Signs of such errors that are tried."""


@dataclass(frozen=True)
class FoundTable:
    """A function of one tensor's codes."""

    input: str
    values: Array
    """[256], for the codes −128 to 127."""
    function: str
    """What it computes, for people."""
    open: bool
    """Whether a result comes so near to a tie that another approximation of its functions may be quantized
    otherwise."""


def table_of(
    ops: Sequence[Op], tensors: Mapping[str, Tensor], real: Tensor, quantization: Quantization
) -> FoundTable | None:
    """The table of a real tensor's codes; ``None`` if these do not depend on one code alone each.

    The operators are computed as they are, on every code, so the table gives what they give.
    """

    def evaluate(signs: Array | None = None) -> tuple[Tensor, Array, list[Op]] | None:
        return evaluated(ops, tensors, real, channels=1, signs=signs)

    def quantized(values: Array) -> Array:
        output = quantization.scale, quantization.zero_point
        return golden.quantize(values.reshape(-1), output, rounding=Rounding.FLOAT32)

    found = evaluate()
    if found is None:
        return None
    source, result, chain = found[0], found[1].reshape(-1), found[2]
    if np.isnan(result).any():
        # Only the codes that are reached matter; quantizing them refuses what is no number.
        return None
    codes = quantized(result)
    functions = ", ".join(op.function for op in chain if isinstance(op, RealBinary | RealUnary))
    other = [quantized(made[1]) for made in map(evaluate, SIGNS if _is_approximated(chain) else ()) if made is not None]
    return FoundTable(source.name, codes, functions, any(not np.array_equal(each, codes) for each in other))


def evaluated(
    ops: Sequence[Op], tensors: Mapping[str, Tensor], real: Tensor, *, channels: int, signs: Array | None = None
) -> tuple[Tensor, Array, list[Op]] | None:
    """The tensor of codes of which a real tensor is a function, [256, C] the results for each code of each of so many
    channels, and the operators; ``None`` if they do not depend on one code alone each, and its channel. Approximated
    functions make errors with ``signs``, [256]."""
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
        if signs is not None and _is_approximated([op]):
            values[op.output] = _with_errors(values[op.inputs[0]], values[op.output], signs)
    return source, values[real.name].reshape(256, channels), chain


def _is_approximated(chain: Sequence[Op]) -> bool:
    """Whether an operator's function is one that interpreters approximate."""
    return any(
        isinstance(op, RealUnary) and op.function in golden.REAL_APPROXIMATED
        or isinstance(op, RealBinary) and op.function == "power"
        for op in chain
    )  # fmt: skip


def _with_errors(x: Array, y: Array, signs: Array) -> Array:
    """Results of an approximated function with errors, where it does not give 0, 1, or what it takes."""
    wide = y.astype(np.float64)
    errors = ERROR * np.maximum(np.maximum(np.abs(wide), np.abs(x)), 1) * signs.reshape(-1, *[1] * (y.ndim - 1))
    known = (y == x) | (y == 0) | (np.abs(y) == 1)
    return np.where(known, wide, wide + errors).astype(np.float32)


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
