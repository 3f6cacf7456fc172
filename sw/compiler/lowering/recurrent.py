"""Lowering of recurrent layers with states of 16 bits, for the unit that :class:`~sateen.hw.spec.recurrent.Recurrent`
describes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.compiler.lowering.kernel import ONCE, Kernel, parameters
from sateen.compiler.lowering.weighted import fully_connected
from sateen.errors import CompileError
from sateen.graph.ops import FeatureBytes, FullyConnected, LstmBytes, Op, Tensor, TimeBytes
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.nests import Dim
from sateen.hw.spec.recurrent import CELL_POWERS, UNIT_SUMS, WORDS, Recurrent, Target
from sateen.sim import golden

__all__ = ["feature_bytes", "lstm_bytes", "time_bytes"]

ONE = 1 << 30, 1
"""Multiplier and shift of 1."""
OWN_RESULTS = 3
"""The source of an LSTM's kernels that read its own results: behind its inputs."""


def feature_bytes(op: FeatureBytes, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """A product whose results have two bytes."""
    count = math.prod(x.shape[1:-1])
    if count > 1:
        raise CompileError(f"{op}: it multiplies {count} vectors, and results of two bytes are of one alone")
    factors = np.full(len(op.weights), op.multiplier), np.full(len(op.weights), op.shift)
    kernel = _product(op, op.weights, np.zeros(len(op.weights), np.int64), factors, x, config)
    return _checked(op, replace(kernel, recurrent=Recurrent(target=Target.WIDE)), config)


def time_bytes(op: TimeBytes, x: Tensor, y: Tensor, config: Config) -> Kernel:
    """Sums over states of 16 bits times weights of 16 bits, from products of their bytes."""
    _check_unit(op, config)
    units = op.weights.shape[-1]
    kernel = _joined(op.weights.reshape(-1, units).astype(np.int64), op.bias, (op.multiplier, op.shift), config)
    kernel = replace(kernel, zero_point=y.zero_point, recurrent=Recurrent(target=Target.NARROW, joins=True))
    return _checked(op, kernel, config)


def lstm_bytes(
    op: LstmBytes, x: Tensor, hidden: Tensor, cell: Tensor, y: Tensor, config: Config
) -> Iterator[Kernel]:  # fmt: skip
    """The cell's bytes become words of the unit. Inputs of as many steps as there are words for are multiplied
    together, and their gates' sums are words, too. Then each step is the product of the hidden state before it. At the
    end the words that are cells become bytes."""
    _check_unit(op, config)
    steps, size, sums = x.shape[1], hidden.shape[1], UNIT_SUMS * hidden.shape[1]
    power = round(math.log2(cell.scale))
    if power > CELL_POWERS[1]:
        raise CompileError(f"{op}: its cells count in 2^{power}, more than 2^{CELL_POWERS[1]}, the device's most")
    if size + sums > config.recurrent:
        remedy = "raise recurrent" if size + sums <= WORDS[1] else f"no unit has more than {WORDS[1]}"
        raise CompileError(
            f"{op}: its {size} cells take {size + sums} words of the device's unit, which has {config.recurrent}; "
            f"{remedy}"
        )
    together = min(steps, (config.recurrent - size) // sums, config.positions)
    none, ones = np.zeros(size, np.int64), (np.full(size, ONE[0]), np.full(size, ONE[1]))
    load = _joined(np.ones((1, size), np.int64), none, ONE, config)
    store = _product(op, np.zeros((size, 1), np.int8), none, ones, x, config)
    keeps, writes = Recurrent(target=Target.WORDS, joins=True), Recurrent(target=Target.WIDE, adds=True)
    kernels = [replace(load, source=2, recurrent=keeps)]
    for first in range(0, steps, together):
        count = min(together, steps - first)
        kernels.append(_inputs(op, x, first, count, size, config))
        for step in range(first, first + count):
            kernels.append(_step(op, hidden, cell, steps, step, size + (step - first) * sums, config))
    kernels.append(replace(store, width=1, out=(1, 1), target=steps * size, recurrent=writes))
    yield from (_checked(op, kernel, config) for kernel in kernels)


def _inputs(op: LstmBytes, x: Tensor, first: int, count: int, size: int, config: Config) -> Kernel:
    """The gates' sums over the inputs of some steps, as the unit's words behind those of ``size`` cells."""
    kernel, recurrent = _gates(op, 0, x, config), Recurrent(target=Target.WORDS)
    return replace(kernel, out=(1, count), origin=(0, first * x.shape[2]), target=size, recurrent=recurrent)


def _step(op: LstmBytes, hidden: Tensor, cell: Tensor, steps: int, step: int, words: int, config: Config) -> Kernel:
    """A step; the sums over its inputs are words from ``words`` on."""
    kernel, size = _gates(op, 1, hidden, config), hidden.shape[1]
    multiplier, shift = golden.quantize_multiplier(2.0**-30 / hidden.scale)
    recurrent = Recurrent(
        target=Target.CELLS, adds=True, first=words, multiplier=multiplier, shift=shift,
        cell_power=round(math.log2(cell.scale)), cell_clip=op.cell_clip,
    )  # fmt: skip
    kernel = replace(kernel, source=1, target=step * size, zero_point=hidden.zero_point, recurrent=recurrent)
    if step:
        kernel = replace(kernel, source=OWN_RESULTS, width=(steps + 2) * size, origin=(0, (step - 1) * size))
    return kernel


def _gates(op: LstmBytes, side: int, x: Tensor, config: Config) -> Kernel:
    """The products of the inputs (0) or hidden states (1) for all gates, those of a cell side by side."""
    weights = (op.input_weights, op.recurrent_weights)[side]
    weights = weights.transpose(1, 0, 2).reshape(-1, weights.shape[2])
    bias = op.bias.T.ravel().astype(np.int64) * (1 - side)
    size = op.bias.shape[1]
    factors = np.tile(op.multiplier[:, side], size), np.tile(op.shift[:, side], size)
    return _product(op, weights, bias, factors, x, config)


def _product(
    op: Op, weights: NDArray[np.int8], bias: NDArray[np.int64], factors: tuple[ArrayLike, ArrayLike], x: Tensor,
    config: Config,
) -> Kernel:  # fmt: skip
    """A product over the last axis."""
    _check_unit(op, config)
    x = replace(x, shape=(*x.shape[:-1], weights.shape[1]))
    y = replace(x, shape=(*x.shape[:-1], len(weights)), zero_point=0)
    layer = FullyConnected(
        name=op.name, input="", output="", weights=weights, bias=bias.astype(np.int32),
        multiplier=np.asarray(factors[0], np.int32), shift=np.asarray(factors[1], np.int8),
    )  # fmt: skip
    return fully_connected(layer, x, y, config)


def _joined(weights: NDArray[np.int64], bias: ArrayLike, factors: tuple[int, int], config: Config) -> Kernel:
    """Sums over lines of numbers of 16 bits times weights [lines, units], from four columns for each: with bytes
    s = (s1, s0 − 128) and weights of three digits, those of 2^24 to 2^0."""
    lines, units = weights.shape
    run_length = min(config.cols // 2, 2 * units)
    digits, rest = [], weights.astype(np.int64)
    for _ in range(3):
        digits.append(((rest + 128) & 0xFF) - 128)
        rest = (rest - digits[-1]) >> 8
    # By column and byte: the lower byte, then the upper one.
    terms = np.zeros((UNIT_SUMS, 2, lines, units), np.int64)
    for place, digit in enumerate(digits):
        terms[3 - place, 0], terms[2 - place, 1] = digit, digit
    sparse = np.zeros((units, UNIT_SUMS, lines, 1, run_length), np.int8)
    unit = np.arange(units)
    for byte in range(2):
        at = (2 * unit + byte) % (config.cols // 2)
        sparse[unit, :, :, 0, at] = terms[:, byte].transpose(2, 0, 1)
    total = np.asarray(bias, np.int64) + 128 * weights.astype(np.int64).sum(axis=0)
    columns = np.zeros((units, UNIT_SUMS), np.int64)
    columns[:, -1] = total
    count = units * UNIT_SUMS
    return Kernel(
        height=lines, width=2 * units, out=(1, 1), channels=count, origin=(0, 0), stride=(1, 1), pooling=ONCE,
        reduction=(Dim(lines, (1, 0)), Dim(1, (0, 0))), run_length=run_length, group_stride=config.cols // 2, padding=0,
        weights=sparse.reshape(count, lines, 1, run_length),
        parameters=parameters(columns.ravel(), np.full(count, factors[0]), np.full(count, factors[1])),
        zero_point=0, low=-128, high=127, rounding=Rounding.DOUBLE,
    )  # fmt: skip


def _check_unit(op: Op, config: Config) -> None:
    if not config.recurrent:
        raise CompileError(f"{op}: the device has no unit for states of 16 bits; configure one with recurrent=1024")


def _checked(op: Op, kernel: Kernel, config: Config) -> Kernel:
    """The kernel, if a pass over the tile computes all of its channels: results follow each other."""
    words = -(-kernel.channels // config.cols) * (kernel.group_words(config) + config.parameter_words)
    if words > config.weight_words:
        raise CompileError(
            f"{op}: its weights take {words * config.weight_word_bytes} bytes of the weight store at once, which has "
            f"{config.weight_bytes}; raise weight_bytes"
        )
    return kernel
