"""ONNX's operators that move values. They work on integers and on the real values that these stand for alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.values import (
    UNLIMITED,
    Deferred,
    Limits,
    Quantization,
    channels_first,
    image_layout,
    quantization_of,
)
from sateen.frontends.onnx.windows import Window
from sateen.graph import FileLayout, MaxPool2D, Reshape, Slice, Tensor, require

__all__ = [
    "FLOAT",
    "INT8",
    "MOVES",
    "REAL_MOVES",
    "UINT8",
    "Apply",
    "Holds",
    "different",
    "move",
    "pieces",
    "registers_moves",
    "sliced",
]

Apply = Callable[[Tensor, str], Tensor]
"""Applies an operator to a tensor of integers. Called with the tensor and the result's name."""
Holds = Callable[[Quantization], bool]
"""Whether codes stand exactly for the values that an operator adds."""
Move = Callable[[Importer, Node], Apply]
"""Reads an operator's attributes and constants."""

FLOAT, UINT8, INT8, INT32, INT64, BOOL = 1, 2, 3, 6, 7, 9
"""Numbers of ONNX's types."""


MANY = 1 << 20
"""Ends of slices of a batch from here on are its own."""
REAL_MOVES: dict[str, Operator] = {}
"""The same operators on real numbers."""


def registers_moves(table: dict[str, Operator]) -> Callable[..., Callable[[Move], Move]]:
    """Like :func:`~sateen.frontends.onnx.folding.registers`, for functions that say what to do with integers."""

    def moves(*kinds: str) -> Callable[[Move], Move]:
        def register(function: Move) -> Move:
            @registers(table, fused=True)(*kinds)
            def handle(importer: Importer, node: Node) -> None:
                move(importer, node, function(importer, node))

            @registers(REAL_MOVES)(*kinds)
            def handle_real(importer: Importer, node: Node) -> None:
                apply = function(importer, node)
                importer.set_real(node, apply(importer.real(node), importer.real_name(node)))

            return function

        return register

    return moves


MOVES: dict[str, Operator] = {}
moves = registers_moves(MOVES)


def move(importer: Importer, node: Node, apply: Apply, place: int = 0, *, holds: Holds = lambda _: True) -> None:
    """Applies an operator to its input: at once to integers, and to a real value when it is quantized. What it adds
    itself may be no code of a quantization."""
    value, output = importer.value(node), node.outputs[place]
    if isinstance(value, Tensor):
        importer.values[output] = apply(value, output)
        return
    if isinstance(value, Deferred) and not value.has_codes:
        source = value

        def make_moved(name: str, quantization: Quantization, limits: Limits) -> Tensor:
            if node.kind == "Pad" and limits != source.limits:
                # A clamp behind it takes hold of its border, too.
                made = make_moved(importer.name_of(f"{name}.padded"), quantization, source.limits)
                return importer.requantize(node, made, name, quantization, limits)
            return apply(source.make(importer.name_of(f"{name}.before"), quantization, limits), name)

        importer.values[output] = Deferred(make_moved, None, source.limits)
        return
    x = importer.quantized_input(node)
    exact = holds(quantization_of(x))

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        if quantization == quantization_of(x) and limits == UNLIMITED:
            return apply(x, name)
        if not exact:
            before = importer.requantize(node, x, importer.name_of(f"{name}.before"), quantization)
            if limits == UNLIMITED:
                return apply(before, name)
            return importer.requantize(
                node, apply(before, importer.name_of(f"{name}.moved")), name, quantization, limits
            )
        return importer.requantize(node, apply(x, importer.name_of(f"{name}.before")), name, quantization, limits)

    importer.values[output] = Deferred(make, quantization_of(x) if exact else None)


@moves("MaxPool 1 8 10 11 12 22")
def max_pool(importer: Importer, node: Node) -> Apply:
    """The largest of each window."""
    size = node.get("kernel_shape", ())
    window = Window.read(node, size)
    require(window.dilation == (1, 1), node, f"its dilations {window.dilation} are not supported; export it without")
    node.ignore("storage_order")  # The order of the places that it also gives, which nothing may read.

    def apply(x: Tensor, name: str) -> Tensor:
        rank = len(x.file_shape)
        require(len(size) == rank - 2, node, f"its kernel {size} does not fit {x.name!r} of {x.file_shape}")
        x = importer.as_image(node, x)
        fields: dict[str, Any] = {"input": x.name, "size": window.size, **window.fields(x)}
        del fields["dilation"]
        return importer.add(MaxPool2D, node, name, quantization_of(x), image_layout(rank), **fields)

    return apply


