"""Nests of counters: how memory is accessed in the loop of a layer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ACTIVATION_DIMS", "CHANNELS_DIM", "CHUNK_DIM", "COUNT_BITS", "OUTPUT_DIMS", "X_DIM", "Y_DIM", "Dim", "steps",
]  # fmt: skip

ACTIVATION_DIMS = ("block", "channels", "kernel_y", "kernel_x", "chunk", "y", "x", "window_y", "window_x")
"""Counters of the activation stream, outermost first. Those up to ``chunk`` select a tile of weights, the others a
position."""
CHUNK_DIM = ACTIVATION_DIMS.index("chunk")
"""The innermost counter that selects a tile of weights; those inside it walk over positions."""
Y_DIM, X_DIM = ACTIVATION_DIMS.index("y"), ACTIVATION_DIMS.index("x")
CHANNELS_DIM = ACTIVATION_DIMS.index("channels")
"""The innermost counter that selects a half of the accumulators, in both streams."""
OUTPUT_DIMS = ("block", "channels", "y", "x")
"""Counters of the output stream, outermost first."""
COUNT_BITS = 16
"""Width of a counter's ``count`` in a descriptor."""


@dataclass(frozen=True)
class Dim:
    """One counter of a nest: it takes ``count`` values, 1 to 65535, and each adds ``strides`` to the coordinates."""

    count: int = 1
    strides: tuple[int, ...] = (0, 0, 0)


def steps(dims: list[Dim]) -> list[tuple[int, ...]]:
    """By how much the coordinates change when a counter advances and all inner ones return to zero; outermost first."""
    result = []
    for index, dim in enumerate(dims):
        inner = dims[index + 1 :]
        result.append(
            tuple(
                stride - sum((other.count - 1) * other.strides[axis] for other in inner)
                for axis, stride in enumerate(dim.strides)
            )
        )
    return result
