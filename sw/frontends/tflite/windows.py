"""The handlers of TensorFlow Lite's operators that make larger images: transposed convolutions, interpolation."""

from __future__ import annotations

import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.frontends.tflite.operators import padding
from sateen.frontends.tflite.weights import parameters, read_weights
from sateen.graph import ResizeBilinear, TransposeConv2D, require

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Handler] = {}
handles = registers(HANDLERS)


@handles("TRANSPOSE_CONV")
def transpose_conv(importer: Importer, operator: RawOperator) -> None:
    """A transposed convolution; weights are [O, kernel height, kernel width, I], and input 0 states the output's
    shape."""
    options = operator.options(tflite.TransposeConvOptions)
    require(options.QuantizedBiasType in (0, tflite.TensorType.INT32), operator, "its bias must be INT32")
    raw, weights = read_weights(importer, operator, 0, 4, source=2)
    x, y = importer.input(operator, 2), importer.tensor(operator.outputs[0])
    stated, shape = importer.integers(operator, 0), importer.model.tensors[operator.outputs[0]].shape
    require(
        tuple(stated) == shape and len(x.shape) == len(y.shape) == 4,
        operator,
        f"its output {y} has the shape {shape}, not {tuple(stated)} with 4 axes",
    )
    stride = (options.StrideH, options.StrideW)
    pads = padding(operator, options.Padding, y.shape[1:3], weights.shape[1:3], stride)  # type: ignore[arg-type]
    crop = tuple(
        (before, (size - 1) * step + kernel - before - out)
        for (before, _), size, step, kernel, out in zip(
            pads, x.shape[1:3], stride, weights.shape[1:3], y.shape[1:3], strict=True
        )
    )
    activation = options.FusedActivationFunction
    fields = parameters(importer, operator, raw, len(weights), activation, source=2, bias_place=3)
    importer.add(operator, TransposeConv2D, weights=weights, stride=stride, crop=crop, **fields)


@handles("RESIZE_BILINEAR")
def resize_bilinear(importer: Importer, operator: RawOperator) -> None:
    """An image of another size, interpolated; in uint8 models with real numbers."""
    options = operator.options(tflite.ResizeBilinearOptions)
    sizes, shape = importer.integers(operator, 1), importer.tensor(operator.outputs[0]).shape
    require(tuple(sizes) == shape[1:3], operator, f"its output has the shape {shape}, not rows and columns of {sizes}")
    flags = {"align_corners": bool(options.AlignCorners), "half_pixel_centers": bool(options.HalfPixelCenters)}
    x = importer.input(operator, 0)
    importer.add(operator, ResizeBilinear, input=x.name, real=x.unsigned, **flags)
