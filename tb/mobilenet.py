"""MobileNetV1 (arXiv:1704.04861) as TensorFlow Lite files with random weights: int8, and uint8 whose weights have zero
points."""

from __future__ import annotations

import math

import numpy as np

from tflite_models import ModelBuilder

__all__ = ["BLOCKS", "mobilenet_v1"]

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Channels at full width, and stride, of each depthwise layer with the pointwise one behind it."""
SCALE = 0.02
"""Of weights; activations have a scale of 0.05."""


class _File:
    def __init__(self, unsigned: bool, rng: np.random.Generator):
        self.b, self.rng, self.unsigned = ModelBuilder(), rng, unsigned
        self.type = "UINT8" if unsigned else "INT8"
        self.inputs: list[int] = []

    def activations(self, shape: tuple[int, ...]) -> int:
        self.shape = shape
        zero_point = int(self.rng.integers(-20, 20))
        self.last = self.b.tensor(shape, self.type, scale=0.05, zero_point=zero_point + 128 * self.unsigned)
        return self.last

    def layer(self, kind: str, size: tuple[int, ...], axis: int, out: tuple[int, ...], **fields: object) -> None:
        """A layer whose results fill the range of a byte."""
        x, depth = self.last, math.prod(size) // size[axis]
        zero_point = int(self.rng.integers(100, 156)) if self.unsigned else 0
        codes = self.rng.integers(*((0, 256) if self.unsigned else (-127, 128)), size)
        scale = SCALE / math.sqrt(depth)
        weights = self.b.constant(codes, self.type, scale=[scale], zero_point=zero_point)
        sums = self.rng.integers(-4000, 4000, size[axis])
        bias = self.b.constant(sums, scale=[scale * 0.05])
        self.b.op(kind, [x, weights, bias], [self.activations(out)], **fields)

    def window(self, kind: str, size: tuple[int, ...], axis: int, stride: int, **fields: object) -> None:
        _, height, width, _ = self.shape
        options = {"StrideH": stride, "StrideW": stride, "DilationHFactor": 1, "DilationWFactor": 1, **fields}
        out = (1, -(-height // stride), -(-width // stride), size[axis])
        self.layer(kind, size, axis, out, Padding=0, **options)


def mobilenet_v1(*, unsigned: bool, size: int, width: float, blocks: int = len(BLOCKS), classes: int = 1001) -> bytes:
    """A file for images of ``size`` × ``size`` × 3.

    Parameters
    ----------
    unsigned
        uint8, with a zero point for the weights of each layer; else int8 without.
    width
        Factor of all numbers of channels.
    blocks
        How many of :data:`BLOCKS` it has.
    """
    net = _File(unsigned, np.random.default_rng(1))
    first = net.activations((1, size, size, 3))
    channels = int(32 * width)
    net.window("CONV_2D", (channels, 3, 3, 3), 0, 2, options="Conv2DOptions")
    for full, stride in BLOCKS[:blocks]:
        options = {"options": "DepthwiseConv2DOptions", "DepthMultiplier": 1}
        net.window("DEPTHWISE_CONV_2D", (1, 3, 3, channels), 3, stride, **options)
        outputs = int(full * width)
        net.window("CONV_2D", (outputs, 1, 1, channels), 0, 1, options="Conv2DOptions")
        channels = outputs
    _, rows, columns, _ = net.shape
    raw, before = net.b.tensors[net.last], net.last
    pooled = net.activations((1, 1, 1, channels))
    net.b.tensors[pooled]["zero_point"] = raw["zero_point"]
    net.b.op("AVERAGE_POOL_2D", [before], [pooled], "Pool2DOptions", Padding=1, StrideH=rows, StrideW=columns,
             FilterHeight=rows, FilterWidth=columns)  # fmt: skip
    net.window("CONV_2D", (classes, 1, 1, channels), 0, 1, options="Conv2DOptions")
    return net.b.build([first], [net.last])
