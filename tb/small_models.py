"""Small model files that together have every kind of operator of the front ends."""

from __future__ import annotations

import functools

import numpy as np

from needs import MODELS
from recurrent_models import recurrent_files
from small_onnx import float_files, onnx_files
from tflite_models import ModelBuilder

__all__ = [
    "IMAGE",
    "X",
    "Builder",
    "File",
    "sources",
    "tflite_files",
]

Builder = tuple[ModelBuilder, list[int], list[int]]
"""A TensorFlow Lite file in the making, its inputs and its outputs."""


@functools.cache
def sources(format: str, *, models: bool = False) -> tuple[bytes, ...]:
    """Small whole files that have every kind of operator, and the small ones of the reference models."""
    made = {
        "tflite": lambda: [b.build(*ends) for b, *ends in tflite_files()],
        "onnx": onnx_files,
        "float onnx": float_files,
    }[format]()
    paths = sorted((MODELS / format).glob(f"*.{format}")) if models and format != "float onnx" else []
    return (*made, *(path.read_bytes() for path in paths if path.stat().st_size < 100_000))


X, IMAGE, CODES = (0.05, 3), (1, 4, 4, 2), np.arange(-8, 8, dtype=np.int8)


class File(ModelBuilder):
    """Builds a file of one input."""

    def __init__(self, shape=IMAGE, type="INT8", numbers=X):
        super().__init__()
        self.type = type
        self.given = self.like(shape, numbers)

    def like(self, shape, numbers=X, **fields):
        """A tensor of the input's type, with scale and zero point."""
        return self.tensor(
            shape, self.type, scale=numbers[0], zero_point=numbers[1] + 128 * (self.type == "UINT8"), **fields
        )

    def weights(self, shape, scale=0.01, axis=0):
        """Constant weights."""
        count = shape[axis] if self.type == "INT8" else 1
        data = np.resize(CODES, shape) if self.type == "INT8" else np.resize(CODES, shape).view(np.uint8)
        return self.tensor(shape, self.type, scale=[scale] * count, data=data, axis=axis)

    def to(self, kind, shape, options="", constants=(), numbers=X, **fields):
        """The file with one operator that makes the output from the input and constants."""
        inputs = [self.given, *(self.constant(values) for values in constants)]
        return self.ends(kind, inputs, [self.like(shape, numbers)], options, **fields)

    def ends(self, kind, inputs, outputs, options="", **fields):
        """The file with one operator that makes the outputs."""
        self.op(kind, inputs, list(outputs), options, **fields)
        return self, [self.given], outputs


@functools.cache
def tflite_files() -> list[Builder]:
    """TensorFlow Lite files that have every kind of operator."""
    from small_layouts import computed_shape, layout_files, pair_files

    typed = [file for type in ("INT8", "UINT8") for file in _typed_files(type)]
    others = [*_unary_files(), *_other_files(), *layout_files(), *pair_files(), *recurrent_files()]
    return [*typed, *others, computed_shape(), _real_ends()]


def _typed_files(type: str) -> list[Builder]:
    """Operators that exist for int8 and uint8."""
    window = {"StrideH": 1, "StrideW": 1}
    dilated = {**window, "DilationHFactor": 1, "DilationWFactor": 1}
    files = []
    f = File(type=type)
    bias = f.constant(np.arange(3))
    files.append(
        f.ends("CONV_2D", [f.given, f.weights((3, 3, 3, 2)), bias], [f.like((1, 4, 4, 3))], "Conv2DOptions", **dilated)
    )
    f = File(type=type)
    inputs = [f.given, f.weights((1, 3, 3, 2), axis=3), f.constant([5, -5])]
    fields = {**dilated, "DepthMultiplier": 1, "Padding": 1, "FusedActivationFunction": 1}
    files.append(f.ends("DEPTHWISE_CONV_2D", inputs, [f.like((1, 2, 2, 2))], "DepthwiseConv2DOptions", **fields))
    f = File((1, 12), type)
    inputs = [f.given, f.weights((5, 12)), f.constant(np.arange(5))]
    files.append(
        f.ends("FULLY_CONNECTED", inputs, [f.like((1, 5))], "FullyConnectedOptions", FusedActivationFunction=3)
    )
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        files.append(
            File(type=type).to(kind, (1, 3, 3, 2), "Pool2DOptions", FilterHeight=2, FilterWidth=2, Padding=1, **window)
        )
    for kind, options in (("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")):
        f = File((1, 2, 4), type)
        other = f.like((1, 1, 4), (0.02, 0), data=np.resize(CODES, (1, 1, 4)))
        files.append(f.ends(kind, [f.given, other], [f.like((1, 2, 4), (0.1, 0))], options))
    for kind in ("MAXIMUM", "MINIMUM"):
        f = File((1, 8), type)
        limit = f.like((), data=np.uint8(131) if type == "UINT8" else np.int8(3))
        files.append(f.ends(kind, [f.given, limit], [f.like((1, 8))], "MaximumMinimumOptions"))
    f = File((1, 3, 2), type)
    numbers = X if type == "INT8" else (0.1, 0)
    files.append(
        f.ends("CONCATENATION", [f.given, f.given], [f.like((1, 3, 4), numbers)], "ConcatenationOptions", Axis=2)
    )
    return files


