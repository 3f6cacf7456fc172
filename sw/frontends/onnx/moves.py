"""ONNX's operators that move values. They work on integers and on the real values that these stand for alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import Handler, fold
from sateen.frontends.onnx.importer import Importer
from sateen.frontends.onnx.layers import window
from sateen.frontends.onnx.values import UNLIMITED, Deferred, Limits, Quantization, channels_first, quantization_of
from sateen.graph import LARGEST, Array, FileLayout, MaxPool2D, Pad, Reshape, Resize, Slice, Tensor, require
from sateen.sim import golden

__all__ = ["MOVES"]

Apply = Callable[[Tensor, str], Tensor]
"""Applies an operator to a tensor of integers. Called with the tensor and the result's name."""
Move = Callable[[Importer, Node], Apply]

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
"""Numbers of ONNX's types."""

MOVES: dict[str, Handler] = {}


def moves(*kinds: str) -> Callable[[Move], Move]:
    """A decorator that registers what an operator does with integers."""

    def register(function: Move) -> Move:
        def handle(importer: Importer, node: Node) -> None:
            if fold(importer, node):
                return
            move(importer, node, function(importer, node))

        MOVES.update(dict.fromkeys(kinds, handle))
        return function

    return register


def move(importer: Importer, node: Node, apply: Apply, place: int = 0) -> None:
    """Applies an operator to its input: at once to integers, and to a real value when it is quantized."""
    value, output = importer.value(node), node.outputs[place]
    if isinstance(value, Tensor):
        importer.values[output] = apply(value, output)
        return
    if isinstance(value, Deferred) and value.inherited is None:
        source = value

        def make_moved(name: str, quantization: Quantization, limits: Limits) -> Tensor:
            return apply(source.make(importer.name_of(f"{name}.before"), quantization, limits), name)

        importer.values[output] = Deferred(make_moved, None, source.limits)
        return
    x = importer.quantized_input(node)

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        if quantization == quantization_of(x) and limits == UNLIMITED:
            return apply(x, name)
        return importer.requantize(node, apply(x, importer.name_of(f"{name}.before")), name, quantization, limits)

    importer.values[output] = Deferred(make, quantization_of(x))


@moves("MaxPool")
def max_pool(importer: Importer, node: Node) -> Apply:
    """The largest of each window."""

    def apply(x: Tensor, name: str) -> Tensor:
        x = importer.as_image(node, x)
        size = node.get("kernel_shape", ())
        fields = window(node, x, size)
        require(fields.pop("dilation") == (1, 1), node, "dilations of a pool are not supported")
        return importer.add(
            MaxPool2D, node, name, quantization_of(x), channels_first, input=x.name, size=size, **fields
        )

    return apply


@moves("Identity", "Dropout")
def identity(importer: Importer, node: Node) -> Apply:
    """The same values."""
    return lambda x, name: importer.add(
        Reshape, node, name, quantization_of(x), lambda _: x.file_layout, shape=x.shape, dtype=x.dtype, input=x.name
    )


@moves("Cast")
def cast(importer: Importer, node: Node) -> Apply:
    """The same values in a type that holds them all."""
    value = importer.value(node)
    quantized = isinstance(value, Tensor) and value.dtype == "int8"
    position = isinstance(value, Tensor) and value.dtype == "int32"
    stored = UINT8 if isinstance(value, Tensor) and value.unsigned else INT8
    good = node.get("to", 0) in ((stored,) if quantized else (INT32, INT64) if position else (FLOAT,))
    require(good, node, "it changes what its values are; export the model without it, or split it off")
    return identity(importer, node)


