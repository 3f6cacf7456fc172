"""Layer normalization: rows pass the unit of float32 on the way to tables that give each code itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.fitting import Lane
from sateen.compiler.lowering.lookup import BYTES, LookUp, largest_divisor
from sateen.errors import CompileError
from sateen.graph.ops import LayerNorm, Tensor
from sateen.hw.spec.combining import Combine
from sateen.hw.spec.config import Config, ceil_pow2
from sateen.hw.spec.descriptor import ActivationStream, Descriptor, OutputStream, Rounding, WeightStream
from sateen.hw.spec.layer_norm import CODE_OFFSET, LIMIT_RECORDS, LONGEST_ROWS, SUMS, Head, record_words
from sateen.hw.spec.nests import Dim
from sateen.sim import golden

__all__ = ["RowLookUp", "layer_norm", "line_width", "records"]

NEARLY_HALF = 0.5 - 2.0**-8
"""Less than a half by more than steps are rounded."""
SCALES = 2.0**-20, 2.0**20
"""Of input and results: no number of the unit's is then too small for float32, or too large."""
EPSILONS = 2.0**-100, 2.0**100
FACTORS, BIASES = (2.0**-20, 2.0**40), (2.0**-100, 2.0**40)
"""The sizes of scales and of biases that are not zero."""


@dataclass(frozen=True, kw_only=True)
class RowLookUp(LookUp):
    """Normalizes the rows of a tensor, and looks up the results."""

    length: int
    """Bytes of a row."""
    records: NDArray[np.int64]
    """See :func:`records`."""

    def table_words(self, config: Config) -> int:
        """Those of the records, and of both tables."""
        return record_words(config.cols, self.length) + super().table_words(config)

    def words(self, config: Config) -> NDArray[np.int8]:
        """The weight store's words: [words, cols]."""
        count = record_words(config.cols, self.length)
        content = np.ascontiguousarray(self.records.astype("<i4")).view(np.int8).reshape(count, -1)
        store = np.zeros((count, config.cols), np.int8)
        store[:, : content.shape[1]] = content
        return np.concatenate([store, super().words(config)])

    def descriptor(self, config: Config, *, sources: tuple[int, int], target: int) -> Descriptor:
        """One descriptor for all rows."""
        width = line_width(self.length, config)
        rows, lines = self.size // self.length, self.length // width
        activations = ActivationStream(
            address=sources[0], row=0, x=0, height=1, width=self.size, padding=0, pairs=True,
            dims=(
                *(Dim() for _ in range(5)), Dim(rows, (0, self.length, self.length)), Dim(lines, (0, width, width)),
                Dim(), Dim(2),
            ),
        )  # fmt: skip
        output = OutputStream(
            address=target, channels=width, taps=1, zero_point=self.lane.zero_point, low=self.lane.low,
            high=self.lane.high, rounding=self.lane.rounding, combine=self.combine, layer_norm=True,
            entries=self.entries(config),
            dims=(Dim(1, (0,)), Dim(1, (0,)), Dim(rows, (self.length,)), Dim(lines, (width,))),
        )  # fmt: skip
        weights = WeightStream(base=0, blocks=1, groups=1, words=self.table_words(config), tables=True)
        return Descriptor(weights=weights, activations=activations, output=output)

    def lines(self, config: Config) -> tuple[int, tuple[int, int]]:
        """Rows, which a cut must not divide."""
        return self.length, (self.size // self.length, 1)


def line_width(length: int, config: Config) -> int:
    """Bytes of the lines in which a row of so many passes: no line has bytes of two rows."""
    return largest_divisor(length, min(config.cols, config.beat_bytes))


def layer_norm(op: LayerNorm, x: Tensor, y: Tensor, config: Config) -> RowLookUp:
    """Layer normalization, and that by the root of the mean square."""
    length = x.shape[-1]
    if length > config.layer_norm:
        most, needed = (
            f"rows of {config.layer_norm} values or fewer" if config.layer_norm else "none",
            ceil_pow2(length),
        )
        remedy = f"; configure one with layer_norm={max(16, needed)}" if needed <= LONGEST_ROWS[1] else ""
        raise CompileError(
            f"{op}: its rows have {length} values, and of layer normalizations the device has {most}{remedy}"
        )
    if length % SUMS:
        raise CompileError(f"{op}: its rows have {length} values, the device takes multiples of {SUMS}")
    _check_sizes(op, x, y)
    made = records(op, x, y, config)
    return RowLookUp(
        tables=np.array([BYTES, np.zeros_like(BYTES)]),
        combine=Combine.ADD,
        lane=Lane(multiplier=1 << 30, shift=1, rounding=Rounding.SINGLE, zero_point=0, low=-128, high=127),
        size=math.prod(x.shape[1:]),
        sources=(0, 0),
        length=length,
        records=made,
    )


def records(op: LayerNorm, x: Tensor, y: Tensor, config: Config) -> NDArray[np.int64]:
    """What the unit must know, as :mod:`sateen.hw.spec.layer_norm` says: [records, 2], int32.

    Raises
    ------
    CompileError
        If float32 is too coarse to find a code of the results.
    """
    length, steps = x.shape[-1], float(np.float32(1) / np.float32(y.scale))
    offset = CODE_OFFSET + y.zero_point + NEARLY_HALF
    head = Head(
        scale=x.scale, epsilon=op.epsilon, count=length, steps=steps, offset=offset, zero_point=x.zero_point,
        width=line_width(length, config), length=length, centred=op.centred,
    )  # fmt: skip
    limits = golden.code_limits(y.quantization)
    _check_steps(op, limits, steps, offset)
    parts = (
        np.frombuffer(head.encode(), "<i4").reshape(-1, 2),
        np.pad(limits, (0, 2 * LIMIT_RECORDS - len(limits))).reshape(-1, 2),
        np.stack([op.scale, op.bias], axis=1).view(np.int32),
    )
    return np.concatenate([part.astype(np.int64) for part in parts])


def _check_steps(op: LayerNorm, limits: NDArray[np.int64], steps: float, offset: float) -> None:
    """Checks that the number below a value's steps is its code or the one before, for every value: it grows with the
    value, so that it is enough to look at both sides of each limit."""
    for codes, order in ((np.arange(-127, 128), limits), (np.arange(-128, 127), limits - 1)):
        values = golden.from_ordered(order).astype(np.float64)
        below = np.floor(golden.float32_sum(values * steps, np.float32(offset))) - CODE_OFFSET
        if not ((codes - 1 <= below) & (below <= codes)).all():
            raise CompileError(f"{op}: its results' scale has no steps in float32")


def _check_sizes(op: LayerNorm, x: Tensor, y: Tensor) -> None:
    """Checks that no number is too small for float32, or too large."""
    for what, values, (low, high) in (
        ("its input's scale", np.array([x.scale]), SCALES),
        ("its results' scale", np.array([y.scale]), SCALES),
        ("its epsilon", np.array([op.epsilon]), EPSILONS),
        ("a scale of its values", op.scale[op.scale != 0], FACTORS),
        ("a bias of its values", op.bias[op.bias != 0], BIASES),
    ):
        sizes = np.abs(values.astype(np.float32))
        wrong = sizes[~((low <= sizes) & (sizes <= high))]
        if wrong.size:
            raise CompileError(f"{op}: {what}, {wrong[0]:g}, is beyond the device's {low:g} to {high:g}")
