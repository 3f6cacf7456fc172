"""ONNX's operators that leave numbers as they are: they work on codes and on what codes stand for alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import Handler, fold
from sateen.frontends.onnx.importer import Importer, Numbers, Pending, channels_first, numbers_of
from sateen.frontends.onnx.layers import window
from sateen.graph import LARGEST, Array, FileLayout, MaxPool2D, Pad, Reshape, Resize, Slice, Tensor, require
from sateen.sim import golden

__all__ = ["MOVES"]

Apply = Callable[[Tensor, str], Tensor]
"""Makes the result of a tensor, under a name."""
Move = Callable[[Importer, Node], Apply]

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
"""Types of an ONNX file."""

MOVES: dict[str, Handler] = {}


def moves(*kinds: str) -> Callable[[Move], Move]:
    """Registers a function that says what an operator does with codes."""

    def register(function: Move) -> Move:
        def handle(m: Importer, node: Node) -> None:
            if fold(m, node):
                return
            move(m, node, function(m, node))

        MOVES.update(dict.fromkeys(kinds, handle))
        return function

    return register


def move(m: Importer, node: Node, apply: Apply, place: int = 0) -> None:
    """Moves codes; of a real value when it is quantized."""
    value, output = m.value(node), node.outputs[place]
    if isinstance(value, Tensor):
        m.values[output] = apply(value, output)
        return
    if isinstance(value, Pending) and value.natural is None:
        waiting = value

        def later(name: str, numbers: Numbers, limits: tuple[float, float]) -> Tensor:
            return apply(waiting.make(m.name_of(f"{name}.before"), numbers, limits), name)

        m.values[output] = Pending(later, None, waiting.limits)
        return
    x = m.codes(node)

    def make(name: str, numbers: Numbers, limits: tuple[float, float]) -> Tensor:
        if numbers == numbers_of(x) and limits == (-np.inf, np.inf):
            return apply(x, name)
        return m.requantized(node, apply(x, m.name_of(f"{name}.before")), name, numbers, limits)

    m.values[output] = Pending(make, numbers_of(x))


@moves("MaxPool")
def max_pool(m: Importer, node: Node) -> Apply:
    """The largest of each window."""

    def apply(x: Tensor, name: str) -> Tensor:
        x = m.image(node, x)
        size = node.get("kernel_shape", ())
        fields = window(node, x, size)
        require(fields.pop("dilation") == (1, 1), node, "dilations of a pool are not supported")
        return m.add(MaxPool2D, node, name, numbers_of(x), channels_first, input=x.name, size=size, **fields)

    return apply


@moves("Identity", "Dropout")
def identity(m: Importer, node: Node) -> Apply:
    """The same again."""
    return lambda x, name: m.add(
        Reshape, node, name, numbers_of(x), lambda _: x.file_layout, shape=x.shape, dtype=x.dtype, input=x.name
    )


@moves("Cast")
def cast(m: Importer, node: Node) -> Apply:
    """The same again, of a type that holds all of it."""
    value = m.value(node)
    coded = isinstance(value, Tensor) and value.dtype == "int8"
    position = isinstance(value, Tensor) and value.dtype == "int32"
    own = UINT8 if isinstance(value, Tensor) and value.unsigned else INT8
    good = node.get("to", 0) in ((own,) if coded else (INT32, INT64) if position else (FLOAT,))
    require(good, node, "it changes what its values are; export the model without it, or split it off")
    return identity(m, node)


def _target(m: Importer, node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a Reshape or its kin gives, in the file's layout."""
    rank = len(shape)
    if node.kind == "Flatten":
        axis = node.get("axis", 1)
        return (math.prod(shape[:axis]), math.prod(shape[axis:]))
    if node.kind == "Reshape":
        wanted = list(m.integers(node, 1))
        wanted = [shape[axis] if size == 0 and axis < rank else size for axis, size in enumerate(wanted)]
        require(
            wanted.count(-1) <= 1 and all(size > 0 or size == -1 for size in wanted),
            node,
            f"its shape {wanted} is not fixed",
        )
        known = math.prod(size for size in wanted if size != -1)
        return tuple(math.prod(shape) // known if size == -1 else size for size in wanted)
    axes = node.get("axes", ()) or m.integers(node, 1, ())
    most = rank if node.kind == "Squeeze" else rank + len(axes)
    good = all(-most <= axis < most for axis in axes) and len({axis % most for axis in axes}) == len(axes)
    require(good, node, f"its axes {axes} are no different ones of {most}")
    if node.kind == "Squeeze":
        gone = (
            {axis % rank for axis in axes} if axes else {axis for axis, size in enumerate(shape) if size == 1 and axis}
        )
        require(all(shape[axis] == 1 for axis in gone), node, f"its axes {axes} of {shape} are not of length 1")
        return tuple(size for axis, size in enumerate(shape) if axis not in gone)
    new = {axis % (rank + len(axes)) for axis in axes}
    rest = iter(shape)
    return tuple(1 if axis in new else next(rest) for axis in range(rank + len(axes)))


@moves("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(m: Importer, node: Node) -> Apply:
    """The same values in another shape of the file's layout."""

    def apply(x: Tensor, name: str) -> Tensor:
        target = _target(m, node, x.file_shape)
        numbers = numbers_of(x)
        good = math.prod(target) == math.prod(x.shape) and target[:1] == x.shape[:1]
        require(good, node, f"{x.name!r} of {x.file_shape} cannot become {target}; the batch must stay")
        if len(target) == 2 and x.file_layout is not None:
            layout = FileLayout(x.file_layout.view, x.file_layout.axes, target)
            kept = [axis for axis in layout.axes if layout.view[axis] > 1]
            return m.add(
                Reshape,
                node,
                name,
                numbers,
                lambda _: None if kept == sorted(kept) else layout,
                shape=target,
                input=x.name,
            )
        x = m.plain(node, x)
        own4 = (
            channels_first(tuple(target[axis] for axis in (0, 2, 3, 1)))
            if len(target) == 4 and math.prod(target[2:]) == 1
            else None
        )
        if own4 is not None:
            return m.add(Reshape, node, name, numbers, lambda _: own4, shape=own4.view, input=x.name)
        return m.add(Reshape, node, name, numbers, shape=target, input=x.name)

    return apply


@moves("Transpose")
def transpose(m: Importer, node: Node) -> Apply:
    """Another order of the file's axes: values stay where they are, until someone needs them elsewhere."""

    def apply(x: Tensor, name: str) -> Tensor:
        shape = x.file_shape
        axes = node.get("perm", tuple(reversed(range(len(shape)))))
        good = sorted(axes) == list(range(len(shape))) and axes[0] == 0
        require(good, node, f"its perm {axes} must be an order of {len(shape)} axes that keeps the batch")
        layout = x.file_layout or FileLayout(shape, tuple(range(len(shape))), shape)
        if layout.shape != tuple(layout.view[axis] for axis in layout.axes):
            x = m.plain(node, x)
            layout = FileLayout(shape, tuple(range(len(shape))), shape)
        moved = FileLayout(layout.view, tuple(layout.axes[axis] for axis in axes), tuple(shape[axis] for axis in axes))
        return m.add(Reshape, node, name, numbers_of(x), lambda _: moved, shape=x.shape, dtype=x.dtype, input=x.name)

    return apply


@moves("Pad")
def pad(m: Importer, node: Node) -> Apply:
    """Zeros around an image, or a constant's code."""

    def apply(x: Tensor, name: str) -> Tensor:
        require(
            node.get("mode", "constant") == "constant",
            node,
            f"its mode {node.get('mode', 'constant')!r} is not supported",
        )
        rank = len(x.file_shape)
        pads = node.get("pads", ()) or m.integers(node, 1)
        require(len(pads) == 2 * rank and min(pads) >= 0, node, f"its pads {pads} do not fit {x.file_shape}")
        pairs = list(zip(pads[:rank], pads[rank:], strict=True))
        require(pairs[0] == (0, 0), node, "it pads the batch, which is not supported")
        x = m.image(node, x) if rank == 4 else m.plain(node, x)
        pairs = [pairs[axis] for axis in (0, 2, 3, 1)] if rank == 4 else pairs
        value = m.constant(node, 2, np.zeros(1)).reshape(-1)
        require(value.size == 1 and bool(np.isfinite(value).all()), node, "it pads with what is no number")
        real = isinstance(m.value(node), Tensor)
        code = int(value[0]) - (128 if x.unsigned else 0) if real and value.dtype != np.float64 else x.zero_point
        require(real or not float(value[0]), node, "it pads with another number than 0, which is not supported")
        layout = channels_first if rank == 4 else (lambda _: None)
        return m.add(Pad, node, name, numbers_of(x), layout, input=x.name, padding=tuple(pairs[1:]), value=code)

    return apply


@moves("Resize", "Upsample")
def resize(m: Importer, node: Node) -> Apply:
    """An image of another size, by nearest neighbours."""

    def apply(x: Tensor, name: str) -> Tensor:
        require(
            node.get("mode", "nearest") == "nearest", node, f"its mode {node.get('mode', 'nearest')!r} is not supported"
        )
        x = m.image(node, x)
        shape, scales = _resized(m, node, x.file_shape)
        require(shape[:2] == x.file_shape[:2], node, f"it resizes batch or channels of {x.file_shape} to {shape}")
        flags = _nearest(node, list(zip(x.file_shape[2:], shape[2:], scales[2:], strict=True)))
        here = (shape[0], shape[2], shape[3], shape[1])
        return m.add(Resize, node, name, numbers_of(x), channels_first, shape=here, input=x.name, **flags)

    return apply


def _resized(m: Importer, node: Node, shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[float]]:
    """A resized shape, and what each axis is multiplied by."""
    if len(node.inputs) > 3 and node.inputs[3]:
        sizes = m.integers(node, 3)
        scales = [wanted / size for wanted, size in zip(sizes, shape, strict=False)]
    else:
        given = m.constant(node, 1 if node.kind == "Upsample" else 2).reshape(-1)
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
    """Which kind of nearest neighbour gives the positions that the attributes ask for."""
    kind = node.get("coordinate_transformation_mode", "asymmetric" if node.kind == "Upsample" else "half_pixel")
    rounding = node.get("nearest_mode", "floor" if node.kind == "Upsample" else "round_prefer_floor")
    require(kind in COORDINATES, node, f"its mode {kind!r} is not supported; use asymmetric with floor")
    require(rounding in ROUNDED, node, f"its nearest_mode {rounding!r} is not supported")
    # onnxruntime's float32, and what it stands for: they are the same unless a position lies where rounding decides.
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
    """Of each of ``length`` positions the one of ``size`` that it takes, computed in a type."""
    places, half = np.arange(length, dtype=dtype), dtype(0.5)
    # As a fraction, whose quotients are exact where they lie on a tie.
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


def _sliced(m: Importer, node: Node, x: Tensor, ranges: list[tuple[int, int, int]], name: str) -> Tensor:
    rank = len(x.file_shape)
    require(ranges[0] == (0, x.shape[0], 1), node, "it slices the batch, which is not supported")
    x = m.image(node, x) if rank == 4 else m.plain(node, x)
    ranges = [ranges[axis] for axis in (0, 2, 3, 1)] if rank == 4 else ranges
    layout: Any = channels_first if rank == 4 else (lambda _: None)
    return m.add(Slice, node, name, numbers_of(x), layout, input=x.name, ranges=tuple(ranges[1:]))


@moves("Slice")
def slice_(m: Importer, node: Node) -> Apply:
    """Part of a tensor."""

    def apply(x: Tensor, name: str) -> Tensor:
        rank = len(x.file_shape)
        starts, ends = (m.integers(node, place) for place in (1, 2))
        axes, steps = m.integers(node, 3, tuple(range(len(starts)))), m.integers(node, 4, (1,) * len(starts))
        good = len(starts) == len(ends) == len(axes) == len(steps) and min(steps, default=1) > 0
        good = good and all(-rank <= axis < rank for axis in axes)
        require(good, node, f"its starts, ends, axes and steps do not fit {x.file_shape}, forwards")
        ranges = [(0, size, 1) for size in x.file_shape]
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            ranges[axis % rank] = slice(start, end, step).indices(x.file_shape[axis])
        return _sliced(m, node, x, ranges, name)

    return apply


def _split(m: Importer, node: Node) -> None:
    """A tensor in pieces, one output each."""
    x = m.codes(node)
    rank, count = len(x.file_shape), len(node.outputs)
    axis = node.get("axis", 0)
    require(-rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
    length = x.file_shape[axis % rank]
    sizes = node.get("split", ()) or m.integers(node, 1, ())
    sizes = sizes or tuple(
        min(-(-length // count), max(length - place * -(-length // count), 0)) for place in range(count)
    )
    require(len(sizes) == count and sum(sizes) == length, node, f"its pieces {sizes} do not make up {x.file_shape}")
    for place in range(count):
        ranges = [(0, size, 1) for size in x.file_shape]
        ranges[axis % rank] = (sum(sizes[:place]), sum(sizes[: place + 1]), 1)
        move(m, node, lambda x, name, ranges=ranges: _sliced(m, node, x, ranges, name), place)  # type: ignore[misc]


MOVES["Split"] = _split
