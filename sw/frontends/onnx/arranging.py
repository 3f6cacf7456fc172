"""ONNX's operators that put values at other places: blocks of pixels, borders, copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.moves import REAL_MOVES, Apply, different, move, registers_moves, sliced
from sateen.frontends.onnx.values import (
    QuantizedConstant,
    channels_first,
    clamp,
    has_code,
    quantization_of,
    real_values,
)
from sateen.graph import LARGEST, DepthToSpace, Pad, Reshape, SpaceToDepth, Take, Tensor, require, require_places

__all__ = ["ARRANGES"]

ARRANGES: dict[str, Operator] = {}
moves = registers_moves(ARRANGES)

Places = list[tuple[int, ...] | None]
"""For each axis of the file's layout the positions that a result takes; ``None``: the axis as it is."""
OWN = ("edge", "reflect", "wrap")
"""Modes of a Pad that take values of the tensor's own."""


def _taken(importer: Importer, node: Node, x: Tensor, places: Places, name: str) -> Tensor:
    """Values at places of each axis."""
    require(places[0] is None, node, "it moves the batch, which is not supported")
    rank = len(x.file_shape)
    x = importer.as_image(node, x) if rank == 4 else importer.in_file_layout(node, x)
    here = [places[axis] for axis in (0, 2, 3, 1)] if rank == 4 else places
    fields: dict[str, Any] = {"input": x.name, "places": tuple(here[1:]), "dtype": x.dtype}
    return importer.add(Take, node, name, quantization_of(x), channels_first if rank == 4 else lambda _: None, **fields)


@moves("DepthToSpace 1 11 13", "SpaceToDepth 1 13")
def blocks(importer: Importer, node: Node) -> Apply:
    """Blocks of pixels as channels, or back."""
    size, mode = node.get("blocksize", 0), node.get("mode", "DCR")
    require(size > 0, node, f"its blocksize {size} is below 1; export the model anew")
    require(mode in ("DCR", "CRD"), node, f"its mode {mode!r} is not supported")

    def apply(x: Tensor, name: str) -> Tensor:
        x = importer.as_image(node, x)
        require(len(x.file_shape) == 4, node, f"its input {x.name!r} of {x.file_shape} is no image")
        fields: dict[str, Any] = {"input": x.name, "dtype": x.dtype}
        if size == 1:
            return importer.add(
                Reshape, node, name, quantization_of(x), lambda _: x.file_layout, shape=x.shape, **fields
            )
        if node.kind == "SpaceToDepth":
            return importer.add(SpaceToDepth, node, name, quantization_of(x), channels_first, size=size, **fields)
        fields |= {"size": size, "blocks_first": mode == "DCR"}
        return importer.add(DepthToSpace, node, name, quantization_of(x), channels_first, **fields)

    return apply


PADDING = "Pad 2 11 13 18 19 21 23 24 25"


@registers(ARRANGES, fused=True)(PADDING)
def pad(importer: Importer, node: Node) -> None:
    """Zeros around an image, another constant value, or values of the image's own."""
    value = _value(importer, node)
    move(importer, node, _padding(importer, node), holds=lambda numbers: has_code(numbers, value))


@registers(REAL_MOVES)(PADDING)
def real_pad(importer: Importer, node: Node) -> None:
    """The same of real values."""
    importer.set_real(node, _padding(importer, node)(importer.real(node), importer.real_name(node)))


def _value(importer: Importer, node: Node) -> float:
    """What a Pad puts around a tensor: a number that is given, or a constant, also one that is quantized."""
    if node.get("mode") != "constant":
        node.ignore(2, "value")
        return 0.0
    given = importer.value(node, 2) if node.has(2) else np.array(node.get("value", 0.0), np.float32)
    values = real_values(given) if isinstance(given, QuantizedConstant) else given
    good = isinstance(values, np.ndarray) and values.size == 1 and bool(np.isfinite(values).all())
    require(good, node, "it pads with what is no constant, finite number")
    assert isinstance(values, np.ndarray)
    return float(values.reshape(-1)[0])


def _padding(importer: Importer, node: Node) -> Apply:
    mode = node.get("mode")
    require(mode in ("constant", *OWN), node, f"its mode {mode!r} is not supported")
    pads = importer.integers(node, 1) if node.has(1) else node.get("pads", ())
    axes = importer.integers(node, 3) if node.has(3) else ()
    value = _value(importer, node)
    source = importer.value(node)
    integers = isinstance(source, Tensor) and source.dtype == "int8"

    def apply(x: Tensor, name: str) -> Tensor:
        pairs = _padded(node, x.file_shape, pads, axes)
        require(pairs[0] == (0, 0), node, "it pads the batch, which is not supported")
        if any(size < 0 for pair in pairs for size in pair):
            # Negative ones cut off values, before others are put there.
            ranges = [(max(-before, 0), size + min(after, 0), 1)
                      for size, (before, after) in zip(x.file_shape, pairs, strict=True)]  # fmt: skip
            left = all(first < last for first, last, _ in ranges)
            require(left, node, f"its pads {pads} leave nothing of {x.file_shape}; export the model without it")
            pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
            padded = any(map(any, pairs))
            x = sliced(importer, node, x, ranges, importer.name_of(f"{name}.cut") if padded else name)
            if not padded:
                return x
        if mode != "constant":
            return _padded_with_own(importer, node, x, pairs, mode, name)
        rank = len(x.file_shape)
        x = importer.as_image(node, x) if rank == 4 else importer.in_file_layout(node, x)
        pairs = [pairs[axis] for axis in (0, 2, 3, 1)] if rank == 4 else pairs
        if integers:
            code = int(value) - (128 if x.unsigned else 0)
        elif x.dtype == "int8":
            code = clamp(quantization_of(x), (value, value))[0]
        else:
            code = int(value)
            good = code == value and -128 <= code <= 127
            require(
                good, node, f"its value {value:g} is no whole number of 8 bits, and what it pads is real; pad with 0"
            )
        layout = channels_first if rank == 4 else (lambda _: None)
        return importer.add(
            Pad, node, name, quantization_of(x), layout, input=x.name, padding=tuple(pairs[1:]), value=code
        )

    return apply


