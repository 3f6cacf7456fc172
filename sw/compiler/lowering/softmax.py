"""Softmax over the last axis: exponentials of distances to a row's maximum are looked up, added up and scaled, or
divided."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.compiler.lowering.fitting import Lane
from sateen.compiler.lowering.lookup import LookUp
from sateen.errors import CompileError
from sateen.graph.ops import Softmax, Tensor
from sateen.hw.spec.combining import Combine, Operand, Source
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import (
    REAL_SOFTMAX_LENGTH,
    SHARE_STEPS,
    SOFTMAX_LENGTH,
    ActivationStream,
    Descriptor,
    OutputStream,
    Rounding,
    WeightStream,
)
from sateen.hw.spec.nests import Dim
from sateen.sim import golden

__all__ = ["RowLookUp", "entries", "softmax"]

LARGEST_ROWS = 32765
"""Limit of a descriptor's coordinate, which counts two rows more."""


@dataclass(frozen=True, kw_only=True)
class RowLookUp(LookUp):
    """Softmax of the rows of a tensor, by tables as :attr:`sateen.hw.spec.descriptor.OutputStream.softmax` says."""

    length: int
    """Bytes of a row."""
    pitch: int = 0
    """Bytes from row to row, of the input and of the output; 0: ``length``."""

    def descriptor(self, config: Config, *, sources: tuple[int, int], target: int) -> Descriptor:
        """One descriptor for all rows."""
        rows, n, cols = self.size // self.length, self.length, config.cols
        pitch = self.pitch or n
        steps, lines = rows + 2, -(-n // cols)
        activations = ActivationStream(
            address=sources[0], row=0, x=0, height=rows, width=n, padding=-128, pairs=True,
            dims=(
                Dim(), Dim(), Dim(steps, (1, 0, pitch)), Dim(), Dim(3, (-1, 0, -pitch)),
                Dim(), Dim(lines, (0, cols, cols)), Dim(), Dim(),
            ),
        )  # fmt: skip
        output = OutputStream(
            address=target - 2 * pitch - lines * cols,
            channels=n,
            taps=1,
            zero_point=self.lane.zero_point,
            low=self.lane.low,
            high=self.lane.high,
            rounding=self.lane.rounding,
            combine=self.combine,
            softmax=True,
            entries=self.entries(config),
            dims=(Dim(1, (0,)), Dim(1, (0,)), Dim(steps, (pitch,)), Dim(2 * lines, (cols,))),
        )
        weights = WeightStream(base=0, blocks=1, groups=1, words=self.table_words(config), tables=True)
        return Descriptor(weights=weights, activations=activations, output=output)

    def lines(self, config: Config) -> tuple[int, tuple[int, int]]:
        """Rows, which a cut must not divide."""
        return self.length, (self.size // self.length, 1)


def softmax(op: Softmax, x: Tensor, y: Tensor, config: Config) -> RowLookUp:
    """TensorFlow Lite's fixed-point softmax, and onnxruntime's of float32."""
    if not config.softmax:
        raise CompileError(f"{op}: the device has no softmax; configure one with softmax=1")
    real, length, size = op.rounding == Rounding.FLOAT32, x.shape[-1], math.prod(x.shape[1:])
    if real:
        _check_real(op, y, config)
    longest = REAL_SOFTMAX_LENGTH if real else SOFTMAX_LENGTH
    if length > longest:
        raise CompileError(f"{op}: its rows have {length} values, the device takes {longest} or fewer")
    if size // length > LARGEST_ROWS:
        raise CompileError(f"{op}: it has {size // length} rows, more than a descriptor's {LARGEST_ROWS}")
    return RowLookUp(
        tables=entries(op, x, y),
        combine=Combine.ADD,
        lane=Lane(multiplier=0, shift=0, rounding=op.rounding, zero_point=y.zero_point, low=-128, high=127),
        size=size,
        length=length,
        sources=(0, 0),
        operands=(Operand(), Operand(Source.NONE)) if config.direct and not real else (Operand(), Operand()),
    )


def entries(op: Softmax, x: Tensor, y: Tensor) -> NDArray[np.int64]:
    """Both tables."""
    if op.rounding == Rounding.FLOAT32:
        return golden.real_entries(x.scale * op.beta, x.shape[-1], y.quantization)
    exponentials = golden.exponentials(x.scale * op.beta)
    return np.array([exponentials, np.zeros_like(exponentials)])


def _check_real(op: Softmax, y: Tensor, config: Config) -> None:
    """Raises :class:`~sateen.errors.CompileError` unless the device computes onnxruntime's softmax of this scale."""
    if config.softmax < 2:
        raise CompileError(
            f"{op}: it is onnxruntime's, whose sums are rounded to float32 one by one; the device has TensorFlow "
            "Lite's, of integers; configure one with softmax=2"
        )
    steps = golden.real_steps(y.scale)
    if steps > SHARE_STEPS:
        raise CompileError(
            f"{op}: its results' scale of {y.scale:g} makes {steps} steps of a whole share, the device takes "
            f"{SHARE_STEPS} or fewer"
        )
