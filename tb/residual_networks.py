"""Networks with residual connections: a convolution's result is added to the tensor before it, or to a shortcut's."""

from __future__ import annotations

import dataclasses

import numpy as np

from sateen.graph import Add, Graph, Tensor
from sateen.hw.spec.descriptor import Rounding
from sateen.testing.graphs import Builder

SAME = ((1, 1), (1, 1))
NONE = ((0, 0), (0, 0))


def residual_network(
    rng: np.random.Generator, shape: tuple[int, int, int], *, outputs: int | None = None, kernel: int = 3,
    stride: int = 1, swapped: bool = False, rounding: int = Rounding.DOUBLE, clamp: tuple[int, int] = (-128, 127),
    behind: bool = True, density: float = 1.0,
) -> Graph:  # fmt: skip
    """A layer, then a convolution whose result is added to the layer's; or, with ``outputs`` or a ``stride``, to a
    shortcut of 1×1. ``swapped``: the convolution is the sum's second operand. ``behind`` it comes another layer.
    Scales are random."""
    builder = Builder(shape, rng, density=density).conv2d(shape[2], (1, 1))
    before, channels = builder.last, outputs or shape[2]
    padding = SAME if kernel == 3 else NONE
    residual = before
    if outputs or stride > 1:
        residual = builder.conv2d(channels, (1, 1), stride=(stride, stride)).last
        builder.last = before
    builder.conv2d(channels, (kernel, kernel), stride=(stride, stride), padding=padding)
    total, place = builder.last, len(builder.ops)
    for tensor in (residual, total):
        # One in three scales is a power of two.
        scale = 2.0 ** -int(rng.integers(3, 7)) if rng.random() < 1 / 3 else float(rng.uniform(0.01, 0.2))
        builder.tensors[tensor.name] = dataclasses.replace(builder.tensors[tensor.name], scale=scale)
    operands = (residual.name, total.name) if swapped else (total.name, residual.name)
    y = Tensor(
        name=f"t{place}", shape=total.shape, scale=float(rng.uniform(0.02, 0.2)), zero_point=int(rng.integers(-99, 99))
    )
    builder.tensors[y.name] = builder.last = y
    low, high = clamp
    builder.ops.append(
        Add(name=f"op{place}", a=operands[0], b=operands[1], output=y.name, low=low, high=high, rounding=rounding)
    )  # fmt: skip
    if behind:
        builder.conv2d(8, (3, 3), padding=SAME)
    return builder.graph()