def _padded(node: Node, shape: tuple[int, ...], pads: tuple[int, ...], axes: tuple[int, ...]) -> list[tuple[int, int]]:
    """The values before and after each axis; ``axes`` are those that ``pads`` name, or none for all."""
    rank = len(shape)
    axes = axes or tuple(range(rank))
    different(node, axes, rank)
    require(len(pads) == 2 * len(axes), node, f"its pads {pads} are not two for each of {len(axes)} axes")
    small = all(abs(size) < LARGEST for size in pads)
    require(small, node, f"its pads {pads} are larger than {LARGEST - 1:,}, as no device has them")
    pairs = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        pairs[axis] = (pads[place], pads[place + len(axes)])
    return pairs


def _padded_with_own(
    importer: Importer, node: Node, x: Tensor, pairs: list[tuple[int, int]], mode: Any, name: str
) -> Tensor:
    places: Places = []
    for (before, after), size in zip(pairs, x.file_shape, strict=True):
        most = {"reflect": size - 1, "wrap": size, "edge": LARGEST}[mode]
        fits = max(before, after) <= most and size + before + after <= LARGEST
        require(fits, node, f"its pads {pairs} by {mode} are too large for {x.file_shape}")
        require_places(node, size + before + after if before or after else 0)
        own = tuple(np.pad(np.arange(size), (before, after), mode=mode).tolist())
        places.append(own if before or after else None)
    return _taken(importer, node, x, places, name)


@moves("Gather 1 11 13")
def gather(importer: Importer, node: Node) -> Apply:
    """Values at constant positions along an axis."""
    wanted, axis = importer.constant(node, 1), node.get("axis")
    require(wanted.dtype.kind == "i" and wanted.size > 0, node, "its indices must be whole numbers")

    def apply(x: Tensor, name: str) -> Tensor:
        rank = len(x.file_shape)
        require(-rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
        place, size = axis % rank, x.file_shape[axis]
        require(
            bool(((wanted >= -size) & (wanted < size)).all()), node, f"its indices are beyond axis {axis} of {size}"
        )
        places: Places = [None] * rank
        places[place] = tuple(int(index) % size for index in wanted.reshape(-1))
        if wanted.ndim == 1:
            return _taken(importer, node, x, places, name)
        shape = (*x.file_shape[:place], *wanted.shape, *x.file_shape[place + 1 :])
        found = importer.in_file_layout(node, _taken(importer, node, x, places, importer.name_of(f"{name}.list")))
        return importer.add(Reshape, node, name, quantization_of(x), shape=shape, input=found.name, dtype=x.dtype)

    return apply


@moves("Tile 6 13")
def tile(importer: Importer, node: Node) -> Apply:
    """Several copies of a tensor along its axes."""
    counts = importer.integers(node, 1)

    def apply(x: Tensor, name: str) -> Tensor:
        good = len(counts) == len(x.file_shape) and min(counts) > 0 and max(counts) <= LARGEST
        require(good, node, f"its repeats {counts} do not fit {x.file_shape}")
        require_places(node, *(size * count for size, count in zip(x.file_shape, counts, strict=True) if count > 1))
        places: Places = [
            tuple(range(size)) * count if count > 1 else None for size, count in zip(x.file_shape, counts, strict=True)
        ]
        return _taken(importer, node, x, places, name)

    return apply


@moves("Expand 8 13")
def expand(importer: Importer, node: Node) -> Apply:
    """Copies along axes of length 1; axes that are missing are added in front."""
    wanted = importer.integers(node, 1)

    def apply(x: Tensor, name: str) -> Tensor:
        rank = max(len(wanted), len(x.file_shape))
        given = x.file_shape
        require(rank == len(x.file_shape) or x.shape[0] == 1, node, f"it makes another batch of {x.file_shape}")
        x = importer.with_rank(node, x, rank)
        sizes = (*[1] * (rank - len(wanted)), *wanted)
        fits = all(a == b or 1 in (a, b) for a, b in zip(sizes, x.file_shape, strict=True)) and min(sizes) > 0
        require(fits and max(sizes) <= LARGEST, node, f"its shape {wanted} does not fit {x.file_shape}")
        require_places(node, *(size for size, has in zip(sizes, x.file_shape, strict=True) if size > has))
        if rank == len(given) and all(size <= has for size, has in zip(sizes, given, strict=True)):
            importer.alike.add(node.outputs[0])
        places: Places = [(0,) * size if size > has else None for size, has in zip(sizes, x.file_shape, strict=True)]
        return _taken(importer, node, x, places, name)

    return apply
