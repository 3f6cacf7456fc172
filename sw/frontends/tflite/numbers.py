"""Real numbers of TensorFlow Lite's operators as integers: ranges of activations, and scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.file import RawOperator
from sateen.graph import GraphError, Tensor, require
from sateen.sim import golden

__all__ = ["clamp", "limits", "scaling"]

ACTIVATIONS: dict[int, tuple[float | None, float | None]] = {
    tflite.ActivationFunctionType.NONE: (None, None),
    tflite.ActivationFunctionType.RELU: (0.0, None),
    tflite.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
    tflite.ActivationFunctionType.RELU6: (0.0, 6.0),
}
"""The least and the largest real result of each fused activation."""


def clamp(operator: RawOperator, output: Tensor, activation: int) -> dict[str, Any]:
    """The range of a fused activation as codes of the output."""
    require(
        activation in ACTIVATIONS,
        operator,
        f"its fused activation {activation} is not supported; put it behind the operator",
    )
    return limits(output, *ACTIVATIONS[activation])


def limits(output: Tensor, least: float | None, largest: float | None) -> dict[str, Any]:
    """Real limits as fields ``low`` and ``high`` of an operator."""

    def quantized(value: float) -> int:
        # An overflow is beyond all codes.
        with np.errstate(over="ignore"):
            steps = np.float32(value) / np.float32(output.scale)
        return int(np.clip(np.copysign(np.floor(abs(float(steps)) + 0.5), steps) + output.zero_point, low, high))

    low, high = output.limits
    return {"low": low if least is None else quantized(least), "high": high if largest is None else quantized(largest)}


def scaling(operator: RawOperator, scale: float) -> tuple[int, int]:
    """Multiplier and shift of a scale, which may have overflowed."""
    try:
        return golden.quantize_multiplier(scale)
    except ValueError as error:
        raise GraphError(f"{operator}: its scales do not fit together ({error}); quantize the model anew") from None
