"""ONNX's operators that resize images."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.moves import Apply, different, move
from sateen.frontends.onnx.values import REAL, image_layout, quantization_of
from sateen.graph import LARGEST, Array, RealResize, Resize, Take, Tensor, require, require_places
from sateen.sim import golden

__all__ = ["REAL_RESIZES", "RESIZES"]

RESIZES: dict[str, Operator] = {}
REAL_RESIZES: dict[str, Operator] = {}
"""The same operators on real numbers."""

COORDINATES = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel")
Sizes = Callable[[tuple[int, ...]], tuple[tuple[int, ...], list[float]]]
"""The resized shape, and the factor of each axis, for the shape of an input."""


@registers(RESIZES)("Resize 10 11 13 18 19", "Upsample 7 9")
def resize(importer: Importer, node: Node) -> None:
    """An image of another size: by nearest neighbours, or interpolated, as the host does with real numbers."""
    mode = node.get("mode")
    good = mode in ("nearest", "linear")
    require(good, node, f"its mode {mode!r} is not supported; use nearest or linear")
    sizes_of, kind = _sizes(importer, node), _coordinates(node)
    if mode == "nearest":
        move(importer, node, _nearest(importer, node, sizes_of, kind))
        return
    node.ignore("nearest_mode")
    _interpolate(importer, node, sizes_of, kind)


@registers(REAL_RESIZES)("Resize 10 11 13 18 19", "Upsample 7 9")
def resize_real(importer: Importer, node: Node) -> None:
    """The same of a real image."""
    sizes_of, kind = _sizes(importer, node), _coordinates(node)
    if node.get("mode") == "nearest":
        apply = _nearest(importer, node, sizes_of, kind)
        importer.set_real(node, apply(importer.real(node), importer.real_name(node)))
    else:
        node.ignore("nearest_mode")
        _interpolate(importer, node, sizes_of, kind)


def _interpolate(importer: Importer, node: Node, sizes_of: Sizes, kind: str) -> None:
    require(node.get("mode") == "linear", node, f"its mode {node.get('mode')!r} is not supported; use linear")
    value = importer.value(node)
    coded = isinstance(value, Tensor) and value.dtype != "float32"
    require(
        not coded,
        node,
        "it interpolates codes, which are cut off to whole numbers in place of rounded; place DequantizeLinear before "
        "it and QuantizeLinear behind it, as quantize_static does with quant_format=QuantFormat.QDQ",
    )
    x = importer.as_image(node, importer.real(node))
    shape, scales = _here(node, x, sizes_of)
    result = importer.add(
        RealResize, node, importer.real_name(node), REAL, image_layout(len(x.file_shape)), shape=shape,
        dtype="float32", input=x.name, scales=scales, coordinates=kind,
    )  # fmt: skip
    importer.set_real(node, result)


def _nearest(importer: Importer, node: Node, sizes_of: Sizes, kind: str) -> Apply:
    rounding = node.get("nearest_mode", "floor")
    require(rounding in ROUNDED, node, f"its nearest_mode {rounding!r} is not supported")

    def apply(x: Tensor, name: str) -> Tensor:
        rank = len(x.file_shape)
        x = importer.as_image(node, x)
        shape, scales = _here(node, x, sizes_of)
        lengths = list(zip(x.shape[1:3], shape[1:3], scales, strict=True))
        wanted = _places(node, kind, rounding, lengths)
        flags = _flags(wanted, lengths)
        if flags is None:
            require_places(node, *shape[1:3])
            places = (*(tuple(each.tolist()) for each in wanted), None)
            fields: dict[str, Any] = {"input": x.name, "dtype": x.dtype, "places": places}
            return importer.add(Take, node, name, quantization_of(x), image_layout(rank), **fields)
        return importer.add(
            Resize,
            node,
            name,
            quantization_of(x),
            image_layout(rank),
            shape=shape,
            input=x.name,
            dtype=x.dtype,
            **flags,
        )

    return apply


def _here(node: Node, x: Tensor, sizes_of: Sizes) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The resized shape (N, H, W, C), and the factors of rows and columns."""
    shape, scales = sizes_of(x.file_shape)
    same = shape[:2] == x.file_shape[:2] and scales[0] == scales[1] == 1
    require(same, node, f"it resizes batch or channels of {x.file_shape} to {shape}")
    sides, factors = (1, *shape[2:])[-2:], (1.0, *scales[2:])[-2:]
    return (shape[0], *sides, shape[1]), factors