@moves("Identity 1 13 14 16 19 21 23 24 25")
def identity(importer: Importer, node: Node) -> Apply:
    """The same values."""
    return lambda x, name: importer.add(
        Reshape, node, name, quantization_of(x), lambda _: x.file_layout, shape=x.shape, dtype=x.dtype, input=x.name
    )


@moves("Dropout 7 10 12 13 22")
def dropout(importer: Importer, node: Node) -> Apply:
    """The same values, since only training drops some."""
    training = importer.constant(node, 2, np.zeros((), bool))
    require(not training.any(), node, "it drops values as in training; export the model for inference")
    node.ignore("ratio", "seed", 1)
    return identity(importer, node)


@moves("Cast 6 9 13 19 21 23 24 25 28")
def cast(importer: Importer, node: Node) -> Apply:
    """The same values in a type that holds them all."""
    value = importer.value(node)
    quantized = isinstance(value, Tensor) and value.dtype == "int8"
    position = isinstance(value, Tensor) and value.dtype == "int32"
    stored = UINT8 if isinstance(value, Tensor) and value.unsigned else INT8
    node.ignore("saturate", "round_mode")  # Of types of 8 bits and fewer that are float.
    good = node.get("to") in ((stored,) if quantized else (INT32, INT64) if position else (FLOAT,))
    what = "it changes what its values are"
    require(good, node, f"to type {node.get('to')}, {what}; export the model without it, or split it off")
    return identity(importer, node)


Target = Callable[[tuple[int, ...]], tuple[int, ...]]
"""The shape of a result in the file's layout, for that of the input."""


def _target(importer: Importer, node: Node) -> Target:
    """The shape that a Reshape, Flatten, Squeeze or Unsqueeze gives."""
    if node.kind == "Flatten":
        axis = node.get("axis")

        importer.takes_one(node, where=axis == 0)

        def flat(shape: tuple[int, ...]) -> tuple[int, ...]:
            require(-len(shape) <= axis <= len(shape), node, f"its axis {axis} is none of {len(shape)}")
            return (math.prod(shape[:axis]), math.prod(shape[axis:]))

        return flat
    if node.kind == "Reshape":
        wanted, zeros = importer.integers(node, 1), bool(node.get("allowzero", 0))
        importer.takes_one(node, where=wanted[:1] == (1,) and importer.is_stated(node, 1))
        return lambda shape: _reshaped(node, shape, wanted, zeros)
    axes = importer.integers(node, 1) if node.has(1) else node.get("axes", ())
    importer.takes_one(node, where=node.kind == "Unsqueeze" and 0 in axes)
    return lambda shape: (_squeezed if node.kind == "Squeeze" else _unsqueezed)(node, shape, axes)


