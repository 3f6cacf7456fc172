"""What a descriptor adds to a convolution's results."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.verification.places import Place, mistake
from sateen.graph.ops import Op, ResidualConv2D, Tensor
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.parameters import TABLE_ENTRIES
from sateen.hw.spec.residual import RESIDUAL_UNIT, Sum
from sateen.sim import golden

__all__ = ["check_residual"]

BYTES = np.arange(TABLE_ENTRIES).astype(np.uint8).view(np.int8)
ADDRESSES = 1 << 20
"""Those of the largest scratchpad: a distance wraps there."""


def check_residual(
    op: Op, place: Place, d: Descriptor, store: NDArray[np.int8], tensors: Mapping[str, Tensor]
) -> None:
    """Whether a descriptor adds a tensor where the operator does. Compares the sum that stands before its weights with
    the operator's, for all pairs of bytes, and where it finds the tensor."""
    if not d.weights.residual == (d.output.residual is not None) == isinstance(op, ResidualConv2D):
        raise mistake(op, f"{place} adds a residual tensor in some of its streams only, or none")
    if not isinstance(op, ResidualConv2D) or d.output.residual is None:
        return
    address, first, count = place.sources[-1]
    apart = address - first - (place.address - place.first)
    if (d.output.residual * RESIDUAL_UNIT - apart) % ADDRESSES:
        raise mistake(op, f"{place} adds bytes {d.output.residual * RESIDUAL_UNIT} behind its results, not {apart}")
    if apart and address < place.address + place.size and place.address < address + count:
        raise mistake(op, f"{place} writes over the tensor that it adds")
    found = Sum.read(store[d.weights.base :].tobytes(), store.shape[1])
    tables = np.array(found.tables)
    left, right = np.meshgrid(BYTES, BYTES, indexing="ij")
    between, added = op.between, tensors[op.residual]
    values = {between.name: left, op.residual: right}
    wanted = op.sum.execute({between.name: between, op.residual: added, op.output: tensors[op.output]}, values)
    results = golden.requantize(
        tables[0][left.view(np.uint8)] + tables[1][right.view(np.uint8)] + found.bias, found.multiplier, found.shift,
        rounding=found.rounding, zero_point=found.zero_point, low=found.low, high=found.high,
    )  # fmt: skip
    wrong = np.argwhere(results != wanted)
    if len(wrong):
        a, b = (int(BYTES[index]) for index in wrong[0])
        raise mistake(op, f"{place} makes {results[tuple(wrong[0])]} of {a} and {b}, not {wanted[tuple(wrong[0])]}")
