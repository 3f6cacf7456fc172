"""The handlers of TensorFlow Lite's operators on int16 activations ("16x8"), which the host computes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.frontends.tflite.numbers import clamp, limits, scaling
from sateen.frontends.tflite.operators import padding
from sateen.frontends.tflite.weights import check_product, parameters, read_weights
from sateen.graph import (
    Op,
    Tensor,
    WideAdd,
    WideConv2D,
    WideFullyConnected,
    WideFunction,
    WideLeakyRelu,
    WideMean,
    WideMultiply,
    WidePool2D,
    WideRequantize,
    WideSoftmax,
    require,
)

__all__ = ["WIDE"]

WIDE: dict[str, Handler] = {}
"""The handler of each kind of operator."""
handles = registers(WIDE)


@handles("CONV_2D")
def conv_2d(importer: Importer, operator: RawOperator) -> None:
    """A convolution; weights are [O, kernel height, kernel width, I / groups]."""
    options = operator.options(tflite.Conv2DOptions)
    # The bias has its type itself.
    options.ignore("QuantizedBiasType")
    raw, weights = read_weights(importer, operator, 0, 4)
    channels, depth = importer.input(operator, 0).shape[-1], weights.shape[3]
    good = depth > 0 and channels % depth == 0
    require(good, operator, f"its weights {raw} of {weights.shape} do not fit {channels} channels")
    _convolution(importer, operator, options, raw, weights, channels // depth)


@handles("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(importer: Importer, operator: RawOperator) -> None:
    """A depthwise convolution; weights are [1, kernel height, kernel width, O]."""
    options = operator.options(tflite.DepthwiseConv2DOptions)
    raw, weights = read_weights(importer, operator, 3, 4)
    multiplier, channels = options.DepthMultiplier, importer.input(operator, 0).shape[-1]
    good = len(weights) == 1 and multiplier * channels == weights.shape[3]
    require(good, operator, f"its weights {raw} of {weights.shape} do not fit {channels} channels, {multiplier} each")
    weights = np.ascontiguousarray(weights.transpose(3, 1, 2, 0))
    _convolution(importer, operator, options, raw, weights, channels)


def _convolution(importer: Importer, operator: RawOperator, options: Any, raw: Any, weights: Any, groups: int) -> None:
    x = importer.input(operator, 0)
    require(len(x.shape) == 4, operator, f"its input {x} must have 4 axes, not the shape {x.shape}")
    stride, dilation = (options.StrideH, options.StrideW), (options.DilationHFactor, options.DilationWFactor)
    require(min(dilation) > 0, operator, f"its dilation must be 1 or more, not {dilation}")
    extents = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weights.shape[1:3], strict=True))
    pads = padding(operator, options.Padding, x.shape[1:3], extents, stride)  # type: ignore[arg-type]
    fields = parameters(importer, operator, raw, len(weights), options.FusedActivationFunction)
    importer.add(
        operator, WideConv2D, weights=weights, groups=groups, stride=stride, dilation=dilation, padding=pads, **fields
    )


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
    if x.shape[-1] != depth:
        x = importer.reshape(operator, x, "input", (x.shape[0], size // depth, depth))
    importer.add(operator, WideFullyConnected, any_shape=True, weights=weights, **{**fields, "input": x.name})


@handles("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(importer: Importer, operator: RawOperator) -> None:
    """Pooling over windows."""
    options, x = operator.options(tflite.Pool2DOptions), importer.input(operator, 0)
    require(len(x.shape) == 4, operator, f"its input {x} must have 4 axes, not the shape {x.shape}")
    size, stride = (options.FilterHeight, options.FilterWidth), (options.StrideH, options.StrideW)
    importer.add(
        operator, WidePool2D, input=x.name, mean=operator.kind == "AVERAGE_POOL_2D", size=size, stride=stride,
        padding=padding(operator, options.Padding, x.shape[1:3], size, stride),  # type: ignore[arg-type]
        **clamp(operator, importer.tensor(operator.outputs[0]), options.FusedActivationFunction),
    )  # fmt: skip


@handles("MEAN")
def mean(importer: Importer, operator: RawOperator) -> None:
    """The mean over axes."""
    keep, index = bool(operator.options(tflite.ReducerOptions).KeepDims), importer.raw(operator, 0).index
    axes = tuple(sorted({importer.axis(operator, index, axis) for axis in importer.integers(operator, 1)}))
    importer.add(operator, WideMean, input=importer.input(operator, 0).name, axes=axes, keep_dims=keep)


@handles("ADD", "SUB", "MUL")
def arithmetic(importer: Importer, operator: RawOperator) -> None:
    """A sum, difference or product; a constant is broadcast."""
    kinds: dict[str, tuple[type[Op], Any, dict[str, Any]]] = {
        "ADD": (WideAdd, tflite.AddOptions, {}), "SUB": (WideAdd, tflite.SubOptions, {"sign": -1}),
        "MUL": (WideMultiply, tflite.MulOptions, {}),
    }  # fmt: skip
    kind, options, fields = kinds[operator.kind]
    y, activation = importer.tensor(operator.outputs[0]), 0
    if operator.table is not None:
        table = operator.options(options)
        activation = table.FusedActivationFunction
        if operator.kind != "MUL":
            # tflite-micro has one arithmetic for scales that are powers of two and for others.
            table.ignore("PotScaleInt16")
    a, b = (
        importer.aligned(operator, importer.value(operator, raw.index, len(y.shape)), f"operand{place}", y)
        for place, raw in enumerate(importer.raw(operator, place) for place in (0, 1))
    )
    clamped: dict[str, Any] = clamp(operator, y, activation)
    importer.add(operator, kind, a=a.name, b=b.name, **fields, **clamped)


@handles("RELU", "RELU6")
def relu(importer: Importer, operator: RawOperator) -> None:
    """A clamp, requantized to the output's scale; RELU6 is a clamp alone."""
    x, y = importer.input(operator, 0), importer.tensor(operator.outputs[0])
    if operator.kind == "RELU6":
        same = x.scale == y.scale
        require(same, operator, f"{x} and {y} must have the same scale, because codes are only clamped")
    requantize(importer, operator, x, **limits(y, 0.0, 6.0 if operator.kind == "RELU6" else None))


def requantize(importer: Importer, operator: RawOperator, x: Tensor, **fields: Any) -> None:
    """Appends a change of scale."""
    y = importer.tensor(operator.outputs[0])
    multiplier, shift = scaling(operator, x.scale / y.scale)
    importer.add(operator, WideRequantize, input=x.name, multiplier=multiplier, shift=shift, **fields)


@handles("LEAKY_RELU")
def leaky_relu(importer: Importer, operator: RawOperator) -> None:
    """A slope for values below 0."""
    alpha = float(operator.options(tflite.LeakyReluOptions).Alpha)
    importer.add(operator, WideLeakyRelu, input=importer.input(operator, 0).name, alpha=alpha)


@handles("LOGISTIC", "TANH")
def function(importer: Importer, operator: RawOperator) -> None:
    """A function of one value."""
    importer.add(operator, WideFunction, input=importer.input(operator, 0).name, function=operator.kind.lower())


@handles("SOFTMAX")
def softmax(importer: Importer, operator: RawOperator) -> None:
    """Softmax over the last axis."""
    beta = float(operator.options(tflite.SoftmaxOptions).Beta)
    importer.add(operator, WideSoftmax, input=importer.input(operator, 0).name, beta=beta)
