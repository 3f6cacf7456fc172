"""Column combining: packs sparse kernels in tiles with selects, and says why others gain nothing from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from sateen.compiler.lowering import Kernel
from sateen.hw.spec.config import Config
from sateen.hw.spec.nests import Dim
from sateen.hw.spec.pe import Precision
from sateen.quantize import fullest_group
from sateen.sparsity import Packing, pack

__all__ = ["Packer"]


class Packer:
    """Packs kernels. Packings are kept by their weights, since the stripes of a layer share them."""

    def __init__(self, config: Config):
        self.config = config
        self._packings: dict[int, tuple[Kernel, list[Kernel]]] = {}

    def packed(self, kernel: Kernel) -> list[Kernel]:
        """Kernels that compute the same in fewer tiles; there may be none, or several."""
        if self.config.combine == 1 or kernel.stacked:
            return []
        key = id(kernel.weights)
        if key not in self._packings:
            # The kernel is kept as well, so that no other array gets its identity.
            self._packings[key] = kernel, list(self._smaller(kernel))
        fields = ("reduction", "run_length", "group_stride", "weights", "packing")
        packed = [
            dataclasses.replace(kernel, **{name: getattr(packed, name) for name in fields})
            for packed in self._packings[key][1]
        ]
        return [dataclasses.replace(kernel, precision=_precision(kernel)) for kernel in packed]

    def _smaller(self, kernel: Kernel) -> Iterator[Kernel]:
        sparse = _depthwise_as_sparse(kernel, self.config)
        for candidate in (kernel,) if sparse is None else (kernel, sparse):
            packing = self._pack(candidate)
            tiles = kernel.tiles(self.config)
            if packing is not None and candidate.reduction[0].count * packing.windows.tiles < tiles:
                yield dataclasses.replace(candidate, packing=packing)

    def _pack(self, kernel: Kernel) -> Packing | None:
        steps = kernel.weights.reshape(kernel.channels, -1, kernel.run_length)
        return pack(steps, self.config, passes=kernel.reduction[1].count == 1)

    def why_not(self, kernel: Kernel) -> str:
        """Why selects do not save tiles for a kernel."""
        if kernel.stacked:
            return "its weights are multiplied in parts"
        tiles, share = kernel.tiles(self.config), kernel.nonzeros / kernel.weights.size
        return f"{share:.0%} of its weights are not zero, which takes all {tiles} tiles"


def _precision(kernel: Kernel) -> Precision:
    """A packed kernel's precision, which keeps every term of its weights: full groups have more than sparse ones."""
    assert kernel.packing is not None
    terms = dataclasses.replace(kernel.precision.terms, weight_terms=fullest_group(kernel.packing.weights))
    return dataclasses.replace(kernel.precision, terms=terms)


def _depthwise_as_sparse(kernel: Kernel, config: Config) -> Kernel | None:
    """A depthwise kernel as a sparse one: each column takes its own channel of all pixels of a kernel row."""
    if kernel.filters is None or len(kernel.filters) > 1:
        return None
    filters = kernel.filters[0]
    channels, kernel_y, kernel_x = filters.shape
    width = min(config.cols, kernel.depth)
    length = (kernel_x - 1) * kernel.depth + width
    weights = np.zeros((channels, kernel_y, 1, length), filters.dtype)
    channel = np.arange(channels)
    for tap in range(kernel_x):
        weights[channel, :, 0, tap * kernel.depth + channel % config.cols] = filters[:, :, tap]
    reduction = (kernel.reduction[0], Dim(1, (0, 0)))
    return dataclasses.replace(
        kernel, reduction=reduction, run_length=length, group_stride=config.cols, weights=weights
    )
