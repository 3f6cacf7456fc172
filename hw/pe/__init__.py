"""Processing elements, behind one contract.

In: beats and words of weights from the tile. Out: partial sums below each column. A PE holds a weight, or those of a
group of reduction elements where :attr:`~sateen.hw.spec.pe.PeKind.group` is above 1, and adds its product with each
activation to the partial sum from the PE above. The tile knows a kind by its numbers in
:data:`sateen.hw.spec.pe.PE_KINDS` and by its :class:`~sateen.hw.pe.contract.PeArray`. Read
:mod:`~sateen.hw.pe.contract` first, then :mod:`~sateen.hw.pe.mac`.

To add a kind: a module here with an ``Array`` of that class, a line in :data:`KINDS` and one in ``PE_KINDS``, and its
test.
"""

from __future__ import annotations

from importlib import import_module

from amaranth.lib import data

from sateen.hw.pe.combine import Combined
from sateen.hw.pe.contract import PeArray
from sateen.hw.pe.shape import ArrayShape

__all__ = ["KINDS", "create"]

KINDS = {
    "mac": "sateen.hw.pe.mac",
    "packed": "sateen.hw.pe.packed",
    "bitserial": "sateen.hw.pe.bitserial",
    "balanced": "sateen.hw.pe.serial",
    "interleaved": "sateen.hw.pe.serial",
    "term": "sateen.hw.pe.term",
}
"""The module of each kind."""


def create(shape: ArrayShape, *, tag: data.Layout) -> PeArray:
    """An array, with column combining around it if there is any."""
    array: type[PeArray] = import_module(KINDS[shape.pe]).Array
    if shape.combine > 1 and shape.kind.group == 1:
        return Combined(array, shape, sum_bits=shape.sum_bits, tag=tag)
    return array(shape, sum_bits=shape.sum_bits, tag=tag)
