"""The handlers of TensorFlow Lite's operators on several tensors besides sums and products: quotients, limits,
comparisons, and choices."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import QUANTIZED, UNQUANTIZED, Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.frontends.tflite.numbers import clamp
from sateen.frontends.tflite.operators import requantize
from sateen.graph import (
    Compare,
    Divide,
    L2Normalize,
    Logical,
    Maximum,
    Minimum,
    Not,
    Op,
    PRelu,
    Select,
    SquaredDifference,
    Tensor,
    require,
)

__all__ = ["HANDLERS", "LOGIC"]

HANDLERS: dict[str, Handler] = {}
LOGIC: dict[str, Handler] = {}
"""The handlers of comparisons and what follows from them, whatever type they compute with."""
handles, compares = registers(HANDLERS), registers(LOGIC)

COMPARISONS = {
    "EQUAL": "equal", "NOT_EQUAL": "not_equal", "GREATER": "greater", "GREATER_EQUAL": "greater_equal", "LESS": "less",
    "LESS_EQUAL": "less_equal",
}  # fmt: skip
ANY = (*QUANTIZED, *UNQUANTIZED)


def _operands(importer: Importer, operator: RawOperator, places: range, *types: str) -> list[Tensor]:
    """The operator's inputs, with as many axes as its output."""
    y, operands = importer.tensor(operator.outputs[0]), []
    for place in places:
        raw = importer.raw(operator, place)
        require(
            raw.type in (types or tuple(QUANTIZED)), operator, f"{raw} is {raw.type}; quantize the whole model to int8"
        )
        x = importer.value(operator, raw.index, len(y.shape))
        operands.append(importer.aligned(operator, x, f"operand{place}", y))
    return operands


def _pair(importer: Importer, operator: RawOperator, kind: type[Op], **fields: Any) -> None:
    a, b = _operands(importer, operator, range(2))
    importer.add(operator, kind, a=a.name, b=b.name, **fields)


@handles("PRELU")
def prelu(importer: Importer, operator: RawOperator) -> None:
    """Values above zero, and the others multiplied by slopes."""
    _pair(importer, operator, PRelu)


@handles("SQUARED_DIFFERENCE")
def squared_difference(importer: Importer, operator: RawOperator) -> None:
    """The square of a difference."""
    unsigned = importer.tensor(operator.outputs[0]).unsigned
    require(not unsigned, operator, "TensorFlow Lite has no such operator for UINT8; quantize the model to int8")
    _pair(importer, operator, SquaredDifference)


@handles("DIV")
def divide(importer: Importer, operator: RawOperator) -> None:
    """A quotient."""
    activation = 0 if operator.table is None else operator.options(tflite.DivOptions).FusedActivationFunction
    _pair(importer, operator, Divide, **clamp(operator, importer.tensor(operator.outputs[0]), activation))


@handles("MAXIMUM", "MINIMUM")
def limit(importer: Importer, operator: RawOperator) -> None:
    """The larger or the smaller of two tensors; a constant of one value limits the other."""
    largest, y = operator.kind == "MAXIMUM", importer.tensor(operator.outputs[0])
    raws = [importer.raw(operator, place) for place in (0, 1)]
    for raw in raws:
        same = raw.type in QUANTIZED and importer.quantization(raw) == y.quantization
        require(same, operator, f"{raw} and {y} must have the same scale and zero point, because codes are compared")
    shape = importer.model.tensors[operator.outputs[0]].shape
    for place, raw in enumerate(raws):
        values = importer.constants.get(raw.index)
        if values is not None and len(np.unique(values)) == 1 and raws[1 - place].shape == shape:
            code = int(values.reshape(-1)[0]) - QUANTIZED[raw.type]
            limits = {"low" if largest else "high": code}
            return requantize(importer, operator, importer.input(operator, 1 - place), 1.0, **limits)
    _pair(importer, operator, Maximum if largest else Minimum)


@handles("L2_NORMALIZATION")
def l2_normalization(importer: Importer, operator: RawOperator) -> None:
    """Rows along the last axis, each divided by its length."""
    activation = 0 if operator.table is None else operator.options(tflite.L2NormOptions).FusedActivationFunction
    require(activation == 0, operator, "its fused activation is not supported; put it behind the operator")
    importer.add(operator, L2Normalize, input=importer.input(operator, 0).name)


@compares(*COMPARISONS)
def compare(importer: Importer, operator: RawOperator) -> None:
    """Whether a relation holds."""
    a, b = _operands(importer, operator, range(2), *ANY)
    importer.add(operator, Compare, a=a.name, b=b.name, function=COMPARISONS[operator.kind])


@compares("LOGICAL_AND", "LOGICAL_OR")
def logical(importer: Importer, operator: RawOperator) -> None:
    """Both, or one of two truth values."""
    a, b = _operands(importer, operator, range(2), "BOOL")
    importer.add(operator, Logical, a=a.name, b=b.name, function=operator.kind.removeprefix("LOGICAL_").lower())


@compares("LOGICAL_NOT")
def logical_not(importer: Importer, operator: RawOperator) -> None:
    """The other truth value."""
    importer.add(operator, Not, input=importer.input(operator, 0, "BOOL").name)


@compares("SELECT", "SELECT_V2")
def select(importer: Importer, operator: RawOperator) -> None:
    """One of two values, by a truth value."""
    shapes = [importer.model.tensors[index].shape for index in operator.inputs]
    # A condition of one axis chooses whole items there, which is not how shapes broadcast.
    alike = operator.kind == "SELECT_V2" or len(set(shapes)) == 1
    require(alike, operator, f"shapes {shapes} must be equal; export the model with SELECT_V2 (tf.where)")
    condition, a, b = _operands(importer, operator, range(3), *ANY)
    importer.add(operator, Select, condition=condition.name, a=a.name, b=b.name)
