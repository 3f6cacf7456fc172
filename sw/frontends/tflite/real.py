"""The handlers of TensorFlow Lite's operators on real numbers, which the host computes: pre-processing before the first
QUANTIZE, and what stands behind the last DEQUANTIZE."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.graph import Op, RealBinary, RealReduce, RealSoftmax, RealTop, RealUnary, require

__all__ = ["REAL", "activated"]

REAL: dict[str, Handler] = {}
"""The handler of each kind of operator."""
handles = registers(REAL)

ACTIVATIONS: dict[int, tuple[str, tuple[float, ...]]] = {
    tflite.ActivationFunctionType.RELU: ("relu", ()),
    tflite.ActivationFunctionType.RELU_N1_TO_1: ("clip", (-1.0, 1.0)),
    tflite.ActivationFunctionType.RELU6: ("clip", (0.0, 6.0)),
    tflite.ActivationFunctionType.TANH: ("tanh", ()),
}
UNARY: dict[str, tuple[str, tuple[float, ...]]] = {
    "ABS": ("abs", ()),
    "CEIL": ("ceil", ()),
    "COS": ("cos", ()),
    "ELU": ("elu", (1.0,)),
    "EXP": ("exp", ()),
    "FLOOR": ("floor", ()),
    "HARD_SWISH": ("hard_swish", ()),
    "LOG": ("log", ()),
    "LOGISTIC": ("sigmoid", ()),
    "NEG": ("negate", ()),
    "RELU": ("relu", ()),
    "RELU6": ("clip", (0.0, 6.0)),
    "RELU_0_TO_1": ("clip", (0.0, 1.0)),
    "RELU_N1_TO_1": ("clip", (-1.0, 1.0)),
    "ROUND": ("round", ()),
    "RSQRT": ("rsqrt", ()),
    "SIGN": ("sign", ()),
    "SIN": ("sin", ()),
    "SQRT": ("sqrt", ()),
    "SQUARE": ("square", ()),
    "TANH": ("tanh", ()),
}
"""The function of each kind of operator, with its parameters."""
BINARY: dict[str, tuple[str, Any]] = {
    "ADD": ("add", tflite.AddOptions),
    "DIV": ("divide", tflite.DivOptions),
    "MAXIMUM": ("maximum", None),
    "MINIMUM": ("minimum", None),
    "MUL": ("multiply", tflite.MulOptions),
    "POW": ("power", None),
    "PRELU": ("prelu", None),
    "SQUARED_DIFFERENCE": ("squared_difference", None),
    "SUB": ("subtract", tflite.SubOptions),
}
"""The function of each kind of operator, and its options if they have a fused activation."""
REDUCTIONS = {
    "MEAN": "mean", "REDUCE_MAX": "maximum", "REDUCE_MIN": "minimum", "REDUCE_PROD": "product", "SUM": "sum",
}  # fmt: skip


@handles(*UNARY)
def unary(importer: Importer, operator: RawOperator) -> None:
    """A function of each value."""
    function, parameters = UNARY[operator.kind]
    x = importer.input(operator, 0)
    importer.add(operator, RealUnary, input=x.name, function=function, parameters=parameters)


@handles("LEAKY_RELU", "GELU")
def unary_with_options(importer: Importer, operator: RawOperator) -> None:
    """A function of each value, which options choose."""
    parameters: tuple[float, ...] = ()
    if operator.kind == "GELU":
        function = "gelu_tanh" if operator.options(tflite.GeluOptions).Approximate else "gelu"
    else:
        function, parameters = "leaky_relu", (float(operator.options(tflite.LeakyReluOptions).Alpha),)
    x = importer.input(operator, 0)
    importer.add(operator, RealUnary, input=x.name, function=function, parameters=parameters)


@handles(*BINARY)
def binary(importer: Importer, operator: RawOperator) -> None:
    """A function of pairs of values; shapes broadcast."""
    function, options = BINARY[operator.kind]
    activation = 0
    if options is not None and operator.table is not None:
        table = operator.options(options)
        activation = table.FusedActivationFunction
        if operator.kind in ("ADD", "SUB"):
            # It matters for int16.
            table.ignore("PotScaleInt16")
    y = importer.tensor(operator.outputs[0])
    a, b = (
        importer.aligned(operator, importer.value(operator, raw.index, len(y.shape)), f"operand{place}", y)
        for place, raw in enumerate(importer.raw(operator, place) for place in (0, 1))
    )
    activated(importer, operator, activation, RealBinary, a=a.name, b=b.name, function=function)


def activated(
    importer: Importer,
    operator: RawOperator,
    activation: int,
    kind: type[Op],
    shape: tuple[int, ...] = (),
    **fields: Any,
) -> None:
    """Appends an operator, whose result has the output's shape if no other is given, and its fused activation."""
    y = importer.tensor(operator.outputs[0])
    if activation == tflite.ActivationFunctionType.NONE:
        return importer.add(operator, kind, any_shape=bool(shape), **fields)
    known = activation in ACTIVATIONS
    require(known, operator, f"its fused activation {activation} is not supported; put it behind the operator")
    function, parameters = ACTIVATIONS[activation]
    inner = importer.new_like(y, "inner", shape or y.shape)
    importer.ops.append(kind(name=f"{operator.kind.lower()}_{operator.index}_inner", output=inner.name, **fields))
    importer.add(operator, RealUnary, any_shape=bool(shape), input=inner.name, function=function, parameters=parameters)


