"""The values of an ONNX graph while it is imported, and their quantization.

A quantized model has integers, and real values that they stand for. A real value may be a :class:`Dequantized` tensor,
or the :class:`Deferred` result of a layer, which is only made when a QuantizeLinear says how it is quantized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.graph import Array, FileLayout, GraphError, Tensor
from sateen.sim import golden

__all__ = [
    "IMAGE",
    "REAL",
    "UNLIMITED",
    "Deferred",
    "Dequantized",
    "Limits",
    "MakeResult",
    "Quantization",
    "QuantizedConstant",
    "Value",
    "channels_first",
    "clamp",
    "has_code",
    "image_layout",
    "is_exact",
    "plain",
    "quantization_of",
    "real_values",
    "scaling",
    "stored",
    "to_float32",
]

IMAGE = (0, 3, 1, 2)
"""Axes of (N, H, W, C) in the order of (N, C, H, W)."""
Limits = tuple[float, float]
"""The least and the largest real value of a clamp."""
UNLIMITED: Limits = (-np.inf, np.inf)


@dataclass(frozen=True)
class Quantization:
    """How integers stand for real values: ``scale · (q − zero_point)``."""

    scale: float
    zero_point: int
    """For int8, which is what integers are here."""
    unsigned: bool
    """The file's integers are uint8."""


REAL = Quantization(1.0, 0, False)
"""That of tensors of real values, which have none."""


def plain(unsigned: bool) -> Quantization:
    """That of integers that stand for themselves."""
    return Quantization(1.0, -128 if unsigned else 0, unsigned)


MakeResult = Callable[[str, Quantization, Limits], Tensor]
"""Makes an operator's result. Called with its name, its quantization and its limits."""


@dataclass(frozen=True)
class QuantizedConstant:
    """A constant's integers as the file has them. Scales and zero points are by channel along ``axis``, or one each."""

    values: Array
    scales: Array
    zero_points: Array
    axis: int


@dataclass(frozen=True)
class Dequantized:
    """The real values that a tensor's integers stand for."""

    tensor: Tensor


@dataclass(frozen=True)
class Deferred:
    """A real result that is made when its quantization is known."""

    make: MakeResult
    inherited: Quantization | None = None
    """The quantization of the input, if the operator only moves its values."""
    limits: Limits = UNLIMITED
    real: Callable[[str], Tensor] | None = None
    """Makes the real result, which the host computes, under a name; ``None`` if the operator that it comes from has a
    handler for that."""
    biased: Callable[[QuantizedConstant | Array], Deferred | None] | None = None
    """If it is the result of a layer without a bias: that with a constant added, or ``None`` if this is no bias, one
    value for each channel."""

    @property
    def has_codes(self) -> bool:
        """Whether codes in the inherited quantization stand for it exactly."""
        return self.inherited is not None and is_exact(self.inherited, self.limits)


Value = Tensor | Dequantized | Deferred | QuantizedConstant | Array
"""A tensor of integers or of a float input; real values; or a constant."""


def channels_first(shape: tuple[int, ...]) -> FileLayout | None:
    """The file's layout of a tensor of this shape: (N, C, H, W) for images, which are (N, H, W, C) here."""
    return FileLayout(shape, IMAGE, tuple(shape[axis] for axis in IMAGE)) if len(shape) == 4 else None


def image_layout(rank: int) -> Callable[[tuple[int, ...]], FileLayout | None]:
    """The file's layout of an image (N, H, W, C) that has ``rank`` axes there: (N, C, H, W), or rows (N, C, L)."""
    if rank == 4:
        return channels_first
    return lambda shape: FileLayout(shape, IMAGE, (shape[0], shape[3], shape[2]))


def real_values(constant: QuantizedConstant) -> Array:
    """The real values, float32, of a quantized constant."""
    shape = [-1 if place == constant.axis % constant.values.ndim else 1 for place in range(constant.values.ndim)]
    points, scales = (
        array.reshape(shape) if array.size > 1 else array.reshape(-1)[0]
        for array in (constant.zero_points.astype(np.int64), constant.scales.astype(np.float64))
    )
    return np.asarray(((constant.values.astype(np.int64) - points) * scales).astype(np.float32))


def quantization_of(x: Tensor) -> Quantization:
    """A tensor's quantization."""
    return Quantization(x.scale, x.zero_point, x.unsigned)


def stored(x: Tensor) -> str:
    """The type of a tensor's codes in the file."""
    return "uint8" if x.unsigned else "int8"


def clamp(quantization: Quantization, limits: Limits) -> tuple[int, int]:
    """Real limits as int8 values; ties round to even."""
    # An overflow is beyond all int8 values.
    with np.errstate(over="ignore"):
        steps = [np.float64(np.float32(limit) / np.float32(quantization.scale)) for limit in limits]
    low, high = (int(np.clip(np.rint(step) + quantization.zero_point, -128, 127)) for step in steps)
    return low, high


def is_exact(quantization: Quantization, limits: Limits) -> bool:
    """Whether clamped codes stand for the clamped real values: each limit is a code, or cuts nothing off."""
    for limit, last in zip(limits, (-128, 127), strict=True):
        if np.isfinite(limit):
            steps = np.float64(limit) / quantization.scale
            code = steps + quantization.zero_point
            free = code <= last if last < 0 else code >= last
            held = -128 <= np.rint(code) <= 127
            if not free and not (held and np.float32(np.rint(steps) * quantization.scale) == np.float32(limit)):
                return False
    return True


def has_code(quantization: Quantization, value: float) -> bool:
    """Whether a code stands exactly for a real value."""
    with np.errstate(over="ignore"):
        steps = np.rint(np.float32(value) / np.float32(quantization.scale))
    within = -128 <= steps + quantization.zero_point <= 127
    return bool(within and np.float32(steps) * np.float32(quantization.scale) == np.float32(value))


def to_float32(values: Array) -> Array:
    """The values as float32; infinite where they overflow."""
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)


def scaling(node: Node, scale: float) -> tuple[int, int]:
    """Multiplier and shift of a scale, which may have overflowed."""
    try:
        return golden.quantize_multiplier(scale)
    except ValueError as error:
        raise GraphError(f"{node}: its scales do not fit together ({error}); quantize the model anew") from None
