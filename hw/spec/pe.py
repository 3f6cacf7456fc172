"""What each kind of processing element promises: the contract's numbers, without its gateware."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PE_KINDS", "PeKind"]


@dataclass(frozen=True, kw_only=True)
class PeKind:
    """The numbers of one kind of PE that the array, the memories and the compiler know."""

    group: int
    """Reduction elements that one PE covers per beat; shapes the layout of the weights."""
    cycles: int
    """Cycles per beat."""
    latency: int
    """Cycles from an activation at the PE's input to the partial sum that holds its product at the PE's output."""


PE_KINDS: dict[str, PeKind] = {
    "mac": PeKind(group=1, cycles=1, latency=5),
}
"""Every kind of processing element, by the name that :attr:`weft.hw.spec.config.Config.pe` takes."""
