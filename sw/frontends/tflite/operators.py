"""The handlers of TensorFlow Lite's operators, except those that move values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator, RawTensor
from sateen.frontends.tflite.folding import FOLDING
from sateen.frontends.tflite.importer import Importer
from sateen.frontends.tflite.moves import MOVES, Handler, registers
from sateen.graph import (
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
    Mean,
    Multiply,
    Op,
    Quantize,
    Requantize,
    Softmax,
    Subtract,
    Table,
    Tensor,
    require,
)
from sateen.sim import golden

__all__ = ["FOLDING", "HANDLERS"]

HANDLERS: dict[str, Handler] = dict(MOVES)
"""The handler of each kind of operator."""
handles = registers(HANDLERS)

ACTIVATIONS: dict[int, tuple[float | None, float | None]] = {
    tflite.ActivationFunctionType.NONE: (None, None),
    tflite.ActivationFunctionType.RELU: (0.0, None),
    tflite.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
    tflite.ActivationFunctionType.RELU6: (0.0, 6.0),
}
"""The least and the largest real result of each fused activation."""


def clamp(operator: RawOperator, output: Tensor, activation: int) -> dict[str, int]:
    """The range of a fused activation as int8 values of the output."""
    require(
        activation in ACTIVATIONS,
        operator,
        f"its fused activation {activation} is not supported; put it behind the operator",
    )
    return limits(output, *ACTIVATIONS[activation])


def limits(output: Tensor, least: float | None, largest: float | None) -> dict[str, int]:
    """Real limits as fields ``low`` and ``high`` of an operator."""

    def quantized(value: float) -> int:
        # An overflow is beyond all int8 values.
        with np.errstate(over="ignore"):
            steps = np.float32(value) / np.float32(output.scale)
        return int(np.clip(np.copysign(np.floor(abs(float(steps)) + 0.5), steps) + output.zero_point, -128, 127))

    return {"low": -128 if least is None else quantized(least), "high": 127 if largest is None else quantized(largest)}


def scaling(operator: RawOperator, scale: float) -> tuple[int, int]:
    """Multiplier and shift of a scale, which may have overflowed."""
    try:
        return golden.quantize_multiplier(scale)
    except ValueError as error:
        raise GraphError(f"{operator}: its scales do not fit together ({error}); quantize the model anew") from None


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


def read_weights(importer: Importer, operator: RawOperator, axis: int, rank: int) -> tuple[RawTensor, Array]:
    """The weights at input 1, with zero points subtracted: int8 if they fit, else int16."""
    raw, values = importer.raw(operator, 1), importer.constant(operator, 1)
    require(
        raw.type in ("INT8", "UINT8"),
        operator,
        f"its weights {raw} are {raw.type}, not INT8; quantize the whole model to int8",
    )
    require(values.ndim == rank, operator, f"its weights {raw} must have {rank} axes, not the shape {values.shape}")
    channels = values.shape[axis]
    require(
        len(raw.scales) in (1, channels),
        operator,
        f"its weights {raw} have {len(raw.scales)} scales for {channels} channels",
    )
    require(
        len(raw.scales) == 1 or raw.axis == axis,
        operator,
        f"its weights {raw} have scales along axis {raw.axis}, not {axis}",
    )
    if not any(raw.zero_points):
        return raw, values if values.dtype == np.int8 else _smallest_type(values.astype(np.int64))
    require(
        len(raw.zero_points) in (1, channels), operator, f"its weights {raw} have {len(raw.zero_points)} zero points"
    )
    points = np.array(raw.zero_points, object).reshape([-1 if place == axis else 1 for place in range(rank)])
    require(
        all(-128 <= point <= 255 for point in raw.zero_points),
        operator,
        f"its weights {raw} have zero points out of range",
    )
    return raw, _smallest_type(values.astype(np.int64) - points.astype(np.int64))


def _smallest_type(weights: Array) -> Array:
    return weights.astype(np.int8 if weights.size and weights.min() >= -128 and weights.max() <= 127 else np.int16)


def parameters(
    importer: Importer, operator: RawOperator, raw: RawTensor, outputs: int, activation: int, *, source: int = 0,
    bias_place: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Fields of a layer with weights: bias, scaling and clamp. The layer's input stands at the place ``source``."""
    x, y = importer.input(operator, source), importer.tensor(operator.outputs[0])
    bias = np.zeros(outputs, np.int32)
    if len(operator.inputs) > bias_place and operator.inputs[bias_place] >= 0:
        values = importer.constant(operator, bias_place)
        require(
            values.dtype == np.int32,
            operator,
            f"its bias must be INT32, not {importer.raw(operator, bias_place).type}; quantize the model to int8",
        )
        require(values.size == outputs, operator, f"its bias has {values.size} values for {outputs} channels")
        bias = values.reshape(-1).astype(np.int32)
    scalings = []
    for scale in raw.scales:
        require(math.isfinite(scale) and scale >= 0, raw, f"its scale must be finite and above 0, not {scale!r}")
        # tflite-micro multiplies int8's scales in double precision, TensorFlow Lite uint8's in single.
        with np.errstate(over="ignore"):
            product = float(np.float32(x.scale) * np.float32(scale)) if x.unsigned else x.scale * scale
        scalings.append(scaling(operator, product / y.scale))
    columns = scalings * (outputs if len(scalings) == 1 else 1)
    return {
        "input": x.name, "bias": bias, "multiplier": np.array([multiplier for multiplier, _ in columns], np.int32),
        "shift": np.array([shift for _, shift in columns], np.int8), **clamp(operator, y, activation),
    }  # fmt: skip