def _target(importer: Importer, node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The resulting shape of a Reshape, Flatten, Squeeze or Unsqueeze, in the file's layout."""
    rank = len(shape)
    if node.kind == "Flatten":
        axis = node.get("axis", 1)
        return (math.prod(shape[:axis]), math.prod(shape[axis:]))
    if node.kind == "Reshape":
        wanted = list(importer.integers(node, 1))
        wanted = [shape[axis] if size == 0 and axis < rank else size for axis, size in enumerate(wanted)]
        require(
            wanted.count(-1) <= 1 and all(size > 0 or size == -1 for size in wanted),
            node,
            f"its shape {wanted} is not fixed",
        )
        known = math.prod(size for size in wanted if size != -1)
        return tuple(math.prod(shape) // known if size == -1 else size for size in wanted)
    axes = node.get("axes", ()) or importer.integers(node, 1, ())
    most = rank if node.kind == "Squeeze" else rank + len(axes)
    good = all(-most <= axis < most for axis in axes) and len({axis % most for axis in axes}) == len(axes)
    require(good, node, f"its axes {axes} are no different ones of {most}")
    if node.kind == "Squeeze":
        removed = (
            {axis % rank for axis in axes} if axes else {axis for axis, size in enumerate(shape) if size == 1 and axis}
        )
        require(all(shape[axis] == 1 for axis in removed), node, f"its axes {axes} of {shape} are not of length 1")
        return tuple(size for axis, size in enumerate(shape) if axis not in removed)
    added = {axis % (rank + len(axes)) for axis in axes}
    rest = iter(shape)
    return tuple(1 if axis in added else next(rest) for axis in range(rank + len(axes)))


@moves("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(importer: Importer, node: Node) -> Apply:
    """The same values in another shape of the file's layout."""

    def apply(x: Tensor, name: str) -> Tensor:
        target = _target(importer, node, x.file_shape)
        quantization = quantization_of(x)
        good = math.prod(target) == math.prod(x.shape) and target[:1] == x.shape[:1]
        require(good, node, f"{x.name!r} of {x.file_shape} cannot become {target}; the batch must stay")
        if len(target) == 2 and x.file_layout is not None:
            layout = FileLayout(x.file_layout.view, x.file_layout.axes, target)
            kept = [axis for axis in layout.axes if layout.view[axis] > 1]
            return importer.add(
                Reshape,
                node,
                name,
                quantization,
                lambda _: None if kept == sorted(kept) else layout,
                shape=target,
                input=x.name,
            )
        x = importer.in_file_layout(node, x)
        image = (
            channels_first(tuple(target[axis] for axis in (0, 2, 3, 1)))
            if len(target) == 4 and math.prod(target[2:]) == 1
            else None
        )
        if image is not None:
            return importer.add(Reshape, node, name, quantization, lambda _: image, shape=image.view, input=x.name)
        return importer.add(Reshape, node, name, quantization, shape=target, input=x.name)

    return apply


@moves("Transpose")
def transpose(importer: Importer, node: Node) -> Apply:
    """Another order of the file's axes. Values stay where they are until an operator needs them in another order."""

    def apply(x: Tensor, name: str) -> Tensor:
        shape = x.file_shape
        axes = node.get("perm", tuple(reversed(range(len(shape)))))
        good = sorted(axes) == list(range(len(shape))) and axes[0] == 0
        require(good, node, f"its perm {axes} must be an order of {len(shape)} axes that keeps the batch")
        layout = x.file_layout or FileLayout(shape, tuple(range(len(shape))), shape)
        if layout.shape != tuple(layout.view[axis] for axis in layout.axes):
            x = importer.in_file_layout(node, x)
            layout = FileLayout(shape, tuple(range(len(shape))), shape)
        moved = FileLayout(layout.view, tuple(layout.axes[axis] for axis in axes), tuple(shape[axis] for axis in axes))
        return importer.add(
            Reshape, node, name, quantization_of(x), lambda _: moved, shape=x.shape, dtype=x.dtype, input=x.name
        )

    return apply


@moves("Pad")
def pad(importer: Importer, node: Node) -> Apply:
    """Zeros around an image, or a constant value."""

    def apply(x: Tensor, name: str) -> Tensor:
        require(
            node.get("mode", "constant") == "constant",
            node,
            f"its mode {node.get('mode', 'constant')!r} is not supported",
        )
        rank = len(x.file_shape)
        pads = node.get("pads", ()) or importer.integers(node, 1)
        require(len(pads) == 2 * rank and min(pads) >= 0, node, f"its pads {pads} do not fit {x.file_shape}")
        pairs = list(zip(pads[:rank], pads[rank:], strict=True))
        require(pairs[0] == (0, 0), node, "it pads the batch, which is not supported")
        x = importer.as_image(node, x) if rank == 4 else importer.in_file_layout(node, x)
        pairs = [pairs[axis] for axis in (0, 2, 3, 1)] if rank == 4 else pairs
        value = importer.constant(node, 2, np.zeros(1)).reshape(-1)
        require(value.size == 1 and bool(np.isfinite(value).all()), node, "it pads with what is no number")
        integers = isinstance(importer.value(node), Tensor)
        code = int(value[0]) - (128 if x.unsigned else 0) if integers and value.dtype != np.float64 else x.zero_point
        require(integers or not float(value[0]), node, "it pads with another number than 0, which is not supported")
        layout = channels_first if rank == 4 else (lambda _: None)
        return importer.add(
            Pad, node, name, quantization_of(x), layout, input=x.name, padding=tuple(pairs[1:]), value=code
        )

    return apply


@moves("Resize", "Upsample")
def resize(importer: Importer, node: Node) -> Apply:
    """An image of another size, by nearest neighbours."""

    def apply(x: Tensor, name: str) -> Tensor:
        require(
            node.get("mode", "nearest") == "nearest", node, f"its mode {node.get('mode', 'nearest')!r} is not supported"
        )
        x = importer.as_image(node, x)
        shape, scales = _resized(importer, node, x.file_shape)
        require(shape[:2] == x.file_shape[:2], node, f"it resizes batch or channels of {x.file_shape} to {shape}")
        flags = _nearest(node, list(zip(x.file_shape[2:], shape[2:], scales[2:], strict=True)))
        here = (shape[0], shape[2], shape[3], shape[1])
        return importer.add(Resize, node, name, quantization_of(x), channels_first, shape=here, input=x.name, **flags)

    return apply


def _resized(importer: Importer, node: Node, shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[float]]:
    """The resized shape, and the factor of each axis."""
    if len(node.inputs) > 3 and node.inputs[3]:
        sizes = importer.integers(node, 3)
        scales = [wanted / size for wanted, size in zip(sizes, shape, strict=False)]
    else:
        given = importer.constant(node, 1 if node.kind == "Upsample" else 2).reshape(-1)
        require(bool(np.isfinite(given).all()), node, "its scales are not finite")
        sizes = tuple(math.floor(size * float(scale)) for size, scale in zip(shape, given, strict=False))
        scales = [float(scale) for scale in given]
    good = len(sizes) == len(scales) == len(shape) and min(sizes) > 0 and math.prod(sizes) <= LARGEST
    require(good, node, f"its sizes {sizes} do not fit {shape}, or are too large")
    return sizes, scales


COORDINATES = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel")
ROUNDED: dict[str, Callable[[Any], Any]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
}


def _nearest(node: Node, lengths: list[tuple[int, int, float]]) -> dict[str, Any]:
    """The flags of :class:`Resize` that give the positions for which the attributes ask."""
    kind = node.get("coordinate_transformation_mode", "asymmetric" if node.kind == "Upsample" else "half_pixel")
    rounding = node.get("nearest_mode", "floor" if node.kind == "Upsample" else "round_prefer_floor")
    require(kind in COORDINATES, node, f"its mode {kind!r} is not supported; use asymmetric with floor")
    require(rounding in ROUNDED, node, f"its nearest_mode {rounding!r} is not supported")
    # Positions in onnxruntime's float32 and exact ones differ only where a position lies on a tie of rounding.
    wanted, exact = (
        [_positions(kind, rounding, *length, dtype) for length in lengths] for dtype in (np.float32, np.float64)
    )
    clear = all(np.array_equal(a, b) for a, b in zip(wanted, exact, strict=True))
    options: list[dict[str, bool]] = [{}, {"half_pixel_centers": True}, {"align_corners": True}]
    for flags in options:
        made = [golden.nearest(size, length, **flags) for size, length, _ in lengths]
        if clear and all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True)):
            return flags
    require(
        False, node, f"its mode {kind!r} with {rounding!r} at this size is not supported; use asymmetric with floor"
    )
    return {}


def _positions(kind: str, rounding: str, size: int, length: int, scale: float, dtype: type[np.floating[Any]]) -> Array:
    """The position of ``size`` that each of ``length`` positions takes, computed in ``dtype``."""
    places, half = np.arange(length, dtype=dtype), dtype(0.5)
    # As a fraction: quotients are exact where they lie on a tie.
    factor, divisor = (
        (scale, 1) if dtype is np.float32 else Fraction(scale).limit_denominator(1 << 16).as_integer_ratio()
    )
    if kind == "align_corners":
        real = places * dtype(size - 1) / dtype(max(length - 1, 1))
    elif kind == "asymmetric":
        real = places * dtype(divisor) / dtype(factor)
    elif kind == "pytorch_half_pixel" and length == 1:
        real = np.zeros(1, dtype)
    else:
        real = (places + half) * dtype(divisor) / dtype(factor) - half
    return np.clip(ROUNDED[rounding](real).astype(np.int64), 0, size - 1)


def _sliced(importer: Importer, node: Node, x: Tensor, ranges: list[tuple[int, int, int]], name: str) -> Tensor:
    rank = len(x.file_shape)
    require(ranges[0] == (0, x.shape[0], 1), node, "it slices the batch, which is not supported")
    x = importer.as_image(node, x) if rank == 4 else importer.in_file_layout(node, x)
    ranges = [ranges[axis] for axis in (0, 2, 3, 1)] if rank == 4 else ranges
    layout: Any = channels_first if rank == 4 else (lambda _: None)
    return importer.add(Slice, node, name, quantization_of(x), layout, input=x.name, ranges=tuple(ranges[1:]))


@moves("Slice")
def slice_(importer: Importer, node: Node) -> Apply:
    """Part of a tensor."""

    def apply(x: Tensor, name: str) -> Tensor:
        rank = len(x.file_shape)
        starts, ends = (importer.integers(node, place) for place in (1, 2))
        axes, steps = (
            importer.integers(node, 3, tuple(range(len(starts)))),
            importer.integers(node, 4, (1,) * len(starts)),
        )
        good = len(starts) == len(ends) == len(axes) == len(steps) and min(steps, default=1) > 0
        good = good and all(-rank <= axis < rank for axis in axes)
        require(good, node, f"its starts, ends, axes and steps do not fit {x.file_shape}, forwards")
        ranges = [(0, size, 1) for size in x.file_shape]
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            ranges[axis % rank] = slice(start, end, step).indices(x.file_shape[axis])
        return _sliced(importer, node, x, ranges, name)

    return apply


def _split(importer: Importer, node: Node) -> None:
    """A tensor in pieces, one output each."""
    x = importer.quantized_input(node)
    rank, count = len(x.file_shape), len(node.outputs)
    axis = node.get("axis", 0)
    require(-rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
    length = x.file_shape[axis % rank]
    sizes = node.get("split", ()) or importer.integers(node, 1, ())
    sizes = sizes or tuple(
        min(-(-length // count), max(length - place * -(-length // count), 0)) for place in range(count)
    )
    require(len(sizes) == count and sum(sizes) == length, node, f"its pieces {sizes} do not make up {x.file_shape}")
    for place in range(count):
        ranges = [(0, size, 1) for size in x.file_shape]
        ranges[axis % rank] = (sum(sizes[:place]), sum(sizes[: place + 1]), 1)
        move(importer, node, lambda x, name, ranges=ranges: _sliced(importer, node, x, ranges, name), place)  # type: ignore[misc]


MOVES["Split"] = _split
