"""Lowering of element-wise operators: the bytes of two tensors are looked up in a table each, and combined.

Tables and requantization must give the defined result for all pairs of bytes. The compiler tries them all, and refuses
the operator if one result differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.kernel import parameters
from sateen.errors import CompileError
from sateen.graph.ops import Add, Int8Array, Multiply, Op, Subtract, Table, Tensor
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

__all__ = ["LookUp", "add", "multiply", "table", "unary"]

BYTES = np.arange(TABLE_ENTRIES).astype(np.uint8).view(np.int8).astype(np.int64)
"""The int8 value of each entry of a table, in the order of the entries."""
LARGEST_COUNT = 65535
"""Limit of a descriptor's counter."""
ENTRY_BITS = 30
"""Bits of the sum of two entries."""


@dataclass(frozen=True, kw_only=True)
class LookUp:
    """Looks up and combines the bytes of two tensors of one size: ``requantize(tables[0][a] ∘ tables[1][b])``."""

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
        """The device's results for pairs of values."""
        left, right = self.tables[0][a & 0xFF], self.tables[1][b & 0xFF]
        combined = left + right if self.combine == Combine.ADD else left * right
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
        """One descriptor for all of it, from and to byte addresses; its weights stand at word 0."""
        width, (rows, columns) = self.lines(config)
        line = (0, columns * width, columns * width)
        activations = ActivationStream(
            address=sources[0], row=0, x=0, height=1, width=self.size, padding=0, pairs=True,
            dims=(
                *(Dim() for _ in range(5)), Dim(rows, line), Dim(columns, (0, width, width)), Dim(),
                Dim(2, (0, 0, sources[1] - sources[0])),
            ),
        )  # fmt: skip
        output = OutputStream(
            address=target,
            channels=width,
            taps=1,
            zero_point=self.zero_point,
            low=self.low,
            high=self.high,
            rounding=self.rounding,
            combine=self.combine,
            dims=(Dim(1, (0,)), Dim(1, (0,)), Dim(rows, (columns * width,)), Dim(columns, (width,))),
        )
        weights = WeightStream(base=0, blocks=1, groups=1, words=table_words(config.cols), tables=True)
        return Descriptor(weights=weights, activations=activations, output=output)

    def lines(self, config: Config) -> tuple[int, tuple[int, int]]:
        """How the tensor is cut into equal lines: bytes of a line, and the number of lines as a product of two
        counts."""
        width = _divisor(self.size, min(config.cols, config.beat_bytes))
        columns = _divisor(self.size // width, LARGEST_COUNT)
        return width, (self.size // width // columns, columns)


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` that is not above ``limit``."""
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)


def _sum_tables(op: Add, a: Tensor, b: Tensor, y: Tensor) -> LookUp:
    """TensorFlow Lite's integer sum, scaled as its definition scales the terms; or a float sum, in the finest steps
    that 32 bits hold."""
    sign = -1 if isinstance(op, Subtract) else 1
    if op.rounding != Rounding.FLOAT32:
        twice = 2 * max(a.scale, b.scale)
        tables = [
            golden.rescale(
                (BYTES - tensor.zero_point) << golden.ADD_SHIFT,
                *golden.quantize_multiplier(tensor.scale / twice),
                rounding=op.rounding,
            )
            for tensor in (a, b)
        ]
        multiplier, shift = golden.quantize_multiplier(twice / ((1 << golden.ADD_SHIFT) * y.scale))
    else:
        terms = [(BYTES - tensor.zero_point) * (tensor.scale / y.scale) for tensor in (a, b)]
        largest = max(1.0, sum(float(np.abs(term).max()) for term in terms))
        fraction = ENTRY_BITS - math.ceil(math.log2(largest))
        tables = [np.rint(term * 2.0**fraction).astype(np.int64) for term in terms]
        multiplier, shift = 1 << 30, 1 - fraction
    return _look_up(op, tables[0], sign * tables[1], Combine.ADD, multiplier, shift, y)


def add(op: Add, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """Sums and differences."""
    return _proven(op, _checked(op, _sum_tables(op, a, b, y), config), a, b, y)


def multiply(op: Multiply, a: Tensor, b: Tensor, y: Tensor, config: Config) -> LookUp:
    """Products of two tensors."""
    multiplier, shift = golden.quantize_multiplier(a.scale * b.scale / y.scale)
    tables = _look_up(op, BYTES - a.zero_point, BYTES - b.zero_point, Combine.MULTIPLY, multiplier, shift, y)
    return _proven(op, _checked(op, tables, config), a, b, y)


def table(op: Table, x: Tensor, y: Tensor, config: Config) -> LookUp:
    """Any function of one value."""
    return unary(op, op.table, x, config)


def unary(op: Op, results: Int8Array, x: Tensor, config: Config) -> LookUp:
    """Tables for an operator on one value, from its results for −128 to 127."""
    tables = LookUp(
        tables=np.array([results.astype(np.int64)[BYTES + 128], np.zeros(TABLE_ENTRIES, np.int64)]),
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
    return _checked(op, tables, config)


def _look_up(
    op: Add | Multiply,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    combine: int,
    multiplier: int,
    shift: int,
    y: Tensor,
) -> LookUp:
    return LookUp(
        tables=np.array([left, right]), combine=combine, multiplier=multiplier, shift=shift, rounding=op.rounding,
        zero_point=y.zero_point, low=op.low, high=op.high, size=math.prod(y.shape[1:]),
    )  # fmt: skip


def _checked(op: Op, tables: LookUp, config: Config) -> LookUp:
    """``tables``, if the device can use them."""
    if not config.tables:
        raise CompileError(
            f"{op}: it is looked up in tables, which take engine=pipelined, positions={TABLE_ENTRIES} and cols=4 "
            "or more"
        )
    if tables.lines(config)[1][0] > LARGEST_COUNT:
        raise CompileError(f"{op}: its {tables.size} elements are more than a descriptor can say")
    return tables


def _proven(op: Add | Multiply, tables: LookUp, a: Tensor, b: Tensor, y: Tensor) -> LookUp:
    """``tables``, if they give the defined result for every pair of values."""
    if a.shape[1:] != b.shape[1:]:
        raise CompileError(f"{op}: tensors of shapes {a.shape} and {b.shape}, which broadcast, have no kernel")
    tensors = {op.a: a, op.b: b, op.output: y}
    left, right = (np.broadcast_to(axis, (TABLE_ENTRIES, TABLE_ENTRIES)) for axis in (BYTES[:, None], BYTES[None, :]))
    if op.a == op.b:
        left = right = BYTES
    wanted = op.execute(tensors, {op.a: left.astype(np.int8), op.b: right.astype(np.int8)})
    if not np.array_equal(tables.results(left, right), wanted):
        raise CompileError(f"{op}: its rounding in float32 is not that of the device for every pair of values")
    return tables