def _reshaped(node: Node, shape: tuple[int, ...], wanted: tuple[int, ...], zeros: bool) -> tuple[int, ...]:
    sizes = [shape[axis] if size == 0 and axis < len(shape) and not zeros else size for axis, size in enumerate(wanted)]
    fixed = sizes.count(-1) <= 1 and all(size > 0 or size == -1 for size in sizes)
    require(fixed, node, f"its shape {sizes} is not fixed")
    known = math.prod(size for size in sizes if size != -1)
    return tuple(math.prod(shape) // known if size == -1 else size for size in sizes)


def different(node: Node, axes: tuple[int, ...], most: int) -> set[int]:
    """Axes counted from the front, of ``most``; a :class:`GraphError` unless they are different ones."""
    good = all(-most <= axis < most for axis in axes) and len({axis % most for axis in axes}) == len(axes)
    require(good, node, f"its axes {axes} are no different ones of {most}")
    return {axis % most for axis in axes}


def _squeezed(node: Node, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    removed = different(node, axes, len(shape))
    removed = removed or {axis for axis, size in enumerate(shape) if size == 1 and axis}
    require(all(shape[axis] == 1 for axis in removed), node, f"its axes {axes} of {shape} are not of length 1")
    return tuple(size for axis, size in enumerate(shape) if axis not in removed)


def _unsqueezed(node: Node, shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(shape) + len(axes)
    added, rest = different(node, axes, rank), iter(shape)
    return tuple(1 if axis in added else next(rest) for axis in range(rank))


@moves(
    "Reshape 5 13 14 19 21 23 24 25",
    "Flatten 1 9 11 13 21 23 24 25",
    "Squeeze 1 11 13 21 23 24 25",
    "Unsqueeze 1 11 13 21 23 24 25",
)
def reshape(importer: Importer, node: Node) -> Apply:
    """The same values in another shape of the file's layout."""
    target_of = _target(importer, node)

    def apply(x: Tensor, name: str) -> Tensor:
        target = target_of(x.file_shape)
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


@moves("Transpose 1 13 21 23 24 25")
def transpose(importer: Importer, node: Node) -> Apply:
    """Another order of the file's axes. Values stay where they are until an operator needs them in another order."""
    perm = node.get("perm", ())

    def apply(x: Tensor, name: str) -> Tensor:
        shape = x.file_shape
        axes = perm or tuple(reversed(range(len(shape))))
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


def sliced(importer: Importer, node: Node, x: Tensor, ranges: list[tuple[int, int, int]], name: str) -> Tensor:
    """Part of a tensor: (begin, end, step) of each axis of the file's layout."""
    rank = len(x.file_shape)
    require(ranges[0] == (0, x.shape[0], 1), node, "it slices the batch, which is not supported")
    x = importer.as_image(node, x) if rank == 4 else importer.in_file_layout(node, x)
    ranges = [ranges[axis] for axis in (0, 2, 3, 1)] if rank == 4 else ranges
    layout: Any = channels_first if rank == 4 else (lambda _: None)
    return importer.add(Slice, node, name, quantization_of(x), layout, input=x.name, ranges=tuple(ranges[1:]))


@moves("Slice 1 10 11 13")
def slice_(importer: Importer, node: Node) -> Apply:
    """Part of a tensor."""
    inputs = node.has(1)
    starts, ends = (
        importer.integers(node, place) if inputs else node.get(name, ()) for place, name in ((1, "starts"), (2, "ends"))
    )
    every = tuple(range(len(starts)))
    axes = importer.integers(node, 3, every) if inputs else node.get("axes", every)
    steps = importer.integers(node, 4, (1,) * len(starts))

    def apply(x: Tensor, name: str) -> Tensor:
        rank = len(x.file_shape)
        good = len(starts) == len(ends) == len(axes) == len(steps) and 0 not in steps
        require(good, node, f"its starts, ends, axes and steps do not fit {x.file_shape}")
        different(node, axes, rank)
        ranges = [(0, size, 1) for size in x.file_shape]
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            importer.takes_one(node, where=axis % rank == 0 and ((start, step) != (0, 1) or end < MANY))
            ranges[axis % rank] = slice(start, end, step).indices(x.file_shape[axis])
        return sliced(importer, node, x, ranges, name)

    return apply


@registers(MOVES)("Split 2 11 13 18")
def split(importer: Importer, node: Node) -> None:
    """A tensor in pieces, one output each."""
    value = importer.value(node)
    x = value if isinstance(value, Tensor) and value.dtype == "int8" else importer.quantized_input(node)
    for place, ranges in enumerate(pieces(importer, node, x.file_shape)):
        move(importer, node, lambda x, name, ranges=ranges: sliced(importer, node, x, ranges, name), place)  # type: ignore[misc]


def pieces(importer: Importer, node: Node, shape: tuple[int, ...]) -> list[list[tuple[int, int, int]]]:
    """The pieces that a Split makes of a shape of the file's layout: (begin, end, step) of each axis."""
    rank, count, axis = len(shape), len(node.outputs), node.get("axis")
    require(-rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
    length = shape[axis % rank]
    sizes = importer.integers(node, 1) if node.has(1) else node.get("split", ())
    said = node.get("num_outputs", count)
    require(said == count, node, f"its num_outputs {said} is not the number of its outputs, {count}")
    require(
        not sizes or "num_outputs" not in node.attributes, node, "it has both split and num_outputs; export it anew"
    )
    each = -(-length // count)
    even = sizes or node.schema and node.schema.version >= 18 or length % count == 0
    require(bool(even), node, f"its {count} outputs do not share {length} evenly; export it with a split")
    sizes = sizes or tuple(min(each, max(length - place * each, 0)) for place in range(count))
    require(len(sizes) == count and sum(sizes) == length, node, f"its pieces {sizes} do not make up {shape}")
    parts = [[(0, size, 1) for size in shape] for _ in sizes]
    for place, ranges in enumerate(parts):
        ranges[axis % rank] = (sum(sizes[:place]), sum(sizes[: place + 1]), 1)
    return parts
