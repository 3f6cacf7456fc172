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
from typing import Any

from amaranth.lib import data

from sateen.hw.pe.combine import Combined
from sateen.hw.pe.contract import PeArray
from sateen.hw.spec.pe import PE_KINDS

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


def create(
    kind: str,
    *,
    rows: int,
    cols: int,
    weight_bits: int,
    sum_bits: int,
    multipliers: int,
    combine: int,
    activation_bits: int = 8,
    weight_rows: int = 1,
    weights_per_byte: int = 1,
    window_rows: int | None = None,
    tag: data.Layout,
) -> PeArray:
    """The array of a kind, with column combining around it if ``combine`` is above 1."""
    array: type[PeArray] = import_module(KINDS[kind]).Array
    numbers: dict[str, Any] = {
        "rows": rows,
        "cols": cols,
        "weight_bits": weight_bits,
        "sum_bits": sum_bits,
        "multipliers": multipliers,
        "inputs": combine,
        "activation_bits": activation_bits,
        "weight_rows": weight_rows,
        "weights_per_byte": weights_per_byte,
        "window_rows": window_rows,
        "tag": tag,
    }
    of_kind = PE_KINDS[kind]
    return Combined(array, of_kind, **numbers) if combine > 1 and of_kind.group == 1 else array(of_kind, **numbers)
