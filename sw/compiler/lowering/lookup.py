"""Lowering what combines tensors element by element: two tables, in which the bytes of both are looked up.

Both tables together with the requantization behind them give every result that the definition has; where they do not,
which is tried for all pairs of bytes, the device does not compute the operator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.kernel import parameters
from sateen.errors import CompileError
from sateen.graph import Add, Multiply, Subtract, Table, Tensor
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import (
    PARAMETER_BYTES,
    TABLE_ENTRIES,
    ActivationStream,
    Combine,
    Descriptor,
    Dim,
    OutputStream,
    Rounding,
    WeightStream,
    table_words,
)
from sateen.sim import golden

__all__ = ["LookUp", "add", "multiply", "table"]

CODES = np.arange(TABLE_ENTRIES).astype(np.uint8).view(np.int8).astype(np.int64)
"""The values of the tables' entries, in their order."""
MOST_COUNT = 65535
"""Of a counter."""
ENTRY_BITS = 30
"""Of the sum of two entries."""


@dataclass(frozen=True, kw_only=True)
class LookUp:
    """Every byte of two tensors of one size, looked up and combined: ``requantize(tables[0][a] ∘ tables[1][b])``."""

    tables: NDArray[np.int64]
    """[2, TABLE_ENTRIES], int32."""
    combine: int
    """:class:`sateen.hw.spec.descriptor.Combine`."""
    multiplier: int
    shift: int
    rounding: int
    zero_point: int
    low: int
    high: int
    size: int
    """Bytes of each tensor."""
    sources: tuple[int, int] = (0, 1)
    """Which of the operator's inputs are looked up."""

    def results(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int8]:
        """What the device makes of values."""
        one, other = self.tables[0][a & 0xFF], self.tables[1][b & 0xFF]
        combined = one + other if self.combine == Combine.ADD else one * other
        return golden.requantize(
            combined,
            self.multiplier,
            self.shift,
            rounding=self.rounding,
            zero_point=self.zero_point,
            low=self.low,
            high=self.high,
        )

    def words(self, config: Config) -> NDArray[np.int8]:
        """The weight store's words: [words, cols]."""
        words = table_words(config.cols)
        store = np.zeros((words + PARAMETER_BYTES, config.cols), np.int8)
        entries = self.tables.T if words == TABLE_ENTRIES else self.tables.reshape(-1, 1)
        content = np.ascontiguousarray(entries.astype("<i4")).view(np.int8)
        store[:words, : content.shape[1]] = content
        store[words:] = parameters([0], [self.multiplier], [self.shift]).T.view(np.int8)
        return store

    def descriptor(self, config: Config, *, sources: tuple[int, int], target: int) -> Descriptor:
        """The whole of it, from and to byte addresses; its weights stand at word 0."""
        wide, (rows, columns) = self.walk(config)
        line = (0, columns * wide, columns * wide)
        activations = ActivationStream(
            address=sources[0], row=0, x=0, height=1, width=self.size, padding=0, pairs=True,
            dims=(
                *(Dim() for _ in range(5)), Dim(rows, line), Dim(columns, (0, wide, wide)), Dim(),
                Dim(2, (0, 0, sources[1] - sources[0])),
            ),
        )  # fmt: skip
        output = OutputStream(
            address=target,
            channels=wide,
            taps=1,
            zero_point=self.zero_point,
            low=self.low,
            high=self.high,
            rounding=self.rounding,
            combine=self.combine,
            dims=(Dim(1, (0,)), Dim(1, (0,)), Dim(rows, (columns * wide,)), Dim(columns, (wide,))),
        )
        weights = WeightStream(base=0, blocks=1, groups=1, words=table_words(config.cols), tables=True)
        return Descriptor(weights=weights, activations=activations, output=output)

    def walk(self, config: Config) -> tuple[int, tuple[int, int]]:
        """Bytes of a line, as many as divide the tensor; lines, as a product of two counts."""
        wide = _divisor(self.size, min(config.cols, config.beat_bytes))
        columns = _divisor(self.size // wide, MOST_COUNT)
        return wide, (self.size // wide // columns, columns)


def _divisor(number: int, most: int) -> int:
    """The largest one that is not above ``most``."""
    return next(divisor for divisor in range(min(number, most), 0, -1) if number % divisor == 0)


def _terms(op: Add, a: Tensor, b: Tensor, y: Tensor) -> LookUp:
    """TensorFlow Lite's integer sum, as its definition scales the terms; or a float sum, in steps as fine as 32 bits
    hold."""
    sign = -1 if isinstance(op, Subtract) else 1
    if op.rounding == Rounding.DOUBLE:
        twice = 2 * max(a.scale, b.scale)
        tables = [
            golden.rescale(
                (CODES - tensor.zero_point) << golden.ADD_SHIFT, *golden.quantize_multiplier(tensor.scale / twice)
            )
            for tensor in (a, b)
        ]
        multiplier, shift = golden.quantize_multiplier(twice / ((1 << golden.ADD_SHIFT) * y.scale))
    else:
        terms = [(CODES - tensor.zero_point) * (tensor.scale / y.scale) for tensor in (a, b)]
        largest = max(1.0, sum(float(np.abs(term).max()) for term in terms))
        fraction = ENTRY_BITS - math.ceil(math.log2(largest))
        tables = [np.rint(term * 2.0**fraction).astype(np.int64) for term in terms]
        multiplier, shift = 1 << 30, 1 - fraction
    return _made(op, tables[0], sign * tables[1], Combine.ADD, multiplier, shift, y)


def add(op: Add, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """Sums and differences."""
    return _proven(op, _checked(op, _terms(op, a, b, y), config), a, b, y)


def multiply(op: Multiply, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """Products of two tensors."""
    multiplier, shift = golden.quantize_multiplier(a.scale * b.scale / y.scale)
    made = _made(op, CODES - a.zero_point, CODES - b.zero_point, Combine.MULTIPLY, multiplier, shift, y)
    return _proven(op, _checked(op, made, config), a, b, y)


def table(op: Table, x: Tensor, y: Tensor, config: Config) -> LookUp:
    """Any function of one value."""
    made = LookUp(
        tables=np.array([op.table.astype(np.int64)[CODES + 128], np.zeros(TABLE_ENTRIES, np.int64)]),
        combine=Combine.ADD,
        multiplier=1 << 30,
        shift=1,
        rounding=Rounding.SINGLE,
        zero_point=0,
        low=-128,
        high=127,
        size=math.prod(x.shape[1:]),
        sources=(0, 0),
    )
    return _checked(op, made, config)


def _made(
    op: Add | Multiply,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    combine: int,
    multiplier: int,
    shift: int,
    y: Tensor,
) -> LookUp:
    return LookUp(
        tables=np.array([one, other]), combine=combine, multiplier=multiplier, shift=shift, rounding=op.rounding,
        zero_point=y.zero_point, low=op.low, high=op.high, size=math.prod(y.shape[1:]),
    )  # fmt: skip


def _checked(op: Add | Multiply | Table, made: LookUp, config: Config) -> LookUp:
    """``made``, if the device can do that."""
    if not config.tables:
        raise CompileError(
            f"{op}: it is looked up in tables, which take engine=pipelined, positions={TABLE_ENTRIES} and cols=4 or more"
        )
    if made.walk(config)[1][0] > MOST_COUNT:
        raise CompileError(f"{op}: its {made.size} elements are more than a descriptor can say")
    return made


def _proven(op: Add | Multiply, made: LookUp, a: Tensor, b: Tensor, y: Tensor) -> LookUp:
    """``made``, if every pair of values gives what the definition does."""
    if a.shape[1:] != b.shape[1:]:
        raise CompileError(f"{op}: tensors of shapes {a.shape} and {b.shape}, which broadcast, have no kernel")
    tensors = {op.a: a, op.b: b, op.output: y}
    one, other = (np.broadcast_to(axis, (TABLE_ENTRIES, TABLE_ENTRIES)) for axis in (CODES[:, None], CODES[None, :]))
    if op.a == op.b:
        one = other = CODES
    wanted = op.execute(tensors, {op.a: one.astype(np.int8), op.b: other.astype(np.int8)})
    if not np.array_equal(made.results(one, other), wanted):
        raise CompileError(f"{op}: its rounding in float32 is not that of the device for every pair of values")
    return made