@handles("SOFTMAX", "LOG_SOFTMAX")
def softmax(importer: Importer, operator: RawOperator) -> None:
    """Softmax over the last axis, or its logarithm."""
    x, log = importer.input(operator, 0), operator.kind == "LOG_SOFTMAX"
    beta = 1.0 if log else float(operator.options(tflite.SoftmaxOptions).Beta)
    importer.add(operator, RealSoftmax, input=x.name, axis=len(x.shape) - 1, beta=beta, log=log)


@handles(*REDUCTIONS)
def reduction(importer: Importer, operator: RawOperator) -> None:
    """A reduction of axes."""
    keep = bool(operator.options(tflite.ReducerOptions).KeepDims)
    index, axes = importer.raw(operator, 0).index, importer.integers(operator, 1)
    x = importer.input(operator, 0)
    places = tuple(sorted({importer.axis(operator, index, axis) for axis in axes}))
    if 0 in places:
        x, places = importer.whole(operator, 0), tuple(axis + 1 for axis in places)
    function = REDUCTIONS[operator.kind]
    importer.add(operator, RealReduce, input=x.name, function=function, axes=places, keep_dims=keep)


@handles("ARG_MAX", "ARG_MIN")
def arg_max(importer: Importer, operator: RawOperator) -> None:
    """The position of the largest or smallest value."""
    largest = operator.kind == "ARG_MAX"
    if operator.table is not None:
        # The output has its type itself.
        operator.options(tflite.ArgMaxOptions if largest else tflite.ArgMinOptions).ignore("OutputType")
    x, raw, stated = importer.input(operator, 0), importer.raw(operator, 0), importer.integer(operator, 1)
    axis, out = importer.axis(operator, raw.index, stated), importer.model.tensors[operator.outputs[0]].shape
    shape = tuple(np.delete(raw.shape, stated).tolist())
    require(out == shape, operator, f"its output has the shape {out}, not {shape}")
    if axis == 0:
        x, axis = importer.whole(operator, 0), 1
    importer.add(operator, RealTop, any_shape=True, input=x.name, axis=axis, count=1, largest=largest, places=True)


@handles("TOPK_V2")
def top(importer: Importer, operator: RawOperator) -> None:
    """The largest values of the last axis, and their positions."""
    x, count = importer.input(operator, 0), importer.integer(operator, 1)
    for place in range(len(operator.outputs)):
        importer.add(
            operator, RealTop, place=place, input=x.name, axis=len(x.shape) - 1, count=count, places=place == 1
        )
