"""Means of whole images, where windows slide: all groups of channels in one part of the accumulators, so that none
waits for the latency of another one's."""

from __future__ import annotations

import dataclasses

import numpy as np

from sateen.compiler import sliding
from sateen.compiler.lowering import Kernel
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Descriptor
from sateen.hw.spec.nests import CHANNELS_DIM, Y_DIM, Dim

__all__ = ["WALK", "descriptor", "together"]

WALK = sliding.Walk(outer=0, results=1, kernel_steps=1)
"""A part of the image's pixels for each tile of weights."""


def together(kernel: Kernel, config: Config) -> Kernel | None:
    """The kernel of the first group of channels, whose image is cut into lines that the tile's rows hold.

    ``None`` unless there is but one result, and all groups are treated alike, as in the mean of an image.
    """
    cols, groups = config.cols, kernel.channels // config.cols
    if kernel.out != (1, 1) or kernel.channels % cols or not 1 < groups <= config.positions:
        return None
    if not sliding.supports(kernel, config) or kernel.filters is None or len(kernel.filters) > 1 or kernel.residual:
        return None
    filters, parameters = (each.reshape(groups, cols, -1) for each in (kernel.filters[0], kernel.parameters))
    whole = kernel.origin == (0, 0) and kernel.filters.shape[2:] == (kernel.height, kernel.width // kernel.depth)
    if not whole or (filters != filters[0]).any() or (parameters != parameters[0]).any():
        return None
    pixels = filters.shape[2]
    lines = -(-pixels // config.sliding_rows)
    beats = -(-pixels // lines)
    # Behind the last pixel come others, with weights of 0.
    cut = np.pad(filters[0], ((0, 0), (0, lines * beats - pixels))).reshape(1, cols, lines, beats)
    return dataclasses.replace(
        kernel, height=lines, width=beats * kernel.depth, channels=cols, filters=cut, parameters=parameters[0],
        spacing=kernel.result_steps,
    )  # fmt: skip


def descriptor(kernel: Kernel, config: Config, *, groups: int, source: int, target: int) -> Descriptor:
    """The descriptor of a kernel of :func:`together`. For each line, one group of channels follows another."""
    (d,) = sliding.descriptors(kernel, config, WALK, source=source, target=target, groups=(0, 1))
    assert d.activations.sliding is not None
    read, written = list(d.activations.dims), list(d.output.dims)
    read[Y_DIM], written[CHANNELS_DIM + 1] = Dim(groups, (0, config.cols, config.cols)), Dim(groups, (config.cols,))
    every = dataclasses.replace(d.activations.sliding, step_y=1)
    activations = dataclasses.replace(d.activations, dims=tuple(read), sliding=every)
    return dataclasses.replace(d, activations=activations, output=dataclasses.replace(d.output, dims=tuple(written)))
