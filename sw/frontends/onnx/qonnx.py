"""QONNX's Quant, as Brevitas exports it: real values are quantized to some bits, and dequantized at once.

Definition: ``(clip(round(x / scale + zero_point), low, high) − zero_point) · scale``, ties to even; from
``qonnx.custom_op.general.intquant``.
"""

from __future__ import annotations

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.values import (
    UNLIMITED,
    Deferred,
    Dequantized,
    Limits,
    Quantization,
    QuantizedConstant,
    Value,
    to_float32,
)
from sateen.graph import Array, Tensor, require

__all__ = ["QUANTS"]

QUANTS: dict[str, Operator] = {}
ROUNDINGS = ("ROUND", "HALF_EVEN")
"""Names of rounding half to even."""
MOST_BITS = 32


@registers(QUANTS, fused=True)(
    "qonnx.custom_op.general.Quant 1", "qonnx.custom_op.general.IntQuant 1", "onnx.brevitas.Quant 1"
)
def quant(importer: Importer, node: Node) -> None:
    """Real values of codes: of constants at once, of activations on the device."""
    scales, points = to_float32(importer.constant(node, 1)), importer.constant(node, 2)
    bits, (low, high) = _range(importer, node)
    good = bool(np.isfinite(scales).all() and (scales > 0).all())
    require(good, node, f"its scales {node.inputs[1]!r} must be finite and above 0")
    whole = bool((points == np.rint(points)).all() and (points >= low).all() and (points <= high).all())
    require(whole, node, f"its zero points {node.inputs[2]!r} must be whole numbers from {low} to {high}")
    value = importer.value(node)
    if isinstance(value, np.ndarray):
        importer.values[node.outputs[0]] = _constant(node, value, scales, points, bits, low, high)
        return
    require(not isinstance(value, QuantizedConstant), node, "it quantizes a constant twice; export the model anew")
    single = scales.size == 1 and points.size == 1
    require(single, node, "activations must have one scale for all channels; quantize them per tensor")
    require(bits <= 8, node, f"it keeps {bits} bits of an activation; quantize to 8 or fewer")
    unsigned = low == 0
    zero_point = int(points.reshape(-1)[0])
    quantization = Quantization(float(scales.reshape(-1)[0]), zero_point - (128 if unsigned else 0), unsigned)
    limits = (low - zero_point) * quantization.scale, (high - zero_point) * quantization.scale
    whole_range = (low, high) == ((0, 255) if unsigned else (-128, 127))
    if zero_point % 2:
        importer.notes.append(
            f"{node}: its zero point {zero_point} is odd. The definition rounds after it is added, the device before: "
            "results half way between two codes differ by one"
        )
    codes = _codes(importer, node, value, quantization, UNLIMITED if whole_range else limits)
    importer.values[node.outputs[0]] = Dequantized(codes)


def _range(importer: Importer, node: Node) -> tuple[int, tuple[int, int]]:
    """Bits, and the least and the largest code."""
    given = importer.constant(node, 3).reshape(-1)
    good = given.size == 1 and 2 <= given[0] <= MOST_BITS and given[0] == np.rint(given[0])
    require(bool(good), node, f"its bits must be a whole number from 2 to {MOST_BITS}, not {given}")
    bits, signed, narrow = int(given[0]), bool(node.get("signed", 1)), bool(node.get("narrow", 0))
    mode = str(node.get("rounding_mode", "ROUND")).upper()
    require(mode in ROUNDINGS, node, f"its rounding_mode {mode} is not supported; export the model with ROUND")
    if signed:
        return bits, (-(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1)
    return bits, (0, (1 << bits) - 1 - narrow)


def _constant(
    node: Node, values: Array, scales: Array, points: Array, bits: int, low: int, high: int
) -> QuantizedConstant:
    """A constant's codes, with scales along one axis or one for all."""
    require(values.dtype.kind == "f", node, f"its constant is {values.dtype}, not real numbers")
    for what, numbers in (("scales", scales), ("zero points", points)):
        shape = (1,) * (values.ndim - numbers.ndim) + numbers.shape
        fits = len(shape) == values.ndim and all(a in (1, b) for a, b in zip(shape, values.shape, strict=True))
        require(fits, node, f"its {what} {numbers.shape} do not fit its constant {values.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        real = to_float32(values) / scales + to_float32(points)
    require(not np.isnan(real).any(), node, "its constant is not finite")
    aligned = (1,) * (values.ndim - scales.ndim) + scales.shape
    axes = [axis for axis, size in enumerate(aligned) if size > 1]
    require(len(axes) <= 1, node, f"its scales {scales.shape} lie along {len(axes)} axes; quantize per channel")
    dtype = np.int32 if bits > 8 else np.uint8 if low == 0 else np.int8
    count = scales.size
    fits = points.size in (1, count)
    require(fits, node, f"it has {points.size} zero points for {count} scales")
    codes = np.clip(np.rint(real).astype(np.float64), low, high)
    return QuantizedConstant(
        values=codes.astype(dtype),
        scales=scales.reshape(-1),
        zero_points=np.broadcast_to(points.reshape(-1), (count,)).astype(dtype),
        axis=axes[0] if axes else 0,
    )


def _codes(importer: Importer, node: Node, value: Value, quantization: Quantization, limits: Limits) -> Tensor:
    name = importer.name_of(f"{node.outputs[0]}.codes")
    if isinstance(value, Deferred):
        low, high = max(limits[0], value.limits[0]), min(limits[1], value.limits[1])
        return importer.quantize(node, Deferred(value.make, value.inherited, (low, high)), quantization, name)
    if isinstance(value, Dequantized):
        return importer.requantize(node, value.tensor, name, quantization, limits)
    if limits == UNLIMITED:
        return importer.quantize(node, value, quantization, name)
    whole = importer.quantize(node, value, quantization, importer.name_of(f"{name}.whole"))
    return importer.requantize(node, whole, name, quantization, limits)
