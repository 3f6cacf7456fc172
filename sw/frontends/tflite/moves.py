"""TensorFlow Lite's operators that move values and leave them as they are."""

from __future__ import annotations

from collections.abc import Callable

import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.frontends.tflite.importer import Handler, Importer
from sateen.graph import GraphError, Pad, Reshape, Resize, Slice, Table, Tensor, Transpose, require
from sateen.sim import golden

__all__ = ["MOVES", "Handler", "registers"]


def registers(table: dict[str, Handler]) -> Callable[..., Callable[[Handler], Handler]]:
    """A decorator that enters functions in a table, by the kinds of operators they are for."""

    def handles(*kinds: str) -> Callable[[Handler], Handler]:
        def register(function: Handler) -> Handler:
            table.update(dict.fromkeys(kinds, function))
            return function

        return register

    return handles


MOVES: dict[str, Handler] = {}
handles = registers(MOVES)


@handles("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(m: Importer, operator: RawOperator) -> None:
    """Another shape, which the file states."""
    m.add(operator, Reshape, input=m.input(operator, 0).name)


@handles("PAD", "PADV2")
def pad(m: Importer, operator: RawOperator) -> None:
    """Zeros around a tensor, or a constant's code."""
    x, sizes = m.input(operator, 0), m.integers(operator, 1)
    pairs = [(0, 0)] * m.offset(operator.inputs[0]) + list(zip(sizes[::2], sizes[1::2], strict=False))
    require(len(pairs) == len(x.shape), operator, f"its padding has {len(sizes)} numbers for {x} of {x.shape}")
    require(pairs[0] == (0, 0), operator, "it pads the batch, which is not supported; pad other axes")
    value = x.zero_point
    if operator.kind == "PADV2":
        value = m.integer(operator, 2) - (128 if x.unsigned else 0)
    m.add(operator, Pad, input=x.name, padding=tuple(pairs[1:]), value=value)


@handles("CONCATENATION", "PACK")
def concatenation(m: Importer, operator: RawOperator) -> None:
    """Tensors one behind the other; of uint8 models each may have numbers of its own."""
    y = m.tensor(operator.outputs[0])
    pack = operator.kind == "PACK"
    if pack and len(operator.inputs) == 1:
        return reshape(m, operator)
    options = operator.options(tflite.PackOptions if pack else tflite.ConcatenationOptions)
    require(
        pack or options.FusedActivationFunction == 0, operator, "its fused activation is not supported; put it behind"
    )
    axis = m.axis(operator, operator.outputs[0], options.Axis)
    sources = []
    for place in range(len(operator.inputs)):
        x = m.value(operator, m.raw(operator, place).index, len(y.shape) - pack)
        if pack:
            x = m.reshape(operator, x, f"source{place}", (*x.shape[:axis], 1, *x.shape[axis:]))
        elif m.offset(operator.outputs[0]):
            # Sources may begin with 1, as if that were the batch, and their result with a larger number.
            x = m.reshape(operator, x, f"source{place}", (1, *m.raw(operator, place).shape))
        if x.quantization != y.quantization and y.unsigned:
            made = m.named(y, f"source{place}", x.shape)
            try:
                values = golden.concatenation_table(x.quantization, y.quantization)
            except ValueError as error:
                raise GraphError(
                    f"{operator}: its scales do not fit together ({error}); quantize the model anew"
                ) from None
            name = f"concatenation_{operator.index}_requantize{place}"
            m.ops.append(Table(name=name, input=x.name, output=made.name, table=values, function="requantize"))
            x = made
        sources.append(x)
    m.concatenate(operator, sources, axis)


@handles("RESIZE_NEAREST_NEIGHBOR")
def resize(m: Importer, operator: RawOperator) -> None:
    """An image of another size."""
    options = operator.options(tflite.ResizeNearestNeighborOptions)
    flags = {"align_corners": bool(options.AlignCorners), "half_pixel_centers": bool(options.HalfPixelCenters)}
    m.add(operator, Resize, input=m.input(operator, 0).name, **flags)


@handles("TRANSPOSE")
def transpose(m: Importer, operator: RawOperator) -> None:
    """The axes in another order."""
    x, order = m.input(operator, 0, "INT8", "UINT8", "FLOAT32"), m.integers(operator, 1)
    offset = m.offset(operator.inputs[0])
    m.add(operator, Transpose, input=x.name, axes=(*range(offset), *(axis + offset for axis in order)))


def _slice(m: Importer, operator: RawOperator, x: Tensor, place: int, axis: int, begin: int, end: int) -> None:
    ranges = tuple((begin, end, 1) if other == axis else (0, size, 1) for other, size in enumerate(x.shape))
    m.add(operator, Slice, place=place, input=x.name, ranges=ranges[1:])


@handles("SPLIT", "SPLIT_V", "UNPACK")
def split(m: Importer, operator: RawOperator) -> None:
    """A tensor in pieces, one output each."""
    source = 1 if operator.kind == "SPLIT" else 0
    x = m.input(operator, source)
    if operator.kind == "UNPACK":
        given = operator.options(tflite.UnpackOptions).Axis
    else:
        given = m.integer(operator, 0 if operator.kind == "SPLIT" else 2)
    axis = m.axis(operator, operator.inputs[source], given)
    require(axis > 0, operator, "it splits the batch, which is not supported; split another axis")
    pieces = len(operator.outputs)
    sizes = m.integers(operator, 1) if operator.kind == "SPLIT_V" else [x.shape[axis] // pieces] * pieces
    sizes = [x.shape[axis] - sum(size for size in sizes if size >= 0) if size < 0 else size for size in sizes]
    require(
        len(sizes) == pieces and sum(sizes) == x.shape[axis],
        operator,
        f"its pieces {sizes} do not make up {x} of {x.shape}",
    )
    for place, size in enumerate(sizes):
        begin = sum(sizes[:place])
        _slice(m, operator, x, place, axis, begin, begin + size)


@handles("SLICE")
def slice_(m: Importer, operator: RawOperator) -> None:
    """Part of a tensor."""
    x, offset = m.input(operator, 0), m.offset(operator.inputs[0])
    begins, sizes = [0] * offset + m.integers(operator, 1), [-1] * offset + m.integers(operator, 2)
    require(len(begins) == len(sizes) == len(x.shape), operator, f"its begin and size do not fit {x} of {x.shape}")
    ranges = [(b, length if s < 0 else b + s, 1) for b, s, length in zip(begins, sizes, x.shape, strict=True)]
    _part(m, operator, x, ranges)


@handles("STRIDED_SLICE")
def strided_slice(m: Importer, operator: RawOperator) -> None:
    """Part of a tensor, with steps."""
    options = operator.options(tflite.StridedSliceOptions)
    x, offset = m.input(operator, 0), m.offset(operator.inputs[0])
    plain = not options.EllipsisMask and not options.NewAxisMask and not options.Offset
    require(plain, operator, "its ellipsis, new axes and lengths in place of ends are not supported")
    ranges = [(0, length, 1) for length in x.shape]
    begins, ends, steps = (m.integers(operator, place) for place in (1, 2, 3))
    require(
        len(begins) == len(ends) == len(steps) <= len(x.shape) - offset,
        operator,
        f"its ranges do not fit {x} of {x.shape}",
    )
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        length = x.shape[axis + offset]
        require(step > 0, operator, f"its step {step} must be 1 or more")
        shrink = options.ShrinkAxisMask >> axis & 1
        low = 0 if options.BeginMask >> axis & 1 and not shrink else begin
        high = length if options.EndMask >> axis & 1 else end
        low, high, _ = slice(low, high).indices(length)
        ranges[axis + offset] = (low, low + 1, 1) if shrink else (low, high, step)
    _part(m, operator, x, ranges)


def _part(m: Importer, operator: RawOperator, x: Tensor, ranges: list[tuple[int, int, int]]) -> None:
    require(
        ranges[0][:2] == (0, x.shape[0]) and ranges[0][2] == 1, operator, "it slices the batch, which is not supported"
    )
    m.add(operator, Slice, input=x.name, ranges=tuple(ranges[1:]))