def _unary_files() -> list[Builder]:
    """Operators on one tensor and constants."""
    row, keep = (1, 8), {"KeepDims": True}
    return [
        File().to("MEAN", (1, 1, 1, 2), "ReducerOptions", [[1, 2]], (0.03, 1), **keep),
        File(row).to("SOFTMAX", row, "SoftmaxOptions", numbers=(1 / 256, -128), Beta=1.0),
        File(row).to("LOG_SOFTMAX", row, numbers=(1 / 16, 127)),
        File(row).to("LOGISTIC", row, numbers=(1 / 256, -128)),
        File(row).to("TANH", row, numbers=(1 / 128, 0)),
        File(row).to("LEAKY_RELU", row, "LeakyReluOptions", numbers=(0.1, 0), Alpha=0.1),
        *(File(row).to(kind, row, numbers=(0.1, 0)) for kind in ("HARD_SWISH", "RELU", "RELU6", "QUANTIZE")),
        File().to("RESHAPE", (1, 32), constants=[[1, 32]]),
        File().to("PAD", (1, 5, 4, 2), constants=[[[0, 0], [1, 0], [0, 0], [0, 0]]]),
        File().to("TRANSPOSE", (1, 2, 4, 4), constants=[[0, 3, 1, 2]]),
        File().to("SLICE", (1, 2, 2, 1), constants=[[0, 1, 1, 0], [1, 2, 2, 1]]),
        File().to(
            "STRIDED_SLICE", (1, 2, 4, 2), "StridedSliceOptions", [[0, 1, 0, 0], [0, 4, 0, 0], [1, 2, 1, 1]], EndMask=13
        ),
        File().to(
            "RESIZE_NEAREST_NEIGHBOR", (1, 8, 8, 2), "ResizeNearestNeighborOptions", [[8, 8]], HalfPixelCenters=True
        ),
    ]


def _other_files() -> list[Builder]:
    """Operators on several tensors, or with several results."""
    files = []
    f = File()
    sizes = f.constant([[0, 0], [0, 0], [0, 1], [0, 0]])
    files.append(f.ends("PADV2", [f.given, sizes, f.like((), data=np.int8(7))], [f.like((1, 4, 5, 2))]))
    f = File()
    inputs = [f.constant([1, 8, 8, 3]), f.weights((3, 3, 3, 2)), f.given, f.constant(np.arange(3))]
    fields = {"StrideH": 2, "StrideW": 2, "FusedActivationFunction": 1}
    files.append(f.ends("TRANSPOSE_CONV", inputs, [f.like((1, 8, 8, 3))], "TransposeConvOptions", **fields))
    f = File((1, 3))
    weights = f.constant(np.resize(CODES, (5, 3)), "INT4", scale=0.1)
    files.append(f.ends("FULLY_CONNECTED", [f.given, weights], [f.like((1, 5))], "FullyConnectedOptions"))
    for kind in ("INT32", "BOOL"):
        f = File()
        files.append(f.ends("CAST", [f.given], [f.tensor(IMAGE, kind)], "CastOptions"))
    f = File((1, 3, 2))
    files.append(f.ends("PACK", [f.given, f.given], [f.like((1, 3, 2, 2))], "PackOptions", ValuesCount=2, Axis=2))
    f = File()
    files.append(
        f.ends("SPLIT", [f.constant(2), f.given], [f.like((1, 4, 2, 2)) for _ in range(2)], "SplitOptions", NumSplits=2)
    )
    f = File()
    pieces = [f.like((1, size, 4, 2)) for size in (1, 3)]
    files.append(f.ends("SPLIT_V", [f.given, f.constant([1, -1]), f.constant(1)], pieces, "SplitVOptions", NumSplits=2))
    f = File((1, 2, 3))
    files.append(f.ends("UNPACK", [f.given], [f.like((1, 3)) for _ in range(2)], "UnpackOptions", Num=2, Axis=1))
    f = File((1, 8))
    files.append(f.ends("ARG_MAX", [f.given, f.constant(1)], [f.tensor((1,), "INT32")], "ArgMaxOptions", OutputType=2))
    return files


