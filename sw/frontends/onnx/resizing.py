"""ONNX's operators that resize images."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.moves import Apply, different, registers_moves
from sateen.frontends.onnx.values import channels_first, quantization_of
from sateen.graph import LARGEST, Array, Resize, Tensor, require
from sateen.sim import golden

__all__ = ["RESIZES"]

RESIZES: dict[str, Operator] = {}
moves = registers_moves(RESIZES)


@moves("Resize 10 11 13 18 19", "Upsample 7 9")
def resize(importer: Importer, node: Node) -> Apply:
    """An image of another size, by nearest neighbours."""
    mode = node.get("mode")
    require(mode == "nearest", node, f"its mode {mode!r} is not supported")
    sizes_of, positions = _sizes(importer, node), _coordinates(node)

    def apply(x: Tensor, name: str) -> Tensor:
        x = importer.as_image(node, x)
        shape, scales = sizes_of(x.file_shape)
        require(shape[:2] == x.file_shape[:2], node, f"it resizes batch or channels of {x.file_shape} to {shape}")
        flags = _nearest(node, *positions, list(zip(x.file_shape[2:], shape[2:], scales[2:], strict=True)))
        here = (shape[0], shape[2], shape[3], shape[1])
        return importer.add(Resize, node, name, quantization_of(x), channels_first, shape=here, input=x.name, **flags)

    return apply


def _coordinates(node: Node) -> tuple[str, str]:
    """How an operator finds the positions of neighbours: its coordinate transformation, and its rounding. The first
    two versions have no choice."""
    # Attributes of other modes, and the region that only tf_crop_and_resize takes.
    node.ignore("cubic_coeff_a", "extrapolation_value")
    kind, rounding = node.get("coordinate_transformation_mode", "asymmetric"), node.get("nearest_mode", "floor")
    require(kind in COORDINATES, node, f"its mode {kind!r} is not supported; use asymmetric with floor")
    require(rounding in ROUNDED, node, f"its nearest_mode {rounding!r} is not supported")
    return kind, rounding


Sizes = Callable[[tuple[int, ...]], tuple[tuple[int, ...], list[float]]]
"""The resized shape, and the factor of each axis, for the shape of an input."""


def _sizes(importer: Importer, node: Node) -> Sizes:
    first = node.kind == "Upsample" or node.schema is not None and node.schema.version == 10
    if not first:
        node.ignore(1)
    axes, policy = node.get("axes", ()), node.get("keep_aspect_ratio_policy", "stretch")
    sized = not first and node.has(3) and importer.constant(node, 3).size > 0
    if sized:
        given: tuple[float, ...] = importer.integers(node, 3)
        if node.has(2):
            require(importer.constant(node, 2).size == 0, node, "it has both scales and sizes; export the model anew")
    else:
        place = 1 if first else 2
        found = importer.constant(node, place) if node.has(place) else np.array(node.get("scales", ()), np.float32)
        require(bool(np.isfinite(found).all()), node, "its scales are not finite")
        given = tuple(float(scale) for scale in found.reshape(-1))
        require(policy == "stretch", node, f"its keep_aspect_ratio_policy {policy!r} is of sizes, and it has scales")
    good = policy in ("stretch", "not_larger", "not_smaller")
    require(good, node, f"its keep_aspect_ratio_policy {policy!r} is not supported")
    return lambda shape: _resized(node, shape, axes, given, policy if sized else "")


def _resized(
    node: Node, shape: tuple[int, ...], axes: tuple[int, ...], given: tuple[float, ...], policy: str
) -> tuple[tuple[int, ...], list[float]]:
    """Sizes and scales of all axes; ``given`` are sizes if there is a ``policy``, else scales."""
    axes = axes or tuple(range(len(shape)))
    different(node, axes, len(shape))
    require(len(given) == len(axes), node, f"its sizes or scales {given} do not fit {shape}")
    sizes, scales = list(shape), [1.0] * len(shape)
    for axis, value in zip(axes, given, strict=True):
        scales[axis] = value / shape[axis] if policy else value
        sizes[axis] = int(value) if policy else math.floor(shape[axis] * value)
    if policy in ("not_larger", "not_smaller"):
        choose = min if policy == "not_larger" else max
        common = np.float32(choose(np.float32(scales[axis]) for axis in axes))
        for axis in axes:
            scales[axis], sizes[axis] = float(common), math.floor(float(common * np.float32(shape[axis])) + 0.5)
    good = min(sizes) > 0 and math.prod(sizes) <= LARGEST
    require(good, node, f"its sizes {tuple(sizes)} do not fit {shape}, or are too large")
    return tuple(sizes), scales


COORDINATES = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel")
ROUNDED: dict[str, Callable[[Any], Any]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
}


def _nearest(node: Node, kind: str, rounding: str, lengths: list[tuple[int, int, float]]) -> dict[str, Any]:
    """The flags of :class:`Resize` that give the positions for which the attributes ask."""
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
