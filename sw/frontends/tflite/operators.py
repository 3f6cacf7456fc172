"""The handlers of TensorFlow Lite's operators, except those that move values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from sateen.frontends.grouped import dense_weights
from sateen.frontends.tflite.file import RawOperator, RawTensor
from sateen.frontends.tflite.folding import FOLDING
from sateen.frontends.tflite.importer import Importer
from sateen.frontends.tflite.moves import MOVES, Handler, registers
from sateen.frontends.tflite.numbers import clamp, limits, scaling
from sateen.frontends.tflite.weights import check_product, dequantized, parameters, read_weights
from sateen.graph import (
    LARGEST,
    Add,
    ArgMax,
    Array,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    GraphError,
    LogSoftmax,
    MaxPool2D,
    Multiply,
    Op,
    Quantize,
    Requantize,
    Softmax,
    Subtract,
    Table,
    Tensor,
    WideRequantize,
    require,
)
from sateen.sim import golden

__all__ = ["FOLDING", "HANDLERS"]

HANDLERS: dict[str, Handler] = dict(MOVES)
"""The handler of each kind of operator."""
handles = registers(HANDLERS)


def padding(
    operator: RawOperator, kind: int, sizes: tuple[int, int], extents: tuple[int, int], stride: tuple[int, int]
) -> Any:
    """((top, bottom), (left, right)) of the padding SAME or VALID."""
    require(
        kind in (tflite.Padding.SAME, tflite.Padding.VALID), operator, f"its padding {kind} is neither SAME nor VALID"
    )
    require(min(stride) > 0, operator, f"its stride must be 1 or more, not {stride}")
    if kind == tflite.Padding.VALID:
        return ((0, 0), (0, 0))
    totals = [
        max((-(-size // step) - 1) * step + extent - size, 0)
        for size, extent, step in zip(sizes, extents, stride, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)


@handles("CONV_2D")
def conv_2d(importer: Importer, operator: RawOperator) -> None:
    """A convolution; weights are [O, kernel height, kernel width, I / groups]."""
    options = operator.options(tflite.Conv2DOptions)
    # The bias has its type itself.
    options.ignore("QuantizedBiasType")
    raw, weights = read_weights(importer, operator, 0, 4)
    x, depth = importer.input(operator, 0), weights.shape[3]
    groups = x.shape[-1] // depth if depth and x.shape[-1] % depth == 0 and len(weights) else 1
    require(
        len(weights) % groups == 0 and weights.size * groups <= LARGEST,
        operator,
        f"its weights {raw} of {weights.shape} do not fit {x.shape[-1]} channels",
    )
    if groups > 1 and depth == 1:
        return _windowed(importer, operator, DepthwiseConv2D, options, raw, weights, len(weights))
    _windowed(importer, operator, Conv2D, options, raw, dense_weights(weights, groups), len(weights))


@handles("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(importer: Importer, operator: RawOperator) -> None:
    """A depthwise convolution; weights are [1, kernel height, kernel width, O]."""
    options = operator.options(tflite.DepthwiseConv2DOptions)
    raw, weights = read_weights(importer, operator, 3, 4)
    require(
        weights.shape[0] == 1,
        operator,
        f"its weights {raw} must begin with an axis of 1, not the shape {weights.shape}",
    )
    multiplier, channels = options.DepthMultiplier, importer.input(operator, 0).shape[-1]
    good = multiplier * channels == weights.shape[3]
    require(
        good, operator, f"its depth multiplier {multiplier} does not make {weights.shape[3]} of {channels} channels"
    )
    weights = np.ascontiguousarray(weights.transpose(3, 1, 2, 0))
    _windowed(importer, operator, DepthwiseConv2D, options, raw, weights, len(weights))


def _windowed(
    importer: Importer,
    operator: RawOperator,
    kind: type[Op],
    options: Any,
    raw: RawTensor,
    weights: Array,
    outputs: int,
) -> None:
    x = importer.input(operator, 0)
    require(len(x.shape) == 4, operator, f"its input {x} must have 4 axes, not the shape {x.shape}")
    stride, dilation = (options.StrideH, options.StrideW), (options.DilationHFactor, options.DilationWFactor)
    require(min(dilation) > 0, operator, f"its dilation must be 1 or more, not {dilation}")
    extents = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weights.shape[1:3], strict=True))
    pads = padding(operator, options.Padding, x.shape[1:3], extents, stride)  # type: ignore[arg-type]
    pads = pads if operator.padding is None else operator.padding
    fields = parameters(importer, operator, raw, outputs, options.FusedActivationFunction)
    importer.add(operator, kind, weights=weights, stride=stride, dilation=dilation, padding=pads, **fields)


@handles("FULLY_CONNECTED")
def fully_connected(importer: Importer, operator: RawOperator) -> None:
    """A matrix product over the last axis. An input whose last axis does not fit is reshaped."""
    options = operator.options(tflite.FullyConnectedOptions)
    require(options.WeightsFormat == 0, operator, "its weights are shuffled; convert the model anew")
    # The bias has its type itself, and inputs that are quantized already are not quantized again.
    options.ignore("QuantizedBiasType", "AsymmetricQuantizeInputs")
    raw, weights = read_weights(importer, operator, 0, 2)
    check_product(importer, operator, len(weights), bool(options.KeepNumDims))
    fields = parameters(importer, operator, raw, len(weights), options.FusedActivationFunction)
    x, depth = importer.input(operator, 0), weights.shape[1]
    size = math.prod(x.shape[1:])
    require(size % depth == 0, operator, f"its weights take {depth} values, which do not divide {x} of {x.shape}")
    if x.shape[-1] != depth or math.prod(x.shape[1:-1]) == 1:
        x = importer.reshape(
            operator, x, "input", (x.shape[0], depth) if size == depth else (x.shape[0], size // depth, depth)
        )
    importer.add(operator, FullyConnected, any_shape=True, weights=weights, **{**fields, "input": x.name})


@handles("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(importer: Importer, operator: RawOperator) -> None:
    """Pooling over windows."""
    options, x, y = (
        operator.options(tflite.Pool2DOptions),
        importer.input(operator, 0),
        importer.tensor(operator.outputs[0]),
    )
    require(len(x.shape) == 4, operator, f"its input {x} must have 4 axes, not the shape {x.shape}")
    size, stride = (options.FilterHeight, options.FilterWidth), (options.StrideH, options.StrideW)
    fields: dict[str, Any] = {
        "input": x.name, "size": size, "stride": stride,
        "padding": padding(operator, options.Padding, x.shape[1:3], size, stride),  # type: ignore[arg-type]
        **clamp(operator, y, options.FusedActivationFunction),
    }  # fmt: skip
    if operator.kind == "AVERAGE_POOL_2D":
        importer.add(operator, AveragePool2D, ties_up=x.unsigned, **fields)
    else:
        importer.add(operator, MaxPool2D, **fields)


@handles("ADD", "SUB", "MUL")
def arithmetic(importer: Importer, operator: RawOperator) -> None:
    """A sum, difference or product; a constant is broadcast."""
    kinds: dict[str, tuple[type[Op], Any]] = {
        "ADD": (Add, tflite.AddOptions), "SUB": (Subtract, tflite.SubOptions), "MUL": (Multiply, tflite.MulOptions),
    }  # fmt: skip
    kind, options = kinds[operator.kind]
    y = importer.tensor(operator.outputs[0])
    raws = [importer.raw(operator, place) for place in (0, 1)]
    for raw in raws:
        require(
            raw.type in ("INT8", "UINT8"), operator, f"{raw} is {raw.type}, not INT8; quantize the whole model to int8"
        )
    a, b = (
        importer.aligned(operator, importer.value(operator, raw.index, len(y.shape)), f"operand{place}", y)
        for place, raw in enumerate(raws)
    )
    activation = 0
    if operator.table is not None:
        table = operator.options(options)
        activation = table.FusedActivationFunction
        if operator.kind != "MUL":
            # It matters for int16.
            table.ignore("PotScaleInt16")
    importer.add(operator, kind, a=a.name, b=b.name, **clamp(operator, y, activation))


@handles("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def relu(importer: Importer, operator: RawOperator) -> None:
    """A clamp, requantized to the output's scale."""
    ranges = {"RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
    x, y = importer.input(operator, 0), importer.tensor(operator.outputs[0])
    with np.errstate(over="ignore"):
        ratio = float(np.float32(x.scale) / np.float32(y.scale))
    requantize(importer, operator, x, ratio, **limits(y, *ranges[operator.kind]))


def requantize(importer: Importer, operator: RawOperator, x: Tensor, scale: float, **fields: Any) -> None:
    multiplier, shift = scaling(operator, scale)
    importer.add(operator, Requantize, input=x.name, multiplier=multiplier, shift=shift, **fields)


@handles("LEAKY_RELU", "LOGISTIC", "TANH", "HARD_SWISH")
def table(importer: Importer, operator: RawOperator) -> None:
    """A function of one value."""
    x, y = importer.input(operator, 0), importer.tensor(operator.outputs[0])
    if operator.kind == "LEAKY_RELU":
        alpha = operator.options(tflite.LeakyReluOptions).Alpha
        require(
            math.isfinite(alpha) and alpha >= 0,
            operator,
            f"its alpha must be a finite number of 0 or more, not {alpha!r}",
        )
        make_table: Callable[[], Array] = lambda: golden.leaky_relu_table(x.quantization, y.quantization, alpha)  # noqa: E731
    elif operator.kind == "HARD_SWISH":
        make_table = lambda: golden.hard_swish_table(x.quantization, y.quantization)  # noqa: E731
    else:
        fixed = (1 / 256, -128) if operator.kind == "LOGISTIC" else (1 / 128, 0)
        require(
            y.quantization == fixed,
            operator,
            f"its output {y} must have the scale and zero point {fixed}, not {y.quantization}",
        )
        function = golden.logistic_table if operator.kind == "LOGISTIC" else golden.tanh_table
        make_table = lambda: function(x.quantization)  # noqa: E731
    try:
        values = make_table()
    except ValueError as error:
        raise GraphError(f"{operator}: its scales do not fit together ({error}); quantize the model anew") from None
    importer.add(operator, Table, input=x.name, table=values, function=operator.kind.lower())


@handles("SOFTMAX", "LOG_SOFTMAX")
def softmax(importer: Importer, operator: RawOperator) -> None:
    """Softmax over the last axis, or its logarithm."""
    x = importer.input(operator, 0)
    if operator.kind == "SOFTMAX":
        importer.add(operator, Softmax, input=x.name, beta=float(operator.options(tflite.SoftmaxOptions).Beta))
    else:
        importer.add(operator, LogSoftmax, input=x.name)


@handles("ARG_MAX")
def arg_max(importer: Importer, operator: RawOperator) -> None:
    """The position of the largest value."""
    axis = importer.axis(operator, operator.inputs[0], importer.integer(operator, 1))
    if operator.table is not None:
        # The output has its type itself.
        operator.options(tflite.ArgMaxOptions).ignore("OutputType")
    x, axis = (importer.input(operator, 0), axis) if axis else (importer.whole(operator, 0), 1)
    importer.add(operator, ArgMax, input=x.name, axis=axis)


@handles("QUANTIZE")
def quantize(importer: Importer, operator: RawOperator) -> None:
    """Quantizes real values, or requantizes integers."""
    x, y = importer.input(operator, 0, "FLOAT32", "INT8", "UINT8", "INT16"), importer.tensor(operator.outputs[0])
    if x.dtype == "float32":
        importer.add(operator, Quantize, input=x.name)
    elif "int16" in (x.dtype, y.dtype):
        require(not x.unsigned and not y.unsigned, operator, "it mixes INT16 and UINT8; quantize the model to int8")
        multiplier, shift = scaling(operator, x.scale / y.scale)
        low, high = y.limits
        importer.add(operator, WideRequantize, input=x.name, multiplier=multiplier, shift=shift, low=low, high=high)
    else:
        requantize(importer, operator, x, x.scale / y.scale)


@handles("DEQUANTIZE")
def dequantize(importer: Importer, operator: RawOperator) -> None:
    """Dequantizes integers; constants are computed here."""
    raw, y = importer.raw(operator, 0), importer.model.tensors[operator.outputs[0]]
    if raw.index not in importer.constants:
        return importer.add(operator, Dequantize, input=importer.input(operator, 0, "INT8", "UINT8", "INT16").name)
    require(y.type == "FLOAT32", operator, f"its output {y} is {y.type}, not FLOAT32; convert the model anew")
    importer.constants[y.index] = dequantized(operator, raw, importer.constants[raw.index])
    importer.origins[y.index] = raw.type
