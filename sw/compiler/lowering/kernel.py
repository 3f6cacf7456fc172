"""Kernels: the form in which the hardware computes every operator, except those by tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sateen.compiler.lowering.zero_points import Weights, zero_point
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.nests import Dim
from sateen.hw.spec.parameters import BIAS_BYTES, SCALE_BYTES
from sateen.hw.spec.pe import Precision
from sateen.hw.spec.recurrent import Recurrent
from sateen.hw.spec.residual import Sum
from sateen.sparsity import Packing, Windows

__all__ = ["ONCE", "Kernel", "diagonal", "parameter_words", "parameters", "repeated", "split"]

FULL = Precision()
ONCE = (Dim(1, (0, 0)), Dim(1, (0, 0)))
"""A nest of one position."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A convolution over lines of bytes, whose results may be pooled. The hardware computes every operator as kernels,
    except those by tables.

    Coordinates are (row, x): lines of the input, and bytes within a line.
    """

    height: int
    """Lines of the input."""
    width: int
    """Bytes of a line."""
    out: tuple[int, int]
    """Rows and columns of results."""
    channels: int
    """Output channels."""
    origin: tuple[int, int]
    """Coordinates of the first byte of the first window; negative in padding."""
    stride: tuple[int, int]
    """Change of row from result to result downwards, and change of x to the right."""
    pooling: tuple[Dim, Dim]
    """Positions that are pooled into one result, with strides of (row, x)."""
    reduction: tuple[Dim, Dim]
    """Kernel rows and columns, with strides of (row, x)."""
    run_length: int
    """Consecutive bytes that each step of the reduction takes."""
    group_stride: int
    """Change of x from one group of output channels to the next."""
    padding: int
    """int8 value."""
    weights: Weights
    """[channels, kernel rows, kernel columns, run_length]."""
    parameters: NDArray[np.uint8]
    """[channels, PARAMETER_BYTES]."""
    zero_point: int
    low: int
    high: int
    rounding: int
    flat: bool = False
    """All lines form one. Padding is only before the first line and after the last."""
    source: int = 0
    """Which of the operator's inputs it reads; behind the last one are its own results."""
    target: int = 0
    """Offset of the first result, in bytes of the output."""
    spacing: tuple[int, int] | None = None
    """Bytes from result to result, down and right; ``None``: the results fill the output without gaps."""
    precision: Precision = FULL
    filters: Weights | None = None
    """[parts, channels, kernel rows, kernel columns], if each output channel depends only on the input channel of the
    same index, without dilation. The weights are the sum of the parts."""
    filter_step: int = 0
    """Change of x from one part of the filters to the next."""
    depth: int = 1
    """Bytes of a pixel, if there are ``filters``."""
    parts: int = 1
    """Parts into which the weights are cut because the PEs do not hold them, see :func:`weight_parts`."""
    stacked: bool = False
    """All tiles of a run take its first bytes, each with the next ``tile_depth`` of the weights: one tile a part. The
    ``run_length`` counts all of them."""
    zero_points: tuple[int, int] | None = None
    """Those of the input and of another tensor that takes the place of the weights at run time: both are subtracted.
    The weights are zeros then, and no bias holds the input's zero point."""
    normalized: bool = False
    """Sums are scaled by the inverse root of the input's sum of squares, and by 2^shift."""
    recurrent: Recurrent | None = None
    """What becomes of the sums in place of results; all groups of channels are in one pass then."""
    residual: Sum | None = None
    """How each result and a byte of another tensor become one."""
    apart: int = 0
    """How many bytes behind each result that byte stands; known once both tensors have their places."""
    packing: Packing | None = None
    """The weights in tiles with selects; ``None``: a tile for each ``tile_depth`` bytes of a run."""

    @property
    def result_steps(self) -> tuple[int, int]:
        """Bytes from result to result in the output, down and right."""
        return self.spacing or (self.out[1] * self.channels, self.channels)

    @cached_property
    def weights_zero_point(self) -> int:
        """The byte that stands for a weight of 0 in the weight store."""
        return zero_point(self.weights) if self.zero_points is None else self.zero_points[1]

    @property
    def nonzeros(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.weights))

    def windows(self, config: Config) -> Windows:
        """The tiles of each step of the reduction: how many bytes each takes, and where they begin."""
        if self.packing:
            return self.packing.windows
        return Windows(1, -(-self.run_length // config.tile_depth), 0 if self.stacked else config.tile_depth)

    def tiles(self, config: Config) -> int:
        """Number of tiles of weights, for all groups of channels."""
        return (
            -(-self.channels // config.cols)
            * math.prod(dim.count for dim in self.reduction)
            * self.windows(config).tiles
        )

    def group_words(self, config: Config) -> int:
        """Words of one group's weights, with selects where there are any, without the channels' parameters."""
        words = config.tile_words + (config.select_words if self.packing else 0)
        return math.prod(dim.count for dim in self.reduction) * self.windows(config).tiles * words

    @property
    def span(self) -> tuple[int, int]:
        """(row, x) from the first byte of the first window to that of the last run of the last window."""
        steps: list[tuple[int, tuple[int, ...]]] = [
            (self.out[0], (self.stride[0], 0)),
            (self.out[1], (0, self.stride[1])),
        ]
        steps += [(dim.count, dim.strides) for dim in (*self.reduction, *self.pooling)]
        rows, x = (sum((count - 1) * abs(step[axis]) for count, step in steps) for axis in (0, 1))
        return rows, x

    @property
    def pool_size(self) -> int:
        """Positions that are pooled into one result."""
        return self.pooling[0].count * self.pooling[1].count


def split(length: int, limit: int) -> Iterator[tuple[int, int, int]]:
    """Splits ``length`` into equal parts of at most ``limit`` and a rest: (start, size of a part, number of parts)."""
    size = min(length, limit)
    count = length // size
    yield 0, size, count
    if length % size:
        yield count * size, length % size, 1


def parameters(bias: ArrayLike, multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.uint8]:
    """Encodes channels' parameters for the weight store: [channels, PARAMETER_BYTES]. The bias wraps to 32 bits."""
    columns = (
        np.asarray(bias).astype("<i8").astype("<i4"),
        np.asarray(multiplier).astype("<i4"),
        np.asarray(shift).astype("i1"),
    )
    return np.hstack([column.view(np.uint8).reshape(len(column), -1) for column in columns])


def parameter_words(kernel: Kernel, config: Config) -> NDArray[np.int8]:
    """Words of all groups' parameters: [groups, config.parameter_words, cols]. Columns without a channel get the first
    group's scales."""
    groups = -(-kernel.channels // config.cols)
    words = np.zeros((groups * config.cols, config.parameter_words), np.uint8)
    words[: kernel.channels, :BIAS_BYTES] = kernel.parameters[:, :BIAS_BYTES]
    words[: kernel.channels, -SCALE_BYTES:] = kernel.parameters[:, BIAS_BYTES:]
    if groups > 1:
        missing = np.arange(kernel.channels, len(words))
        words[missing, -SCALE_BYTES:] = words[missing % config.cols, -SCALE_BYTES:]
    return words.view(np.int8).reshape(groups, config.cols, -1).transpose(0, 2, 1)


def repeated(words: NDArray[np.int8], config: Config) -> tuple[bool, bool]:
    """Of all groups' :func:`parameter_words`, whether scales, and whether biases as well, are the same in all groups,
    and stand behind the first one alone."""
    scales, biases = words[:, -SCALE_BYTES:], words[:, :BIAS_BYTES]
    one_scale = len(words) > 1 and bool((scales == scales[0]).all())
    return one_scale, one_scale and bool(config.products) and bool((biases == biases[0]).all())


def diagonal(
    weights: Weights, image: tuple[int, int, int], out: tuple[int, int], config: Config, *, outputs: int = 1,
    stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), origin: tuple[int, int, int] = (0, 0, 0),
    padding: int = 0, bias: ArrayLike = 0, multiplier: ArrayLike = 1 << 30, shift: ArrayLike = 1, zero_point: int = 0,
    low: int = -128, high: int = 127, rounding: int = Rounding.DOUBLE, pooling: tuple[Dim, Dim] = ONCE,
) -> Kernel:  # fmt: skip
    """A kernel that computes ``outputs`` channels from each input channel, on the tile's diagonal. ``outputs`` must
    divide ``cols``, or there is one group.

    Parameters
    ----------
    weights
        [output channels, kernel rows, kernel columns].
    image
        Height, width and channels of the input.
    origin
        Row, column and channel of the first window.
    bias, multiplier, shift
        One for each channel, or one for all. The default is a scale of exactly 1.
    """
    height, columns, depth = image
    channels, kernel_y, kernel_x = weights.shape
    run_length = min(config.cols // outputs, depth) or 1
    channel = np.arange(channels)
    sparse = np.zeros((channels, kernel_y, kernel_x, run_length), weights.dtype)
    sparse[channel, :, :, channel % config.cols // outputs] = weights
    values = [np.broadcast_to(np.asarray(value, np.int64), channels) for value in (bias, multiplier, shift)]
    return Kernel(
        height=height,
        width=columns * depth,
        out=out,
        channels=channels,
        origin=(origin[0], origin[1] * depth + origin[2]),
        stride=(stride[0], stride[1] * depth),
        pooling=pooling,
        reduction=(Dim(kernel_y, (dilation[0], 0)), Dim(kernel_x, (0, dilation[1] * depth))),
        run_length=run_length,
        group_stride=config.cols // outputs,
        padding=padding,
        weights=sparse,
        parameters=parameters(*values),
        zero_point=zero_point,
        low=low,
        high=high,
        rounding=rounding,
        filters=weights[None] if outputs == 1 and pooling == ONCE and dilation == (1, 1) and min(stride) > 0 else None,
        depth=depth,
    )
