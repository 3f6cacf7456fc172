"""ONNX's means over windows, and reductions of whole axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.moves import Apply, different, registers_moves
from sateen.frontends.onnx.replacement import Kernel
from sateen.frontends.onnx.values import IMAGE, Limits, Quantization, clamp, image_layout, quantization_of, stored
from sateen.frontends.onnx.windows import Window
from sateen.graph import (
    LARGEST,
    Concatenate,
    FileLayout,
    FloatAveragePool2D,
    Mean,
    Op,
    ReduceMax,
    ReduceMin,
    Slice,
    Sum,
    Tensor,
    require,
)
from sateen.hw.spec.descriptor import Rounding

__all__ = ["POOLS", "kept"]

POOLS: dict[str, Operator] = {}
handles = registers(POOLS)
moves = registers_moves(POOLS)

DILATED = 19
"""The first version of AveragePool that has dilations."""


def _order(importer: Importer, node: Node, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """A tensor whose axes here are those of the file, and the place here of each of them."""
    if len(x.file_shape) == 4:
        return importer.as_image(node, x), IMAGE
    x = importer.in_file_layout(node, x)
    return x, tuple(range(len(x.shape)))


def kept(node: Node) -> bool:
    """Whether axes that an operator reduces stay with a length of 1. onnxruntime takes other numbers than 0 and 1 in
    different ways."""
    keep = node.get("keepdims", 1)
    require(keep in (0, 1), node, f"its keepdims {keep} is neither 0 nor 1; export the model anew")
    return bool(keep)


def _reduced(importer: Importer, node: Node) -> tuple[tuple[int, ...], bool]:
    """The axes that an operator reduces, as the file counts them, and whether they stay with a length of 1."""
    axes = importer.integers(node, 1) if node.has(1) else tuple(node.get("axes", ()))
    keep = kept(node)
    # Without axes it reduces all, or none.
    none = node.get("noop_with_empty_axes", 0)
    require(len(axes) > 0 or not none, node, "without axes it reduces nothing; export the model without it")
    return axes, keep


def _reduce(
    importer: Importer, node: Node, kind: type[Op], x: Tensor, name: str, quantization: Quantization,
    axes: tuple[int, ...], keep: bool, **fields: Any,
) -> Tensor:  # fmt: skip
    """Appends a reduction over axes of the file's layout."""
    rank = len(x.file_shape)
    wanted = different(node, axes, rank) or set(range(rank))
    # Where there is one item, it is reduced by itself.
    wanted -= {0} if keep and x.shape[0] == 1 and not importer.model.free else set()
    require(0 not in wanted, node, "it reduces the batch, which must stay; export the model with a fixed batch of 1")
    x, order = _order(importer, node, x)
    left = [axis for axis in range(rank) if keep or axis not in wanted]
    here = sorted(order[axis] for axis in left)
    places = tuple(here.index(order[axis]) for axis in left)
    fields |= {"input": x.name, "axes": tuple(sorted(order[axis] for axis in wanted)), "keep_dims": keep}
    return importer.add(
        kind, node, name, quantization,
        lambda shape: FileLayout(shape, places, tuple(shape[place] for place in places)), **fields,
    )  # fmt: skip


@handles(
    "com.microsoft.QLinearGlobalAveragePool 1",
    "GlobalAveragePool 1 22",
    "ReduceMean 1 11 13 18",
    "ReduceSum 1 11 13",
)
def reduce_sums(importer: Importer, node: Node) -> None:
    """Means and sums over axes, or over all places of an image."""
    x, kind = importer.codes(node), Sum if node.kind == "ReduceSum" else Mean
    whole = node.kind.endswith("GlobalAveragePool")
    axes, keep = (tuple(range(2, len(x.file_shape))), True) if whole else _reduced(importer, node)

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        fused = whole and importer.kernel(node) is not Kernel.REAL
        fields: dict[str, Any] = {"rounding": Rounding.FLOAT32, "fused": fused}
        return _reduce(importer, node, kind, x, name, quantization, axes, keep, **fields)

    importer.set_result(node, importer.with_clamp(node, make), 3, stored(x))


@moves("GlobalMaxPool 1 22", "ReduceMax 1 11 12 13 18 20", "ReduceMin 1 11 12 13 18 20")
def reduce_values(importer: Importer, node: Node) -> Apply:
    """The largest or the smallest value over axes, or over all places of an image."""
    kind: type[Op] = ReduceMin if node.kind == "ReduceMin" else ReduceMax
    axes, keep = _reduced(importer, node) if node.kind != "GlobalMaxPool" else ((), True)

    def apply(x: Tensor, name: str) -> Tensor:
        reduced = axes if node.kind != "GlobalMaxPool" else tuple(range(2, len(x.file_shape)))
        return _reduce(importer, node, kind, x, name, quantization_of(x), reduced, keep)

    return apply


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


