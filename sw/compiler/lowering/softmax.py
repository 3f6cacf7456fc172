"""Softmax over the last axis: exponentials of distances to a row's maximum are looked up, added up and scaled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sateen.compiler.lowering.fitting import Lane
from sateen.compiler.lowering.lookup import LookUp
from sateen.errors import CompileError
from sateen.graph.ops import Softmax, Tensor
from sateen.hw.spec.combining import Combine, Operand, Source
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import (
    SOFTMAX_LENGTH,
    ActivationStream,
    Descriptor,
    Dim,
    OutputStream,
    Rounding,
    WeightStream,
)
from sateen.sim import golden

__all__ = ["RowLookUp", "softmax"]

LARGEST_ROWS = 32765
"""Limit of a descriptor's coordinate, which counts two rows more."""


@dataclass(frozen=True, kw_only=True)
class RowLookUp(LookUp):
    """Softmax of the rows of a tensor; the first table has the exponentials, the second one zeros."""

    length: int
    """Bytes of a row."""
    pitch: int = 0
    """Bytes from row to row, of the input and of the output; 0: ``length``."""

    def descriptor(self, config: Config, *, sources: tuple[int, int], target: int) -> Descriptor:
        """As :attr:`sateen.hw.spec.descriptor.OutputStream.softmax` says."""
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
    """TensorFlow Lite's fixed-point softmax."""
    if not config.softmax:
        raise CompileError(f"{op}: the device has no softmax; configure one with softmax=1")
    if op.rounding == Rounding.FLOAT32:
        raise CompileError(
            f"{op}: it is onnxruntime's, whose sums are rounded to float32 one by one; the device has TensorFlow "
            "Lite's, of integers"
        )
    length, size = x.shape[-1], math.prod(x.shape[1:])
    if length > SOFTMAX_LENGTH:
        raise CompileError(f"{op}: its rows have {length} values, the device takes {SOFTMAX_LENGTH} or fewer")
    if size // length > LARGEST_ROWS:
        raise CompileError(f"{op}: it has {size // length} rows, more than a descriptor's {LARGEST_ROWS}")
    exponentials = golden.exponentials(x.scale * op.beta)
    return RowLookUp(
        tables=np.array([exponentials, np.zeros_like(exponentials)]),
        combine=Combine.ADD,
        lane=Lane(multiplier=0, shift=0, rounding=Rounding.DOUBLE, zero_point=-128, low=-128, high=127),
        size=size,
        length=length,
        sources=(0, 0),
        operands=(Operand(), Operand(Source.NONE)) if config.direct else (Operand(), Operand()),
    )
