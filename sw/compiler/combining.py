"""Column combining in the compiler: which kernels gain from tiles with selects, and why the others do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from sateen.compiler.lowering import Kernel
from sateen.hw.spec.config import Config
from sateen.hw.spec.descriptor import Dim
from sateen.hw.spec.pe import Precision
from sateen.quantize import fullest_group
from sateen.sparsity import Packing, pack

__all__ = ["Packer"]


class Packer:
    """Packs kernels; what is known of a matrix is kept, since stripes of a layer share theirs."""

    def __init__(self, config: Config):
        self.config = config
        self._known: dict[int, tuple[Kernel, list[Kernel]]] = {}

    def packed(self, kernel: Kernel) -> list[Kernel]:
        """The same kernel in fewer tiles, in no way or in several."""
        if self.config.combine == 1:
            return []
        key = id(kernel.weights)
        if key not in self._known:
            # The kernel is kept as well, so that no other array has its identity.
            self._known[key] = kernel, list(self._tried(kernel))
        same = ("reduction", "run", "group_stride", "weights", "packing")
        made = [
            dataclasses.replace(kernel, **{name: getattr(one, name) for name in same}) for one in self._known[key][1]
        ]
        return [dataclasses.replace(one, precision=_precision(one)) for one in made]

    def _tried(self, kernel: Kernel) -> Iterator[Kernel]:
        merged = _merged(kernel, self.config)
        for one in (kernel,) if merged is None else (kernel, merged):
            packing = self._pack(one)
            if packing is not None and one.reduction[0].count * packing.windows.tiles < kernel.tiles(self.config):
                yield dataclasses.replace(one, packing=packing)

    def _pack(self, kernel: Kernel) -> Packing | None:
        steps = kernel.weights.reshape(kernel.channels, -1, kernel.run)
        return pack(steps, self.config, passes=kernel.reduction[1].count == 1)

    def why_not(self, kernel: Kernel) -> str:
        """Why a kernel has no fewer tiles with selects."""
        tiles, share = kernel.tiles(self.config), kernel.nonzeros / kernel.weights.size
        return f"{share:.0%} of its weights are not zero, which takes all {tiles} tiles"


def _precision(kernel: Kernel) -> Precision:
    """A packed kernel's own, with every term of its weights: full groups have more than groups with zeros."""
    assert kernel.packing is not None
    terms = dataclasses.replace(kernel.precision.terms, weight_terms=fullest_group(kernel.packing.weights))
    return dataclasses.replace(kernel.precision, terms=terms)


def _merged(kernel: Kernel, config: Config) -> Kernel | None:
    """A depthwise kernel as a sparse one: each column takes its own channel of all pixels of a kernel row."""
    if kernel.filters is None:
        return None
    channels, kernel_y, kernel_x = kernel.filters.shape
    width = min(config.cols, kernel.depth)
    run = (kernel_x - 1) * kernel.depth + width
    weights = np.zeros((channels, kernel_y, 1, run), np.int8)
    numbers = np.arange(channels)
    for tap in range(kernel_x):
        weights[numbers, :, 0, tap * kernel.depth + numbers % config.cols] = kernel.filters[:, :, tap]
    reduction = (kernel.reduction[0], Dim(1, (0, 0)))
    return dataclasses.replace(kernel, reduction=reduction, run=run, group_stride=config.cols, weights=weights)