def _parts(
    size: int, extent: int, dilation: int, stride: int, pads: tuple[int, int], counted: int | None
) -> list[_Part]:
    """The parts of an axis of ``size`` values. Windows have ``extent`` values from the first to the last. The first
    ``counted`` values beyond the end count in means, with those before the begin; none of both if it is left out."""
    positions = max((size + sum(pads) - extent) // stride + 1, 0)
    starts = np.arange(positions) * stride - pads[0]
    # The first and the last value of each window that is inside.
    first, last = -(-np.maximum(-starts, 0) // dilation), np.minimum(extent - 1, size - 1 - starts) // dilation
    if counted is None:
        counts = np.maximum(last - first + 1, 0)
    else:
        counts = np.minimum(extent - 1, size + counted - 1 - starts) // dilation + 1
    edges = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), positions] if positions else []
    parts = []
    for begin, end in itertools.pairwise(edges):
        start, stop = int(starts[begin]), int(starts[end - 1]) + extent
        inside = max(start, 0), min(stop, size)
        parts.append(_Part(*inside, (inside[0] - start, stop - inside[1]), int(counts[begin])))
    return parts


@handles("com.microsoft.QLinearAveragePool 1", "AveragePool 7 10 11 19 22")
def average_pool(importer: Importer, node: Node) -> None:
    """The mean of each window. Where padding does not count, there is one operator for each part of the image whose
    windows have equally many values. Where it counts, what ``ceil_mode`` adds does in onnxruntime's kernel of codes
    alone."""
    x, size = importer.codes(node), node.get("kernel_shape", ())
    rank = len(x.file_shape)
    require(len(size) == rank - 2, node, f"its kernel {size} does not fit {x.name!r} of {x.file_shape}")
    x, window = importer.as_image(node, x), Window.read(node, size)
    require(math.prod(size) * x.shape[3] <= LARGEST, node, f"its window of {size} is too large")
    fields, padded = window.fields(x), importer.optimized.padded
    counts = bool(node.get("count_include_pad")) or node.outputs[0] in padded
    fused = importer.kernel(node) is not Kernel.REAL
    beyond = (0, 0) if fused else window.beyond(x)
    counted = [pads[1] - more if counts else None for pads, more in zip(fields["padding"], beyond, strict=True)]
    lengths = zip(x.shape[1:3], window.size, window.dilation, window.stride, fields["padding"], counted, strict=True)
    axes = [_parts(length, d * (k - 1) + 1, d, step, pads, most) for length, k, d, step, pads, most in lengths]
    require(all(axes), node, f"a window of {size} exceeds its padded input of {x.file_shape}; check its padding")
    empty = any(part.count == 0 or part.first >= part.stop for parts in axes for part in parts)
    require(not empty, node, "a window of it lies in padding alone; export the model with less padding")
    require(math.prod(map(len, axes)) <= 81, node, f"its windows of {size} reach over the edges in too many ways")
    # onnxruntime has other kernels for the mean of a whole image than for those of its windows.
    whole = window.size == x.shape[1:3] and not any(map(any, fields["padding"]))
    whole = whole and not padded.get(node.outputs[0])
    whole = whole and (fused or _version(node) < DILATED and window.stride == (1, 1))

    def make_whole(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        every = tuple(range(2, rank))
        kind: dict[str, Any] = {"rounding": Rounding.FLOAT32, "fused": fused}
        return _reduce(importer, node, Mean, x, name, quantization, every, True, **kind)

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        return _means(importer, node, x, axes, window, name, quantization, limits)

    importer.set_result(node, importer.with_clamp(node, make_whole) if whole else make, 3, stored(x))


def _version(node: Node) -> int:
    return node.schema.version if node.schema else 0


def _sums_columns(node: Node, x: Tensor, window: Window) -> bool:
    """Whether onnxruntime's kernel for real numbers sums the columns of a window first: that of vectors, for small
    windows one or two columns apart (``MlasPool``). Operators that have dilations have a kernel of their own."""
    width = x.shape[2] + sum(window.fields(x)["padding"][1])
    near = window.stride[1] <= 2 and max(window.size) <= 32 and width <= 2045
    return _version(node) < DILATED and near


def _means(
    importer: Importer, node: Node, x: Tensor, axes: Sequence[Sequence[_Part]], window: Window, name: str,
    quantization: Quantization, limits: Limits,
) -> Tensor:  # fmt: skip
    """Means of an image's parts, joined."""
    layout, kernel = image_layout(len(x.file_shape)), importer.kernel(node)
    apart = _sums_columns(node, x, window)

    def part(place: tuple[int, int], rows: _Part, columns: _Part, wanted: str) -> Tensor:
        source, inside = x, ((rows.first, rows.stop), (columns.first, columns.stop))
        if inside != ((0, x.shape[1]), (0, x.shape[2])):
            ranges = (*((first, stop, 1) for first, stop in inside), (0, x.shape[3], 1))
            cut = importer.name_of(f"{name}.{place[0]}.{place[1]}.part")
            source = importer.add(Slice, node, cut, quantization_of(x), layout, input=x.name, ranges=ranges)
        low, high = clamp(quantization, limits)
        # Kernels of codes have no clamp.
        fused = kernel is not Kernel.REAL and (low, high) == (-128, 127)
        return importer.add(
            FloatAveragePool2D, node, wanted, quantization, layout, input=source.name, size=window.size,
            stride=window.stride, dilation=window.dilation, padding=(rows.pads, columns.pads),
            count=rows.count * columns.count,
            fused=fused, as_uint8=kernel is Kernel.UINT8, columns=apart and not fused, low=low, high=high,
        )  # fmt: skip

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
