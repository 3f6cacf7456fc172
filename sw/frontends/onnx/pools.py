"""ONNX's means over windows and whole images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.layers import layer
from sateen.frontends.onnx.values import Limits, Quantization, clamp, image_layout, quantization_of, stored
from sateen.frontends.onnx.windows import Window
from sateen.graph import LARGEST, Concatenate, DepthwiseConv2D, Mean, Slice, Tensor, require
from sateen.hw.spec.descriptor import Rounding

__all__ = ["POOLS"]

POOLS: dict[str, Operator] = {}
handles = registers(POOLS)


@handles("com.microsoft.QLinearGlobalAveragePool 1", "GlobalAveragePool 1 22")
def global_average_pool(importer: Importer, node: Node) -> None:
    """The mean over all places of an image, or of rows."""
    x = importer.as_image(node, importer.codes(node))

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        require(clamp(quantization, limits) == (-128, 127), node, "a clamp behind a mean is not supported")
        return importer.add(
            Mean,
            node,
            name,
            quantization,
            image_layout(len(x.file_shape)),
            input=x.name,
            axes=(1, 2),
            keep_dims=True,
            rounding=Rounding.SINGLE,
        )

    importer.set_result(node, make, 3, stored(x))


@dataclass(frozen=True)
class _Part:
    """Neighbouring positions of a result along an axis, whose windows cover equally many values of the image."""

    first: int
    """The first value of the image that they cover."""
    stop: int
    pads: tuple[int, int]
    """Values beyond the image before and after these."""
    count: int
    """Values that the mean of a window is of."""


def _parts(size: int, extent: int, dilation: int, stride: int, pads: tuple[int, int], *, counted: bool) -> list[_Part]:
    """The parts of an axis of ``size`` values. Windows have ``extent`` values from the first to the last; padding may
    be ``counted``."""
    positions = (size + sum(pads) - extent) // stride + 1
    starts = [place * stride - pads[0] for place in range(positions)]
    counts = [sum(counted or 0 <= start + tap < size for tap in range(0, extent, dilation)) for start in starts]
    parts = []
    begin = 0
    for place in range(1, positions + 1):
        if place == positions or counts[place] != counts[begin]:
            start, stop = starts[begin], starts[place - 1] + extent
            inside = max(start, 0), min(stop, size)
            parts.append(_Part(*inside, (inside[0] - start, stop - inside[1]), counts[begin]))
            begin = place
    return parts


@handles("com.microsoft.QLinearAveragePool 1", "AveragePool 7 10 11 19 22")
def average_pool(importer: Importer, node: Node) -> None:
    """The mean of each window: a depthwise convolution with weights of 1. Where padding does not count, there is one
    for each part of the image whose windows have equally many values. Where it counts, so does what ``ceil_mode`` adds,
    as in onnxruntime's integers."""
    x, size = importer.codes(node), node.get("kernel_shape", ())
    rank = len(x.file_shape)
    require(len(size) == rank - 2, node, f"its kernel {size} does not fit {x.name!r} of {x.file_shape}")
    x, window = importer.as_image(node, x), Window.read(node, size)
    require(math.prod(size) * x.shape[3] <= LARGEST, node, f"its window of {size} is too large")
    fields, counts = window.fields(x), bool(node.get("count_include_pad"))
    lengths = zip(x.shape[1:3], window.size, window.dilation, window.stride, fields["padding"], strict=True)
    axes = [_parts(length, d * (k - 1) + 1, d, step, pads, counted=counts) for length, k, d, step, pads in lengths]
    empty = any(part.count == 0 or part.first >= part.stop for parts in axes for part in parts)
    require(not empty, node, "a window of it lies in padding alone; export the model with less padding")
    require(math.prod(map(len, axes)) <= 81, node, f"its windows of {size} reach over the edges in too many ways")

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        return _means(importer, node, x, axes, window, name, quantization, limits)

    importer.set_result(node, make, 3, stored(x))


def _means(
    importer: Importer, node: Node, x: Tensor, axes: Sequence[Sequence[_Part]], window: Window, name: str,
    quantization: Quantization, limits: Limits,
) -> Tensor:  # fmt: skip
    """Means of an image's parts, joined."""
    layout = image_layout(len(x.file_shape))
    ones = np.ones((x.shape[3], *window.size, 1), np.int8)

    def part(place: tuple[int, int], rows: _Part, columns: _Part, wanted: str) -> Tensor:
        source, inside = x, ((rows.first, rows.stop), (columns.first, columns.stop))
        if inside != ((0, x.shape[1]), (0, x.shape[2])):
            ranges = (*((first, stop, 1) for first, stop in inside), (0, x.shape[3], 1))
            cut = importer.name_of(f"{name}.{place[0]}.{place[1]}.part")
            source = importer.add(Slice, node, cut, quantization_of(x), layout, input=x.name, ranges=ranges)
        scales = np.ones(1, np.float32) / np.float32(rows.count * columns.count)
        fields: dict[str, Any] = {"stride": window.stride, "dilation": window.dilation}
        fields["padding"] = (rows.pads, columns.pads)
        return layer(
            importer, node, DepthwiseConv2D, source, ones, scales, None, wanted, quantization, limits, layout, **fields
        )

    def join(parts: list[Tensor], axis: int, wanted: str) -> Tensor:
        names = tuple(tensor.name for tensor in parts)
        return importer.add(Concatenate, node, wanted, quantization, layout, sources=names, axis=axis)

    bands = []
    for i, rows in enumerate(axes[0]):
        band = name if len(axes[0]) == 1 else importer.name_of(f"{name}.{i}")
        single = len(axes[1]) == 1
        pieces = [
            part((i, j), rows, columns, band if single else importer.name_of(f"{name}.{i}.{j}"))
            for j, columns in enumerate(axes[1])
        ]
        bands.append(pieces[0] if single else join(pieces, 2, band))
    return bands[0] if len(bands) == 1 else join(bands, 1, name)
