"""ONNX's windows over images and rows: convolutions' and pools'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sateen.frontends.onnx.file import Node
from sateen.graph import Tensor, require

__all__ = ["Window"]

MOST = 65535
"""Limit on all sizes of a window."""
SAME = ("SAME_UPPER", "SAME_LOWER")
"""Values of ``auto_pad`` by which a result has as many windows as strides fit."""


@dataclass(frozen=True)
class Window:
    """What an operator says of its windows over images: pairs (y, x). Over rows (N, C, L), which are images with one
    row, it says one number of each."""

    node: Node
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    auto_pad: str
    pads: tuple[int, ...]
    """(top, left, bottom, right)."""
    ceil_mode: bool
    """Whether the last window may reach beyond the image."""

    @classmethod
    def read(cls, node: Node, size: tuple[int, ...]) -> Window:
        """The attributes of an operator with a kernel of this size."""
        axes = len(size)
        good = axes in (1, 2)
        require(good, node, f"its kernel must have one axis or two, not {size}; only rows and images are supported")
        require(min(size) > 0, node, f"its kernel's sizes must be 1 or more, not {size}")
        stride, dilation = node.get("strides", (1,) * axes), node.get("dilations", (1,) * axes)
        good = len(stride) == len(dilation) == axes and min(dilation) > 0
        require(good, node, f"its strides {stride} or dilations {dilation} do not fit its kernel {size}")
        require(min(stride) > 0, node, f"its strides must be 1 or more, not {stride}")
        auto, pads = node.get("auto_pad"), node.get("pads", (0, 0) * axes)
        require(auto in ("NOTSET", "VALID", *SAME), node, f"its auto_pad {auto!r} is not supported")
        good = len(pads) == 2 * axes and min(pads) >= 0
        require(good, node, f"its pads must be {2 * axes} numbers of 0 or more, not {pads}")
        small = max(*size, *stride, *dilation, *pads) <= MOST
        require(small, node, f"its kernel, strides, dilations or pads are larger than {MOST:,}, as no device has them")
        # In pools automatic padding replaces what pads are beside it; onnxruntime refuses other layers that state both.
        alone = auto == "NOTSET" or not any(pads) or "Conv" not in node.kind
        require(alone, node, f"it states pads {pads} beside its auto_pad {auto!r}; export the model with one of them")
        pads = pads if auto == "NOTSET" else (0, 0) * axes
        if axes == 1:
            size, stride, dilation, pads = (1, *size), (1, *stride), (1, *dilation), (0, pads[0], 0, pads[1])
        return cls(node, size, stride, dilation, auto, pads, bool(node.get("ceil_mode", 0)))

    def fields(self, x: Tensor) -> dict[str, Any]:
        """Stride, dilation and padding over an image (N, H, W, C)."""
        return {"stride": self.stride, "dilation": self.dilation, "padding": self._padding(x.shape[1:3])}

    def beyond(self, x: Tensor) -> tuple[int, ...]:
        """How many rows and columns ``ceil_mode`` adds behind the padding of an image that the file states."""
        behind = (pair[1] for pair in self._padding(x.shape[1:3]))
        given = self.pads[2:] if self.ceil_mode and self.auto_pad not in SAME else None
        return (0, 0) if given is None else tuple(all_ - each for all_, each in zip(behind, given, strict=True))

    def _padding(self, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """((top, bottom), (left, right))."""
        extents = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.size, strict=True))
        axes = list(zip(sizes, extents, self.stride, strict=True))
        if self.auto_pad in SAME:
            totals = [max((-(-size // step) - 1) * step + extent - size, 0) for size, extent, step in axes]
            upper = self.auto_pad == "SAME_UPPER"
            return tuple((t // 2, t - t // 2) if upper else (t - t // 2, t // 2) for t in totals)
        pairs = [(self.pads[0], self.pads[2]), (self.pads[1], self.pads[3])]
        for axis, (size, extent, step) in enumerate(axes if self.ceil_mode else ()):
            before, after = pairs[axis]
            count = -(-(size + before + after - extent) // step) + 1
            # A window that begins behind the image does not count.
            count -= (count - 1) * step >= size + before
            pairs[axis] = (before, max(after, (count - 1) * step + extent - size - before))
        return tuple(pairs)
