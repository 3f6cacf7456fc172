"""The handlers of TensorFlow Lite's operators that only move values."""

from __future__ import annotations

import math
from collections.abc import Callable

import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.frontends.tflite.strided import Selection
from sateen.graph import GraphError, Pad, Reshape, Resize, Slice, Table, Tensor, Transpose, require
from sateen.sim import golden

__all__ = ["MOVES", "Handler", "registers"]


def registers(table: dict[str, Handler]) -> Callable[..., Callable[[Handler], Handler]]:
    """A decorator that registers a handler in a table under its kinds of operators."""

    def handles(*kinds: str) -> Callable[[Handler], Handler]:
        def register(function: Handler) -> Handler:
            table.update(dict.fromkeys(kinds, function))
            return function

        return register

    return handles


MOVES: dict[str, Handler] = {}
handles = registers(MOVES)


@handles("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(importer: Importer, operator: RawOperator) -> None:
    """Another shape, which is that of the output."""
    x, shape = importer.raw(operator, 0), importer.model.tensors[operator.outputs[0]].shape
    stated = {"RESHAPE": _reshaped, "SQUEEZE": _squeezed, "EXPAND_DIMS": _expanded}[operator.kind](importer, operator)
    good = (
        len(stated) == len(shape)
        and all(wanted in (size, -1) for wanted, size in zip(stated, shape, strict=True))
        and math.prod(shape) == math.prod(x.shape)
    )
    require(good, operator, f"its output has the shape {shape}, which is not {stated} of {x}, {x.shape}")
    importer.add(operator, Reshape, input=importer.input(operator, 0).name)


def _reshaped(importer: Importer, operator: RawOperator) -> tuple[int, ...]:
    """The new shape, where −1 stands for any size; an input goes before an option."""
    stated = () if operator.table is None else operator.options(tflite.ReshapeOptions).NewShape
    if importer.has(operator, 1):
        return tuple(importer.integers(operator, 1))
    return tuple(stated) or importer.model.tensors[operator.outputs[0]].shape


def _squeezed(importer: Importer, operator: RawOperator) -> tuple[int, ...]:
    shape = importer.raw(operator, 0).shape
    stated = () if operator.table is None else operator.options(tflite.SqueezeOptions).SqueezeDims
    axes = {axis + len(shape) if axis < 0 else axis for axis in stated}
    require(all(0 <= axis < len(shape) for axis in axes), operator, f"its axes {stated} are none of {shape}")
    return tuple(size for axis, size in enumerate(shape) if not (axis in axes if axes else size == 1))


def _expanded(importer: Importer, operator: RawOperator) -> tuple[int, ...]:
    shape, axis = list(importer.raw(operator, 0).shape), importer.integer(operator, 1)
    require(-len(shape) - 1 <= axis <= len(shape), operator, f"its axis {axis} is no place of {tuple(shape)}")
    shape.insert(axis + len(shape) + 1 if axis < 0 else axis, 1)
    return tuple(shape)


@handles("PAD", "PADV2")
def pad(importer: Importer, operator: RawOperator) -> None:
    """Zeros around a tensor, or a constant value."""
    shape, sizes = importer.raw(operator, 0).shape, importer.integers(operator, 1)
    pairs = list(zip(sizes[::2], sizes[1::2], strict=False))
    require(len(sizes) == 2 * len(shape), operator, f"its padding has {len(sizes)} numbers for a shape of {shape}")
    x = importer.whole(operator, 0) if pairs and any(pairs[0]) else importer.input(operator, 0)
    if len(x.shape) == len(pairs):
        pairs = pairs[1:]
    value = x.zero_point
    if operator.kind == "PADV2":
        value = importer.integer(operator, 2) - (128 if x.unsigned else 0)
    importer.add(operator, Pad, input=x.name, padding=tuple(pairs), value=value)


@handles("CONCATENATION", "PACK")
def concatenation(importer: Importer, operator: RawOperator) -> None:
    """Concatenates tensors. In uint8 models each may have another quantization; it is then requantized."""
    y = importer.tensor(operator.outputs[0])
    pack = operator.kind == "PACK"
    options = operator.options(tflite.PackOptions if pack else tflite.ConcatenationOptions)
    count = len(operator.inputs)
    stated = options.ValuesCount if pack else count
    require(stated == count, operator, f"it packs {count} values, but its option ValuesCount is {stated}")
    if pack and count == 1:
        sizes, out = list(importer.raw(operator, 0).shape), importer.model.tensors[operator.outputs[0]].shape
        places = len(sizes) + 1
        require(-places <= options.Axis < places, operator, f"its axis {options.Axis} is none of {places}")
        sizes.insert(options.Axis % places, 1)
        require(out == tuple(sizes), operator, f"its output has the shape {out}, not {tuple(sizes)}")
        return importer.add(operator, Reshape, input=importer.input(operator, 0).name)
    require(
        pack or options.FusedActivationFunction == 0, operator, "its fused activation is not supported; put it behind"
    )
    axis = importer.axis(operator, operator.outputs[0], options.Axis)
    sources = []
    for place in range(len(operator.inputs)):
        x = importer.value(operator, importer.raw(operator, place).index, len(y.shape) - pack)
        # Where the output lacks the batch, so does a source that begins with 1, although it seems to have one.
        offset = importer.offset(operator.outputs[0])
        shape = (1, *importer.raw(operator, place).shape) if offset else x.shape
        if pack:
            shape = (*shape[:axis], 1, *shape[axis:])
        if pack or offset:
            x = importer.reshape(operator, x, f"source{place}", shape)
        if x.quantization != y.quantization and y.unsigned:
            requantized = importer.new_like(y, f"source{place}", x.shape)
            try:
                values = golden.concatenation_table(x.quantization, y.quantization)
            except ValueError as error:
                raise GraphError(
                    f"{operator}: its scales do not fit together ({error}); quantize the model anew"
                ) from None
            name = f"concatenation_{operator.index}_requantize{place}"
            importer.ops.append(
                Table(name=name, input=x.name, output=requantized.name, table=values, function="requantize")
            )
            x = requantized
        sources.append(x)
    importer.concatenate(operator, sources, axis)


@handles("RESIZE_NEAREST_NEIGHBOR")
def resize(importer: Importer, operator: RawOperator) -> None:
    """An image of another size."""
    options = operator.options(tflite.ResizeNearestNeighborOptions)
    sizes, shape = importer.integers(operator, 1), importer.tensor(operator.outputs[0]).shape
    require(tuple(sizes) == shape[1:3], operator, f"its output has the shape {shape}, not rows and columns of {sizes}")
    flags = {"align_corners": bool(options.AlignCorners), "half_pixel_centers": bool(options.HalfPixelCenters)}
    importer.add(operator, Resize, input=importer.input(operator, 0).name, **flags)


@handles("TRANSPOSE")
def transpose(importer: Importer, operator: RawOperator) -> None:
    """The axes in another order."""
    rank, order = len(importer.raw(operator, 0).shape), importer.integers(operator, 1)
    order = [axis + rank if axis < 0 else axis for axis in order]
    require(sorted(order) == list(range(rank)), operator, f"its order {order} is none of {rank} axes")
    x = importer.whole(operator, 0) if order[:1] not in ([], [0]) else importer.input(operator, 0)
    offset = len(x.shape) - rank
    importer.add(operator, Transpose, input=x.name, axes=(*range(offset), *(axis + offset for axis in order)))


def _slice(
    importer: Importer, operator: RawOperator, x: Tensor, place: int, axis: int, begin: int, end: int, any_shape: bool
) -> None:
    ranges = tuple((begin, end, 1) if other == axis else (0, size, 1) for other, size in enumerate(x.shape))
    importer.add(operator, Slice, place=place, any_shape=any_shape, input=x.name, ranges=ranges[1:])


@handles("SPLIT", "SPLIT_V", "UNPACK")
def split(importer: Importer, operator: RawOperator) -> None:
    """A tensor in pieces, one output each."""
    source = 1 if operator.kind == "SPLIT" else 0
    if operator.kind == "UNPACK":
        stated_axis = operator.options(tflite.UnpackOptions).Axis
    else:
        stated_axis = importer.integer(operator, 0 if operator.kind == "SPLIT" else 2)
    x, raw = importer.input(operator, source), importer.raw(operator, source)
    axis = importer.axis(operator, raw.index, stated_axis)
    if axis == 0:
        x, axis = importer.whole(operator, source), 1
    pieces = len(operator.outputs)
    if operator.kind == "UNPACK":
        stated = operator.options(tflite.UnpackOptions).Num
    elif operator.table is None:
        stated = pieces
    else:
        stated = operator.options(tflite.SplitOptions if operator.kind == "SPLIT" else tflite.SplitVOptions).NumSplits
    require(stated == pieces, operator, f"it has {pieces} outputs, but its options say {stated}")
    sizes = importer.integers(operator, 1) if operator.kind == "SPLIT_V" else [x.shape[axis] // pieces] * pieces
    sizes = [x.shape[axis] - sum(size for size in sizes if size >= 0) if size < 0 else size for size in sizes]
    require(
        len(sizes) == pieces and sum(sizes) == x.shape[axis],
        operator,
        f"its pieces {sizes} do not make up {x} of {x.shape}",
    )
    unpacks = operator.kind == "UNPACK"
    if unpacks:
        place = stated_axis % len(raw.shape)
        shape = raw.shape[:place] + raw.shape[place + 1 :]
        good = pieces == raw.shape[place] and all(importer.model.tensors[y].shape == shape for y in operator.outputs)
        require(good, operator, f"its {pieces} outputs are not {raw.shape[place]} of the shape {shape}")
    for place, size in enumerate(sizes):
        begin = sum(sizes[:place])
        _slice(importer, operator, x, place, axis, begin, begin + size, unpacks)


@handles("SLICE")
def slice_(importer: Importer, operator: RawOperator) -> None:
    """Part of a tensor."""
    shape = importer.raw(operator, 0).shape
    begins, sizes = importer.integers(operator, 1), importer.integers(operator, 2)
    require(len(begins) == len(sizes) == len(shape), operator, f"its begin and size do not fit a shape of {shape}")
    ranges = [(b, n if s < 0 else b + s, 1) for b, s, n in zip(begins, sizes, shape, strict=True)]
    _part(importer, operator, ranges, tuple(max(end - begin, 0) for begin, end, _ in ranges))


@handles("STRIDED_SLICE")
def strided_slice(importer: Importer, operator: RawOperator) -> None:
    """Part of a tensor, with steps, which may be backwards; axes may be new or left out."""
    shape = importer.raw(operator, 0).shape
    for place in (1, 2, 3):
        importer.integers(operator, place)
    selection = Selection.read(operator, shape, *(importer.constant(operator, place) for place in (1, 2, 3)))
    _part(importer, operator, list(selection.ranges), selection.shape)


def _part(
    importer: Importer, operator: RawOperator, ranges: list[tuple[int, int, int]], result: tuple[int, ...]
) -> None:
    """Part of a tensor, by the file's axes, as the shape ``result``."""
    shape, out = importer.raw(operator, 0).shape, importer.model.tensors[operator.outputs[0]].shape
    require(out == result, operator, f"its output has the shape {out}, not {result}")
    cut = bool(ranges) and ranges[0] != (0, shape[0], 1)
    x = importer.whole(operator, 0) if cut else importer.input(operator, 0)
    if len(x.shape) == len(ranges):
        ranges = ranges[1:]
    importer.add(operator, Slice, any_shape=True, input=x.name, ranges=tuple(ranges))