def _real_ends() -> Builder:
    b = ModelBuilder()
    x, codes, y = b.tensor((1, 6), "FLOAT32"), b.tensor((1, 6), scale=0.1), b.tensor((1, 6), "FLOAT32")
    b.op("QUANTIZE", [x], [codes], "QuantizeOptions")
    b.op("DEQUANTIZE", [codes], [y], "DequantizeOptions")
    return b, [x], [y]


def _real_parts() -> Builder:
    """Pixels cast, shifted and quantized, and a softmax behind."""
    b = ModelBuilder()
    x, codes = b.tensor((1, 6), "UINT8"), b.tensor((1, 6), scale=0.1)
    cast, moved, real, y = (b.tensor((1, 6), "FLOAT32") for _ in range(4))
    b.op("CAST", [x], [cast], "CastOptions")
    b.op("SUB", [cast, b.constant([1.5], "FLOAT32")], [moved], "SubOptions", FusedActivationFunction=1)
    b.op("QUANTIZE", [moved], [codes])
    b.op("DEQUANTIZE", [codes], [real])
    b.op("SOFTMAX", [real], [y], "SoftmaxOptions", Beta=1.0)
    return b, [x], [y]


def _wide() -> Builder:
    """Operators on int16 activations, one behind the other."""
    b = ModelBuilder()

    def like(shape, scale=1e-3):
        return b.tensor(shape, "INT16", scale=scale)

    def codes(shape, axis=0):
        return b.constant(np.resize(CODES, shape), "INT8", scale=0.02, axis=axis)

    image, row = (1, 4, 4, 2), (1, 3)
    x, c, d, p, s, m, v = b.tensor(image, scale=0.1), *(like(image) for _ in range(6))
    window = {"StrideH": 1, "StrideW": 1}
    dilated = {**window, "DilationHFactor": 1, "DilationWFactor": 1}
    b.op("QUANTIZE", [x], [c])
    b.op("CONV_2D", [c, codes((2, 3, 3, 2)), b.constant([5, -5], "INT64")], [d], "Conv2DOptions", **dilated)
    fields = {**dilated, "DepthMultiplier": 1}
    b.op("DEPTHWISE_CONV_2D", [d, codes((1, 3, 3, 2), 3)], [p], "DepthwiseConv2DOptions", **fields)
    b.op("AVERAGE_POOL_2D", [p], [s], "Pool2DOptions", FilterHeight=2, FilterWidth=2, **window)
    b.op("ADD", [s, c], [m], "AddOptions")
    b.op("MUL", [m, b.constant([300, -200], "INT16", scale=1e-4)], [v], "MulOptions")
    r, t, g, f, k = like(image), like(image), like((1, 2)), like(row), like(row)
    h, y = like(row, 2.0**-15), like(row, 2.0**-15)
    b.op("LEAKY_RELU", [v], [r], "LeakyReluOptions", Alpha=0.1)
    b.op("RELU", [r], [t])
    b.op("MEAN", [t, b.constant([1, 2])], [g], "ReducerOptions")
    b.op("FULLY_CONNECTED", [g, codes((3, 2))], [f], "FullyConnectedOptions", FusedActivationFunction=1)
    b.op("TANH", [f], [h])
    b.op("QUANTIZE", [h], [k])
    b.op("SOFTMAX", [k], [y], "SoftmaxOptions", Beta=1.0)
    return b, [x], [y]
