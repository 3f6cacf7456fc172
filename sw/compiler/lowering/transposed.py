"""Transposed convolutions as kernels."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.kernel import Kernel
from sateen.compiler.lowering.weighted import row_by_row
from sateen.graph.ops import Conv2D, Tensor, TransposeConv2D
from sateen.hw.spec.config import Config

__all__ = ["transpose_conv2d"]


@dataclass(frozen=True)
class Phase:
    """Every ``stride``-th result along an axis: the same taps of the kernel meet inputs there."""

    first: int
    """The first of these results."""
    count: int
    taps: tuple[int, ...]
    """Positions in the kernel, in the order of the inputs that they meet; none where no input reaches the results."""
    begin: int
    """The input that meets the first tap, for the first result; negative in padding."""
    dilation: int
    """From the input of one tap to that of the next."""


def phases(size: int, stride: int, dilation: int, before: int, results: int) -> Iterator[Phase]:
    """The phases of an axis with a kernel of ``size``, of whose whole result ``before`` are cut off."""
    step = dilation // math.gcd(stride, dilation)
    for first in range(min(stride, results)):
        # Input i and tap k make result i·stride + k·dilation − before.
        taps = [k for k in reversed(range(size)) if (first + before - k * dilation) % stride == 0]
        begin = (first + before - taps[0] * dilation) // stride if taps else 0
        yield Phase(first, -(-(results - first) // stride), tuple(taps), begin, step)


def transpose_conv2d(op: TransposeConv2D, x: Tensor, y: Tensor, config: Config) -> Iterator[Kernel]:
    """A convolution for each phase of rows and columns, whose results are interleaved with those of the others.

    It takes no more beats than multiplications with inputs need: none is multiplied with inserted zeros.
    """
    weights = _dense(op)
    _, kernel_y, kernel_x, _ = weights.shape
    line, pixel = y.shape[2] * len(weights), len(weights)
    rows = list(phases(kernel_y, op.stride[0], op.dilation[0], op.crop[0][0], y.shape[1]))
    columns = list(phases(kernel_x, op.stride[1], op.dilation[1], op.crop[1][0], y.shape[2]))
    for row, column in itertools.product(rows, columns):
        part = weights[:, row.taps][:, :, column.taps]
        if not part.size:
            part = np.zeros_like(weights[:, :1, :1])
        conv = Conv2D(
            name=op.name,
            input=op.input,
            output=op.output,
            weights=part,
            bias=op.bias,
            multiplier=op.multiplier,
            shift=op.shift,
            low=op.low,
            high=op.high,
            rounding=op.rounding,
            terms=op.terms,
            dilation=(row.dilation, column.dilation),
        )
        out = dataclasses.replace(y, shape=(y.shape[0], row.count, column.count, pixel), file_layout=None)
        yield dataclasses.replace(
            row_by_row(conv, x, out, config),
            origin=(row.begin, column.begin * x.shape[3]),
            target=row.first * line + column.first * pixel,
            spacing=(op.stride[0] * line, op.stride[1] * pixel),
        )


def _dense(op: TransposeConv2D) -> NDArray[np.int8] | NDArray[np.int16]:
    """The weights [O, kernel height, kernel width, I] of one group, with zeros for the channels of others."""
    if op.groups == 1:
        return op.weights
    outputs, kernel_y, kernel_x, depth = op.weights.shape
    dense = np.zeros((outputs, kernel_y, kernel_x, op.groups, depth), op.weights.dtype)
    output = np.arange(outputs)
    dense[output, :, :, output * op.groups // outputs] = op.weights
    return dense.reshape(outputs, kernel_y, kernel_x, -1)