def _coordinates(node: Node) -> str:
    """How an operator finds the positions of pixels. The first versions have no choice."""
    # Attributes of other modes, and the region that only tf_crop_and_resize takes.
    node.ignore("cubic_coeff_a", "extrapolation_value")
    kind = node.get("coordinate_transformation_mode", "asymmetric")
    require(kind in COORDINATES, node, f"its mode {kind!r} is not supported; use asymmetric or half_pixel")
    return str(kind)


def _sizes(importer: Importer, node: Node) -> Sizes:
    first = node.kind == "Upsample" or node.schema is not None and node.schema.version == 10
    if not first:
        node.ignore(1)
    axes, policy = node.get("axes", ()), node.get("keep_aspect_ratio_policy", "stretch")
    sized = not first and node.has(3) and importer.constant(node, 3).size > 0
    if sized:
        given: tuple[float, ...] = importer.integers(node, 3)
        whole = not axes or 0 in axes
        importer.takes_one(node, where=whole and importer.is_stated(node, 3))
        if node.has(2):
            require(importer.constant(node, 2).size == 0, node, "it has both scales and sizes; export the model anew")
    else:
        place = 1 if first else 2
        found = importer.constant(node, place) if node.has(place) else np.array(node.get("scales", ()), np.float32)
        require(bool(np.isfinite(found).all()), node, "its scales are not finite")
        given = tuple(float(scale) for scale in found.reshape(-1))
        require(all(0 < scale <= LARGEST for scale in given), node, f"its scales {given} are not above 0, or too large")
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
        # In float32, as onnxruntime: 5 · 1.8 is 9 there, and less exactly.
        sizes[axis] = int(value) if policy else int(np.float32(shape[axis]) * np.float32(value))
    if policy in ("not_larger", "not_smaller"):
        choose = min if policy == "not_larger" else max
        common = np.float32(choose(np.float32(scales[axis]) for axis in axes))
        for axis in axes:
            scales[axis], sizes[axis] = float(common), math.floor(float(common * np.float32(shape[axis])) + 0.5)
    good = 0 < min(sizes) <= max(sizes) <= LARGEST and math.prod(sizes) <= LARGEST
    require(good, node, f"its sizes {tuple(sizes)} do not fit {shape}, or are too large")
    return tuple(sizes), scales


ROUNDED: dict[str, Callable[[Any], Any]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
}


def _places(node: Node, kind: str, rounding: str, lengths: list[tuple[int, int, float]]) -> list[Array]:
    """The rows and the columns that a resized image takes. Positions in onnxruntime's float32 and exact ones differ
    only where a position lies on a tie of rounding."""
    wanted, exact = (
        [_positions(kind, rounding, *length, dtype) for length in lengths] for dtype in (np.float32, np.float64)
    )
    clear = all(np.array_equal(a, b) for a, b in zip(wanted, exact, strict=True))
    what = f"its mode {kind!r} with {rounding!r} at this size has a pixel on a tie, where float32 decides"
    other = "another size" if (kind, rounding) == ("asymmetric", "floor") else "asymmetric with floor"
    require(clear, node, f"{what}; use {other}")
    return wanted


def _flags(wanted: list[Array], lengths: list[tuple[int, int, float]]) -> dict[str, Any] | None:
    """The flags of :class:`Resize` that give these rows and columns, if some do."""
    options: list[dict[str, bool]] = [{}, {"half_pixel_centers": True}, {"align_corners": True}]
    for flags in options:
        made = [golden.nearest(size, length, **flags) for size, length, _ in lengths]
        if all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True)):
            return flags
    return None


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
