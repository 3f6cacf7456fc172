"""Sparse networks in few tiles of weights.

In: weights with zeros. Out: their packing into tiles whose PEs choose among several activations, an order of channels
that takes fewer tiles, and, with PyTorch, networks trained for such tiles (:mod:`sateen.sparsity.joint`, which needs
the extra ``train``). Read ``packing.py`` first.
"""

from sateen.sparsity.packing import Packing, Windows, arrangements, mask_to_fit, pack
from sateen.sparsity.permute import permute_channels

__all__ = ["Packing", "Windows", "arrangements", "mask_to_fit", "pack", "permute_channels"]
