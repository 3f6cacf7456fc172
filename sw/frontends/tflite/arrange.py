"""The handlers of TensorFlow Lite's operators that put values in other places by constant rules."""

from __future__ import annotations

import math

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.moves import registers
from sateen.graph import (
    DepthToSpace,
    Pad,
    Reshape,
    Slice,
    SpaceToDepth,
    Take,
    Tensor,
    Transpose,
    require,
    require_places,
)

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Handler] = {}
handles = registers(HANDLERS)

Places = tuple[int, ...] | None


@handles("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def space_to_depth(importer: Importer, operator: RawOperator) -> None:
    """Blocks of pixels as channels, and back."""
    x = importer.input(operator, 0)
    if operator.kind == "SPACE_TO_DEPTH":
        size = operator.options(tflite.SpaceToDepthOptions).BlockSize
        kind: type[SpaceToDepth | DepthToSpace] = SpaceToDepth
    else:
        size, kind = operator.options(tflite.DepthToSpaceOptions).BlockSize, DepthToSpace
    if size == 1:
        _take(importer, operator, x, [None] * len(x.shape))
    else:
        importer.add(operator, kind, input=x.name, size=size)


@handles("MIRROR_PAD")
def mirror_pad(importer: Importer, operator: RawOperator) -> None:
    """A border of the tensor's own values, mirrored at its edges or, if symmetric, beside them."""
    x, sizes = importer.input(operator, 0), importer.integers(operator, 1)
    mode = operator.options(tflite.MirrorPadOptions).Mode
    reflect = mode == tflite.MirrorPadMode.REFLECT
    good = reflect or mode == tflite.MirrorPadMode.SYMMETRIC
    require(good, operator, f"its mode {mode} is neither REFLECT nor SYMMETRIC")
    pairs = [(0, 0)] * importer.offset(operator.inputs[0]) + list(zip(sizes[::2], sizes[1::2], strict=False))
    require(len(pairs) == len(x.shape), operator, f"its padding has {len(sizes)} numbers for {x} of {x.shape}")
    places: list[Places] = []
    for pair, size in zip(pairs, x.shape, strict=True):
        good = all(0 <= pad <= size - reflect for pad in pair)
        require(good, operator, f"its padding {pair} exceeds what {size} values mirror")
        require_places(operator, size + sum(pair) if any(pair) else 0)
        mirrored = np.pad(np.arange(size), pair, "reflect" if reflect else "symmetric")
        places.append(tuple(map(int, mirrored)) if any(pair) else None)
    _take(importer, operator, x, places)


@handles("TILE")
def tile(importer: Importer, operator: RawOperator) -> None:
    """A tensor several times, along any axes."""
    x, offset = importer.input(operator, 0), importer.offset(operator.inputs[0])
    times = [1] * offset + importer.integers(operator, 1)
    good = len(times) == len(x.shape) and min(times) >= 1
    require(good, operator, f"its multiples {times[offset:]} do not fit {x} of {x.shape}")
    sizes = list(zip(x.shape, times, strict=True))
    require_places(operator, *(size * count for size, count in sizes if count != 1))
    _take(importer, operator, x, [None if count == 1 else tuple(range(size)) * count for size, count in sizes])


@handles("BROADCAST_TO")
def broadcast_to(importer: Importer, operator: RawOperator) -> None:
    """A tensor repeated along axes of length 1."""
    x, y = importer.input(operator, 0), importer.tensor(operator.outputs[0])
    _check_shape(importer, operator, tuple(importer.integers(operator, 1)))
    x = importer.aligned(operator, x, "operand", y)
    good = len(x.shape) == len(y.shape) and all(a in (1, b) for a, b in zip(x.shape, y.shape, strict=True))
    require(good, operator, f"{x} of {x.shape} does not broadcast to {y} of {y.shape}")
    sizes = list(zip(x.shape, y.shape, strict=True))
    require_places(operator, *(wanted for size, wanted in sizes if size != wanted))
    _take(importer, operator, x, [None if size == wanted else (0,) * wanted for size, wanted in sizes])


@handles("REVERSE_V2")
def reverse(importer: Importer, operator: RawOperator) -> None:
    """A tensor backwards along axes."""
    x = importer.input(operator, 0)
    axes = {importer.axis(operator, operator.inputs[0], axis) for axis in importer.integers(operator, 1)}
    require_places(operator, *(x.shape[axis] for axis in axes))
    backwards = [tuple(range(size - 1, -1, -1)) if axis in axes else None for axis, size in enumerate(x.shape)]
    _take(importer, operator, x, backwards)


@handles("GATHER")
def gather(importer: Importer, operator: RawOperator) -> None:
    """Positions along an axis, which are constant."""
    x, options = importer.input(operator, 0), operator.options(tflite.GatherOptions)
    require(options.BatchDims == 0, operator, "its batch dimensions are not supported; gather without")
    axis = importer.axis(operator, operator.inputs[0], options.Axis)
    chosen = importer.integers(operator, 1)
    good = all(0 <= place < x.shape[axis] for place in chosen)
    require(good, operator, f"its positions must lie within 0 to {x.shape[axis] - 1}, the axis {axis} of {x}")
    offset = importer.offset(operator.inputs[0])
    shape = (*x.shape[offset:axis], *importer.constant(operator, 1).shape, *x.shape[axis + 1 :])
    _check_shape(importer, operator, shape)
    places = [tuple(chosen) if other == axis else None for other in range(len(x.shape))]
    _take(importer, operator, x, places, any_shape=True)


def _check_shape(importer: Importer, operator: RawOperator, shape: tuple[int, ...]) -> None:
    stated = importer.model.tensors[operator.outputs[0]].shape
    require(stated == shape, operator, f"its output has the shape {stated}, not {shape}")


@handles("GATHER_ND")
def gather_nd(importer: Importer, operator: RawOperator) -> None:
    """Positions along the first axes together, which are constant."""
    x, offset = importer.input(operator, 0), importer.offset(operator.inputs[0])
    indices, shape = importer.constant(operator, 1), x.shape[offset:]
    count = indices.shape[-1] if indices.ndim else 0
    require(
        np.issubdtype(indices.dtype, np.integer) and 1 <= count <= len(shape),
        operator,
        f"its indices {importer.raw(operator, 1)} must be whole numbers for 1 to {len(shape)} axes",
    )
    points = indices.reshape(-1, count)
    good = bool(((points >= 0) & (points < shape[:count])).all())
    require(good, operator, f"its indices must lie within the shape {shape} of {x}")
    require(x.shape[0] == 1, operator, "it gathers from several items, which is not supported; gather from each")
    # The first axes become one, of which single places are taken.
    places = tuple(np.asarray(np.ravel_multi_index(tuple(points.T), shape[:count])).tolist())
    flat = importer.reshape(operator, x, "input", (1, math.prod(shape[:count]), *shape[count:]))
    _check_shape(importer, operator, (*indices.shape[:-1], *shape[count:]))
    _take(
        importer,
        operator,
        flat,
        [None, places, *[None] * (len(flat.shape) - 2)],
        any_shape=True,
    )


@handles("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def space_to_batch(importer: Importer, operator: RawOperator) -> None:
    """Blocks of an item's pixels as items, and back, where no convolution between makes them one of dilation."""
    forwards = operator.kind == "SPACE_TO_BATCH_ND"
    if operator.table is not None:
        # It has no fields.
        operator.options(tflite.SpaceToBatchNDOptions if forwards else tflite.BatchToSpaceNDOptions)
    x, blocks, sizes = importer.input(operator, 0), importer.integers(operator, 1), importer.integers(operator, 2)
    shape, lines, count = importer.raw(operator, 0).shape, len(blocks), math.prod(blocks)
    items = importer.model.tensors[operator.inputs[0] if forwards else operator.outputs[0]].shape[:1]
    require(items == (1,), operator, f"it makes blocks of {items} items, which is not supported; use a batch of 1")
    good = len(shape) > lines >= 1 and len(sizes) == 2 * lines and min(*blocks, *sizes, count) >= 0 < count
    require(good, operator, f"its blocks {blocks} and sizes {sizes} do not fit {x} of {shape}")
    pairs, rest = list(zip(sizes[::2], sizes[1::2], strict=True)), shape[lines + 1 :]
    if forwards:
        padding = (*pairs, *((0, 0) for _ in rest))
        grown = [size + sum(pair) for size, pair in zip(shape[1:], pairs, strict=False)]
        require(
            all(size % block == 0 for size, block in zip(grown, blocks, strict=True)),
            operator,
            f"its blocks {blocks} do not divide rows and columns of {grown}",
        )
        x = importer.between(operator, Pad, x, "padded", (1, *grown, *rest), padding=padding, value=x.zero_point)
        parts = [number for size, block in zip(grown, blocks, strict=True) for number in (size // block, block)]
        order = (*range(2, 2 * lines + 1, 2), *range(1, 2 * lines, 2))
    else:
        require(shape[0] == count, operator, f"its blocks {blocks} do not make {shape[0]} items")
        parts = [*blocks, *shape[1 : lines + 1]]
        order = tuple(axis for line in range(1, lines + 1) for axis in (line + lines, line))
    x = importer.reshape(operator, x, "parts", (1, *parts, *rest))
    axes = (0, *order, *range(2 * lines + 1, 2 * lines + 1 + len(rest)))
    moved = tuple(x.shape[axis] for axis in axes)
    x = importer.between(operator, Transpose, x, "moved", moved, axes=axes)
    if forwards:
        return importer.add(operator, Reshape, input=x.name)
    whole = [size * block for size, block in zip(shape[1:], blocks, strict=False)]
    x = importer.reshape(operator, x, "whole", (1, *whole, *rest))
    ranges = [(before, size - after, 1) for (before, after), size in zip(pairs, whole, strict=True)]
    importer.add(operator, Slice, input=x.name, ranges=(*ranges, *((0, size, 1) for size in rest)))


def _take(
    importer: Importer, operator: RawOperator, x: Tensor, places: list[Places], *, any_shape: bool = False
) -> None:
    whole = places[0] is None or places[0] == tuple(range(x.shape[0]))
    require(whole, operator, "it moves or repeats items of the batch, which is not supported; use other axes")
    importer.add(operator, Take, any_shape=any_shape, input=x.name, places=tuple(places[1:]))
