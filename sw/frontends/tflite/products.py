"""The handler of TensorFlow Lite's matrix products of two tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator, RawTensor
from sateen.frontends.tflite.importer import QUANTIZED, Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.frontends.tflite.numbers import scaling
from sateen.graph import FullyConnected, MatrixProduct, RealMatrixProduct, Tensor, Transpose, require

__all__ = ["HANDLERS", "REAL_PRODUCTS"]

HANDLERS: dict[str, Handler] = {}
REAL_PRODUCTS: dict[str, Handler] = {}
"""The handler of products of real numbers."""
handles, of_reals = registers(HANDLERS), registers(REAL_PRODUCTS)


def _operands(importer: Importer, operator: RawOperator) -> tuple[tuple[Tensor, Tensor], dict[str, bool]]:
    """Both operands, with a batch and as many axes as the other, and whether the right one is transposed. The left one
    is transposed by itself, which devices can."""
    options = operator.options(tflite.BatchMatMulOptions)
    # Operands that are quantized already are not quantized again.
    options.ignore("AsymmetricQuantizeInputs")
    tensors = []
    for place in (0, 1):
        raw = importer.raw(operator, place)
        require(len(raw.shape) >= 2, operator, f"{raw} must have 2 axes or more, not the shape {raw.shape}")
        x = importer.value(operator, raw.index)
        if len(raw.shape) == 2:
            # Its first axis is that of the product, whatever its length.
            good = raw.index in importer.constants or importer.batch == 1
            require(good, operator, f"{raw} of {raw.shape} has no batch, but the model's is {importer.batch}")
            x = importer.reshape(operator, x, f"matrix{place}", (1, *raw.shape))
        tensors.append(x)
    rank = max(len(x.shape) for x in tensors)
    for place, x in enumerate(tensors):
        good = x.shape[0] == 1 or len(x.shape) == rank
        require(good, operator, f"the batch of {x}, {x.shape[0]}, stands beside another axis; add an axis of 1 to it")
        tensors[place] = importer.reshape(operator, x, f"operand{place}", (1,) * (rank - len(x.shape)) + x.shape)
    if options.AdjX:
        order = (*range(rank - 2), rank - 1, rank - 2)
        shape = tuple(tensors[0].shape[axis] for axis in order)
        tensors[0] = importer.between(operator, Transpose, tensors[0], "exchanged", shape, axes=order)
    return (tensors[0], tensors[1]), {"transpose_b": bool(options.AdjY)}


def _scaling(importer: Importer, operator: RawOperator) -> tuple[int, int]:
    """Multiplier and shift from the product of both scales to the result's. tflite-micro multiplies in double
    precision, LiteRT in single."""
    a, b = (importer.quantization(importer.raw(operator, place))[0] for place in (0, 1))
    return scaling(operator, a * b / importer.tensor(operator.outputs[0]).scale)


def _check(importer: Importer, operator: RawOperator) -> tuple[RawTensor, RawTensor]:
    a, b = (importer.raw(operator, place) for place in (0, 1))
    y = importer.model.tensors[operator.outputs[0]]
    for raw in (a, b, y):
        good = raw.type == "INT8"
        require(good, operator, f"{raw} is {raw.type}; TensorFlow Lite's product of codes is of INT8: quantize to int8")
    return a, b


@handles("BATCH_MATMUL")
def batch_matmul(importer: Importer, operator: RawOperator) -> None:
    """A matrix product. One matrix of constants on the right is a layer's weights."""
    a, b = _check(importer, operator)
    multiplier, shift = _scaling(importer, operator)
    weights, options = importer.constants.get(b.index), operator.options(tflite.BatchMatMulOptions)
    if weights is not None and len(b.shape) == 2 and a.index not in importer.constants and not options.AdjX:
        options.ignore("AsymmetricQuantizeInputs")
        _, zero_point = importer.quantization(b)
        values = weights.astype(np.int16) - QUANTIZED[b.type] - zero_point
        values = np.ascontiguousarray(values if options.AdjY else values.T)
        values = values.astype(np.int8) if abs(values).max() < 128 else values
        count = len(values)
        x = importer.input(operator, 0)
        return importer.add(
            operator, FullyConnected, input=x.name, weights=values, bias=np.zeros(count, np.int32),
            multiplier=np.full(count, multiplier, np.int32), shift=np.full(count, shift, np.int8),
        )  # fmt: skip
    (left, right), exchanged = _operands(importer, operator)
    fields: dict[str, Any] = {"a": left.name, "b": right.name, "bias": np.zeros(1, np.int32), **exchanged}
    importer.add(operator, MatrixProduct, multiplier=multiplier, shift=shift, **fields)


@of_reals("BATCH_MATMUL")
def real_batch_matmul(importer: Importer, operator: RawOperator) -> None:
    """A matrix product of real numbers."""
    (left, right), exchanged = _operands(importer, operator)
    bias = np.zeros(1, np.float32)
    importer.add(operator, RealMatrixProduct, a=left.name, b=right.name, bias=bias, **exchanged)
