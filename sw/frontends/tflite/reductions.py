"""The handlers of TensorFlow Lite's operators over whole axes."""

from __future__ import annotations

import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.graph import Mean, Op, ReduceMax, ReduceMin, Sum

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Handler] = {}
handles = registers(HANDLERS)

KINDS: dict[str, type[Op]] = {"MEAN": Mean, "SUM": Sum, "REDUCE_MAX": ReduceMax, "REDUCE_MIN": ReduceMin}


@handles(*KINDS)
def reduce(importer: Importer, operator: RawOperator) -> None:
    """The mean, the sum, the largest or the smallest value over axes."""
    options, x = operator.options(tflite.ReducerOptions), importer.input(operator, 0)
    axes = tuple(sorted({importer.axis(operator, operator.inputs[0], axis) for axis in importer.integers(operator, 1)}))
    if 0 in axes:
        x, axes = importer.whole(operator, 0), tuple(axis + 1 for axis in axes)
    importer.add(operator, KINDS[operator.kind], input=x.name, axes=axes, keep_dims=bool(options.KeepDims))
