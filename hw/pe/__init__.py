"""Processing elements, behind one contract.

A PE holds one weight (a group of them, where :attr:`~weft.hw.spec.pe.PeKind.group` is above 1) and adds its product with each
activation to the partial sum that comes from the PE above. The array knows a PE by its numbers in
:data:`weft.hw.spec.pe.PE_KINDS` and by :class:`~weft.hw.pe.contract.PeSignature`. To add a kind: a module here with a
component of that signature, its line in :data:`KINDS` and in ``PE_KINDS``, and its test.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from amaranth.lib import wiring

__all__ = ["KINDS", "create"]

KINDS = {"mac": "weft.hw.pe.mac.Mac"}
"""Where the component of each kind is."""


def create(kind: str, **parameters: Any) -> wiring.Component:
    """A PE of a kind; ``parameters`` are those of :class:`~weft.hw.pe.contract.PeSignature` and ``multiplier``."""
    module, _, name = KINDS[kind].rpartition(".")
    return getattr(import_module(module), name)(**parameters)
