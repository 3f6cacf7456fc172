"""The handlers of TensorFlow Lite's layers on real numbers, which the host computes where a model is quantized in part:
layers that a tool has left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.frontends.tflite.operators import padding
from sateen.frontends.tflite.real import activated
from sateen.frontends.tflite.refusals import refusal
from sateen.frontends.tflite.weights import check_product
from sateen.graph import (
    Array,
    GraphError,
    RealBinary,
    RealConv2D,
    RealPool2D,
    RealProduct,
    RealReduce,
    RealResize,
    RealUnary,
    require,
)

__all__ = ["REAL_LAYERS"]

REAL_LAYERS: dict[str, Handler] = {}
"""The handler of each kind of operator."""
handles = registers(REAL_LAYERS)

SMALLEST_LENGTH = 1e-6
"""By which a vector is divided at least where its length is to be 1."""


def _weights(importer: Importer, operator: RawOperator, rank: int) -> Array:
    """The weights at input 1, which must be real, in a model that is quantized elsewhere."""
    raw = importer.raw(operator, 1)
    if raw.type != "FLOAT32" or not importer.partly:
        raise GraphError(f"{operator}: {refusal(importer.model, operator, 'FLOAT32', importer.origins)}")
    values = importer.constant(operator, 1)
    good = values.ndim == rank and values.size > 0
    require(good, operator, f"its weights {raw} must have {rank} axes, not the shape {values.shape}")
    return values


def _bias(importer: Importer, operator: RawOperator, outputs: int) -> Array:
    if not importer.has(operator, 2):
        return np.zeros(outputs, np.float32)
    values = importer.constant(operator, 2)
    good = values.dtype == np.float32 and values.size == outputs
    require(good, operator, f"its bias must be {outputs} values of FLOAT32")
    return values.reshape(-1)


@handles("CONV_2D", "DEPTHWISE_CONV_2D")
def convolution(importer: Importer, operator: RawOperator) -> None:
    """A convolution; weights are [O, kernel height, kernel width, I / groups], or [1, height, width, O]."""
    depthwise, weights = operator.kind == "DEPTHWISE_CONV_2D", _weights(importer, operator, 4)
    options = operator.options(tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
    x = importer.input(operator, 0)
    require(len(x.shape) == 4, operator, f"its input {x} must have 4 axes, not the shape {x.shape}")
    if depthwise:
        good = len(weights) == 1 and options.DepthMultiplier * x.shape[3] == weights.shape[3]
        require(good, operator, f"its weights of {weights.shape} do not fit {x.shape[3]} channels")
        weights = np.ascontiguousarray(weights.transpose(3, 1, 2, 0))
    else:
        options.ignore("QuantizedBiasType")
    stride, dilation = (options.StrideH, options.StrideW), (options.DilationHFactor, options.DilationWFactor)
    require(min(dilation) > 0, operator, f"its dilation must be 1 or more, not {dilation}")
    require(x.shape[3] % weights.shape[3] == 0, operator, f"its weights of {weights.shape} do not fit {x.shape}")
    extents = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weights.shape[1:3], strict=True))
    fields: dict[str, Any] = {
        "input": x.name, "weights": weights, "bias": _bias(importer, operator, len(weights)), "stride": stride,
        "dilation": dilation, "groups": x.shape[3] // weights.shape[3],
        "padding": padding(operator, options.Padding, x.shape[1:3], extents, stride),  # type: ignore[arg-type]
    }  # fmt: skip
    activated(importer, operator, options.FusedActivationFunction, RealConv2D, **fields)


@handles("FULLY_CONNECTED")
def fully_connected(importer: Importer, operator: RawOperator) -> None:
    """A matrix product over the last axis."""
    options, weights = operator.options(tflite.FullyConnectedOptions), _weights(importer, operator, 2)
    require(options.WeightsFormat == 0, operator, "its weights are shuffled; convert the model anew")
    # Nothing is quantized here.
    options.ignore("QuantizedBiasType", "AsymmetricQuantizeInputs")
    check_product(importer, operator, len(weights), bool(options.KeepNumDims))
    x, depth = importer.input(operator, 0), weights.shape[1]
    size = math.prod(x.shape[1:])
    require(size % depth == 0, operator, f"its weights take {depth} values, which do not divide {x} of {x.shape}")
    rows = importer.reshape(operator, x, "input", (x.shape[0], size // depth, depth))
    bias = _bias(importer, operator, len(weights))
    shape = (x.shape[0], size // depth, len(weights))
    activated(
        importer, operator, options.FusedActivationFunction, RealProduct, shape, input=rows.name, weights=weights,
        bias=bias,
    )  # fmt: skip


@handles("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(importer: Importer, operator: RawOperator) -> None:
    """Pooling over windows."""
    options, x = operator.options(tflite.Pool2DOptions), importer.input(operator, 0)
    require(len(x.shape) == 4, operator, f"its input {x} must have 4 axes, not the shape {x.shape}")
    size, stride = (options.FilterHeight, options.FilterWidth), (options.StrideH, options.StrideW)
    fields: dict[str, Any] = {
        "input": x.name, "size": size, "stride": stride,
        "padding": padding(operator, options.Padding, x.shape[1:3], size, stride),  # type: ignore[arg-type]
        "function": "mean" if operator.kind == "AVERAGE_POOL_2D" else "maximum",
    }  # fmt: skip
    activated(importer, operator, options.FusedActivationFunction, RealPool2D, **fields)


@handles("RESIZE_BILINEAR")
def resize_bilinear(importer: Importer, operator: RawOperator) -> None:
    """An image of another size, interpolated."""
    options, x = operator.options(tflite.ResizeBilinearOptions), importer.input(operator, 0)
    sizes, shape = importer.integers(operator, 1), importer.tensor(operator.outputs[0]).shape
    good = len(x.shape) == 4 and tuple(sizes) == shape[1:3]
    require(good, operator, f"its output has the shape {shape}, not rows and columns of {sizes}")
    both = options.AlignCorners and options.HalfPixelCenters
    require(not both, operator, "its options AlignCorners and HalfPixelCenters exclude each other")
    coordinates = "align_corners" if options.AlignCorners else "asymmetric"
    coordinates = "half_pixel" if options.HalfPixelCenters else coordinates
    scales = tuple(wanted / size for wanted, size in zip(sizes, x.shape[1:3], strict=True))
    importer.add(operator, RealResize, input=x.name, scales=scales, coordinates=coordinates)


@handles("L2_NORMALIZATION")
def l2_normalization(importer: Importer, operator: RawOperator) -> None:
    """Vectors along the last axis, divided by their lengths."""
    if operator.table is not None:
        activation = operator.options(tflite.L2NormOptions).FusedActivationFunction
        require(activation == 0, operator, "its fused activation is not supported; put it behind")
    x, name = importer.input(operator, 0), f"l2_normalization_{operator.index}"
    require(len(x.shape) > 1, operator, f"its input {x} has no axis besides the batch")
    length, least = (
        importer.new_like(x, f"{what}{operator.index}", (*x.shape[:-1], 1)) for what in ("length", "least")
    )
    axes = (len(x.shape) - 1,)
    importer.ops += [
        RealReduce(name=f"{name}_length", input=x.name, output=length.name, function="l2", axes=axes, keep_dims=True),
        RealUnary(
            name=f"{name}_least", input=length.name, output=least.name, function="clip",
            parameters=(SMALLEST_LENGTH, math.inf),
        ),
    ]  # fmt: skip
    importer.add(operator, RealBinary, a=x.name, b=least.name, function="divide")