@handles("CONV_2D")
def conv_2d(importer: Importer, operator: RawOperator) -> None:
    """A convolution; weights are [O, kernel height, kernel width, I]."""
    options = operator.options(tflite.Conv2DOptions)
    raw, weights = read_weights(importer, operator, 0, 4)
    _windowed(importer, operator, Conv2D, options, raw, weights, len(weights))


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
    fields = parameters(importer, operator, raw, outputs, options.FusedActivationFunction)
    importer.add(operator, kind, weights=weights, stride=stride, dilation=dilation, padding=pads, **fields)


@handles("FULLY_CONNECTED")
def fully_connected(importer: Importer, operator: RawOperator) -> None:
    """A matrix product over the last axis. An input whose last axis does not fit is reshaped."""
    options = operator.options(tflite.FullyConnectedOptions)
    require(options.WeightsFormat == 0, operator, "its weights are shuffled; convert the model anew")
    raw, weights = read_weights(importer, operator, 0, 2)
    fields = parameters(importer, operator, raw, len(weights), options.FusedActivationFunction)
    x, depth = importer.input(operator, 0), weights.shape[1]
    size = math.prod(x.shape[1:])
    require(size % depth == 0, operator, f"its weights take {depth} values, which do not divide {x} of {x.shape}")
    if x.shape[-1] != depth or math.prod(x.shape[1:-1]) == 1:
        x = importer.reshape(
            operator, x, "input", (x.shape[0], depth) if size == depth else (x.shape[0], size // depth, depth)
        )
    importer.add(operator, FullyConnected, weights=weights, **{**fields, "input": x.name})


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


@handles("MEAN")
def mean(importer: Importer, operator: RawOperator) -> None:
    """The mean over axes."""
    options, x = operator.options(tflite.ReducerOptions), importer.input(operator, 0)
    axes = tuple(sorted({importer.axis(operator, operator.inputs[0], axis) for axis in importer.integers(operator, 1)}))
    importer.add(operator, Mean, input=x.name, axes=axes, keep_dims=bool(options.KeepDims))


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
    activation = operator.options(options).FusedActivationFunction if operator.table is not None else 0
    importer.add(operator, kind, a=a.name, b=b.name, **clamp(operator, y, activation))


@handles("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def relu(importer: Importer, operator: RawOperator) -> None:
    """A clamp, requantized to the output's scale."""
    ranges = {"RELU": (0.0, None), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}
    x, y = importer.input(operator, 0), importer.tensor(operator.outputs[0])
    with np.errstate(over="ignore"):
        ratio = float(np.float32(x.scale) / np.float32(y.scale))
    _requantize(importer, operator, x, ratio, **limits(y, *ranges[operator.kind]))


def _requantize(importer: Importer, operator: RawOperator, x: Tensor, scale: float, **fields: Any) -> None:
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
    axis = importer.integer(operator, 1)
    importer.add(
        operator, ArgMax, input=importer.input(operator, 0).name, axis=importer.axis(operator, operator.inputs[0], axis)
    )


@handles("QUANTIZE")
def quantize(importer: Importer, operator: RawOperator) -> None:
    """Quantizes real values, or requantizes integers."""
    x, y = importer.input(operator, 0, "FLOAT32", "INT8", "UINT8"), importer.tensor(operator.outputs[0])
    if x.dtype == "float32":
        importer.add(operator, Quantize, input=x.name)
    else:
        _requantize(importer, operator, x, x.scale / y.scale)


@handles("DEQUANTIZE")
def dequantize(importer: Importer, operator: RawOperator) -> None:
    """Dequantizes integers."""
    raw = importer.raw(operator, 0)
    require(
        raw.index not in importer.constants,
        operator,
        f"{raw} is a constant for float layers; quantize the whole model to int8",
    )
    importer.add(operator, Dequantize, input=importer.input(operator, 0).name)
