"""Products of two tensors: one of them is copied into the weight store, and the other passes the tile."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.kernel import ONCE, Kernel, diagonal, parameter_words, parameters, repeated, split
from sateen.errors import CompileError
from sateen.graph.ops import MatrixProduct, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.parameters import BIAS_BYTES

__all__ = ["Item", "ProductOfTwo", "matrix_product"]


@dataclass(frozen=True)
class Item:
    """One matrix of the result: the first bytes of both operands and of the result."""

    left: int
    right: int
    target: int


@dataclass(frozen=True, kw_only=True)
class ProductOfTwo:
    """Matrices that are multiplied one after the other."""

    kernel: Kernel
    """The product, whose weights are zeros."""
    copies: tuple[Kernel, ...]
    """Copies of the right operand, one for each group of columns. Their results are bytes of the weight store, from the
    first word of the kernel's."""
    items: tuple[Item, ...]


def matrix_product(op: MatrixProduct, a: Tensor, b: Tensor, y: Tensor, config: Config) -> ProductOfTwo:
    """The right operand becomes words of weights: as it stands, a row of the tile from each of its rows, or byte by
    byte if it is transposed."""
    if not config.products:
        raise CompileError(f"{op}: the device multiplies by constants only; configure one with products=1")
    if op.transpose_a:
        raise CompileError(f"{op}: its left operand is transposed, which the device does not do; transpose it before")
    rows, depth = a.shape[-2:]
    columns = y.shape[-1]
    kernel = Kernel(
        height=1,
        width=rows * depth,
        out=(1, rows),
        channels=columns,
        origin=(0, 0),
        stride=(1, depth),
        pooling=ONCE,
        reduction=ONCE,
        run_length=depth,
        group_stride=0,
        padding=a.zero_point,
        weights=np.zeros((columns, 1, 1, depth), np.int8),
        parameters=parameters(*_channels(op, columns)),
        zero_point=y.zero_point,
        low=op.low,
        high=op.high,
        rounding=op.rounding,
        source=0,
        zero_points=(a.zero_point, b.zero_point),
    )
    copies = tuple(_copies(op, kernel, depth, columns, config))
    _check_words(op, kernel, copies, depth, config)
    full, rest = copies[: columns // config.cols], copies[columns // config.cols :]
    if full and math.prod(full[0].out) <= config.positions:
        # The first two are blocks of one descriptor, the others of another one: scales stand behind the first alone.
        full = full[: min(2, len(full) - 1) or 1]
    count = sum(_descriptors(each, config) for each in (*full, *rest, kernel))
    if count > config.descriptors:
        raise CompileError(
            f"{op}: one of its matrices takes {count} descriptors, more than the {config.descriptors} that the device "
            "holds at a time; raise descriptors or positions"
        )
    return ProductOfTwo(kernel=kernel, copies=copies, items=tuple(_items(a, b, y)))


def _check_words(op: MatrixProduct, kernel: Kernel, copies: Sequence[Kernel], depth: int, config: Config) -> None:
    """Raises unless the words of the product and those of its copies, equal ones once, fit together."""
    groups = -(-kernel.channels // config.cols)
    copied = {copy.channels: copy.group_words(config) + config.parameter_words for copy in copies}
    if groups * (kernel.group_words(config) + config.parameter_words) + sum(copied.values()) > config.weight_words:
        raise CompileError(
            f"{op}: its right operand of {depth} by {kernel.channels} does not fit the weight store's "
            f"{config.weight_words} words; raise weight_bytes"
        )


def _channels(op: MatrixProduct, columns: int) -> Iterator[NDArray[np.int64]]:
    for value in (op.bias, op.multiplier, op.shift):
        yield np.broadcast_to(np.asarray(value, np.int64), columns)


def _copies(op: MatrixProduct, kernel: Kernel, depth: int, columns: int, config: Config) -> Iterator[Kernel]:
    groups, words = -(-columns // config.cols), kernel.group_words(config)
    word, start = config.weight_word_bytes, 0
    # All groups have the same scales, which only the first one states, and mostly the same biases.
    biases = 0 if repeated(parameter_words(kernel, config), config)[1] else BIAS_BYTES
    for group in range(groups):
        first, here = group * config.cols, min(config.cols, columns - group * config.cols)
        ones = np.ones((1 if op.transpose_b else here, 1, 1), np.int8)
        if op.transpose_b:
            # Position (y, x): byte x of row first + y, which becomes byte y of word x.
            copy = diagonal(ones, (columns, depth, 1), (here, depth), config, origin=(first, 0, 0))
            spacing = (1, word)
        else:
            copy = diagonal(ones, (depth, 1, columns), (depth, 1), config, origin=(0, 0, first))
            spacing = (word, word)
        yield dataclasses.replace(copy, source=1, target=start * word, spacing=spacing)
        start += words + (biases if group else config.parameter_words)


def _descriptors(kernel: Kernel, config: Config) -> int:
    """Descriptors of a kernel that fits one pass."""
    rows, columns = kernel.out
    return sum(
        parts * len(list(split(rows, max(1, min(rows, config.positions // size)))))
        for _, size, parts in split(columns, config.positions)
    )


def _items(a: Tensor, b: Tensor, y: Tensor) -> Iterator[Item]:
    """All matrices of one item of the batch. Operands with an axis of 1 are taken again."""
    outer = y.shape[1:-2]
    sizes = [math.prod(tensor.shape[-2:]) for tensor in (a, b, y)]
    steps = []
    for tensor in (a, b, y):
        lengths = tensor.shape[1:-2]
        strides = [math.prod(lengths[axis + 1 :]) if lengths[axis] > 1 else 0 for axis in range(len(lengths))]
        steps.append(np.array(strides, np.int64))
    for place in np.ndindex(*outer):
        offsets = (int(np.dot(step, place)) * size for step, size in zip(steps, sizes, strict=True))
        yield Item(*offsets)
