"""Layer normalization of codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sateen.graph.ops.base import Array, Shape, Tensors, Unary, Values, require
from sateen.sim import golden

__all__ = ["LayerNorm"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerNorm(Unary):
    """A layer normalization over the last axis, or one by the root of the mean square, as onnxruntime computes it; see
    :func:`sateen.sim.golden.layer_norm`."""

    scale: NDArray[np.float32]
    """[n], one for each value of a row, like ``bias``."""
    bias: NDArray[np.float32]
    epsilon: float
    """Above 0."""
    centred: bool = True
    """Whether the mean is subtracted."""

    def __post_init__(self) -> None:
        good = np.isfinite(self.epsilon) and np.float32(self.epsilon) > 0
        require(bool(good), self, f"epsilon must be a finite number above 0, not {self.epsilon!r}")

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        least = golden.SHORTEST_ROW[self.centred]
        require(len(shape) > 1 and shape[-1] >= least, self, f"its rows must have {least} values or more, not {shape}")
        for name in ("scale", "bias"):
            given = getattr(self, name)
            good = given.dtype == np.float32 and given.shape == shape[-1:] and bool(np.isfinite(given).all())
            require(good, self, f"its {name} must be {shape[-1]} finite float32 numbers")
        return shape

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x, y = tensors[self.input], tensors[self.output]
        return golden.layer_norm(
            values[self.input], x.quantization, self.scale, self.bias, y.quantization, epsilon=self.epsilon,
            centred=self.centred,
        )  # fmt: skip
