"""Operators that put a tensor's values in other places: any positions along the axes, blocks of pixels as channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.graph.ops.base import Array, Shape, Tensors, Unary, Values, is_int, require

__all__ = ["DepthToSpace", "Move", "SpaceToDepth", "Take", "Unfold", "require_places"]

LONGEST = 2**22
"""Places that are listed along an axis, at most: a list takes some forty times the memory of the values."""


def require_places(who: Any, *sizes: int) -> None:
    """A GraphError for axes that are too long for a :class:`Take`, before their places are listed."""
    for size in sizes:
        require(
            size <= LONGEST,
            who,
            f"it moves values along an axis of {size:,}, more than {LONGEST:,}; use a smaller model",
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Move(Unary):
    """What operators share that move values, of any type, without changing them."""

    def check_types(self, tensors: Tensors) -> None:
        """Accepts any type; the input's and the output's are equal."""
        self._check_same_quantization(tensors)


@dataclass(frozen=True, kw_only=True, eq=False)
class Take(Move):
    """The values at any positions along each axis but the first, in any order, also several times.

    It reverses, tiles and shuffles tensors, gathers parts of them, and pads them with their own values.
    """

    places: tuple[tuple[int, ...] | None, ...]
    """For each axis but the first the input's positions in the output's order; ``None``: the axis as it is."""

    def infer(self, tensors: Tensors) -> Shape:
        shape = tensors[self.input].shape
        fits = len(self.places) == len(shape) - 1
        require(fits, self, f"places must be those of {len(shape) - 1} axes, not of {len(self.places)}")
        for axis, (places, size) in enumerate(zip(self.places, shape[1:], strict=True), 1):
            good = places is None or len(places) > 0 and all(is_int(place, 0, size - 1) for place in places)
            require(good, self, f"its places along axis {axis} must be whole numbers from 0 to {size - 1}")
        return (
            shape[0],
            *(
                size if places is None else len(places)
                for size, places in zip(shape[1:], self.places, strict=True)
            ),
        )  # fmt: skip

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x = values[self.input]
        for axis, places in enumerate(self.places, 1):
            x = x if places is None else np.take(x, places, axis=axis)
        return x


@dataclass(frozen=True, kw_only=True, eq=False)
class _Blocks(Move):
    """What operators on blocks of pixels share."""

    size: int
    """Rows and columns of a block, 2 or more."""

    def __post_init__(self) -> None:
        require(is_int(self.size, 2, 65535), self, f"size must be a whole number of 2 or more, not {self.size!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaceToDepth(_Blocks):
    """Each block of pixels as one: y[h, w, (i·size + j)·C + c] = x[h·size + i, w·size + j, c]."""

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        batch, height, width, channels = x.shape
        good = height % self.size == width % self.size == 0
        require(good, self, f"rows and columns of {x}, {x.shape}, must be multiples of {self.size}")
        return (batch, height // self.size, width // self.size, channels * self.size**2)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x, (_, height, width, _) = values[self.input], tensors[self.output].shape
        blocks = x.reshape(len(x), height, self.size, width, self.size, -1).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(len(x), height, width, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthToSpace(_Blocks):
    """Each pixel as a block: y[h·size + i, w·size + j, c] = x[h, w, (i·size + j)·C + c], C being the output's channels.

    In the other order it is y[h·size + i, w·size + j, c] = x[h, w, c·size² + i·size + j].
    """

    blocks_first: bool = True
    """Whether the place in the block, not the output's channel, is the slower index of the input's channel."""

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        batch, height, width, channels = x.shape
        require(channels % self.size**2 == 0, self, f"channels of {x}, {x.shape}, must be a multiple of {self.size**2}")
        return (batch, height * self.size, width * self.size, channels // self.size**2)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        x = values[self.input]
        count, height, width, _ = x.shape
        if self.blocks_first:
            blocks = x.reshape(count, height, width, self.size, self.size, -1)
        else:
            blocks = x.reshape(count, height, width, -1, self.size, self.size).transpose(0, 1, 2, 4, 5, 3)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(count, height * self.size, width * self.size, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Unfold(Move):
    """What the columns of a window take of each row of an image, for every column of results, column by column:
    y[o, h, k·C + c] = x[h, o·stride − before + k·dilation, c]. Outside the image stands the zero point."""

    size: int
    """Columns of the window."""
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int] = (0, 0)
    """(before, after) the columns."""

    def __post_init__(self) -> None:
        for name in ("size", "stride", "dilation"):
            value = getattr(self, name)
            require(is_int(value, 1, 65535), self, f"{name} must be a whole number of 1 or more, not {value!r}")
        good = len(self.padding) == 2 and all(is_int(count, 0, 65535) for count in self.padding)
        require(good, self, f"padding must be two whole numbers of 0 or more, not {self.padding!r}")

    def check_types(self, tensors: Tensors) -> None:
        self._check_same_quantization(tensors)
        self._check_type(tensors[self.input], "int8")

    def infer(self, tensors: Tensors) -> Shape:
        x = self._image(tensors)
        batch, height, width, channels = x.shape
        columns = (width + sum(self.padding) - (self.size - 1) * self.dilation - 1) // self.stride + 1
        require(columns >= 1, self, f"a window of {self.size} columns does not fit the {width} of {x}")
        return (batch, columns, height, self.size * channels)

    def execute(self, tensors: Tensors, values: Values) -> Array:
        padding = ((0, 0), (0, 0), self.padding, (0, 0))
        x = np.pad(values[self.input], padding, constant_values=tensors[self.input].zero_point)
        first = np.arange(tensors[self.output].shape[1]) * self.stride
        taken = x[:, :, first[:, None] + np.arange(self.size) * self.dilation]
        return taken.transpose(0, 2, 1, 3, 4).reshape(len(x), *tensors[self.output].shape[1:])
