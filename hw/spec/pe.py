"""What each kind of processing element promises: the contract's numbers, without its gateware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BEAT_SETTING_BITS", "PE_KINDS", "WEIGHT_SETTING_BITS", "PeKind", "Precision", "Settings"]

BEAT_SETTING_BITS = 24
"""Of a layer's settings that go with its beats."""
WEIGHT_SETTING_BITS = 16
"""Of a layer's settings that go with its weights."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How precisely a layer is computed; what a kind of PE does not know of, it computes in full."""

    activation_bits: int = 8
    """Activations lie within −2^(bits − 1) to 2^(bits − 1) − 1; 1 to 8."""

    def __post_init__(self) -> None:
        if not 1 <= self.activation_bits <= 8:
            raise ValueError(f"activation_bits must be 1 to 8, not {self.activation_bits!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a precision is to one kind of PE, as its gateware takes it."""

    beats: int = 0
    """Goes with the beats, :data:`BEAT_SETTING_BITS` wide."""
    weights: int = 0
    """Goes with the weights, :data:`WEIGHT_SETTING_BITS` wide."""


@dataclass(frozen=True, kw_only=True)
class PeKind:
    """The numbers of one kind of PE that the array, the memories and the compiler know."""

    group: int = 1
    """Reduction elements that one PE covers per beat; shapes the layout of the weights."""
    latency: int
    """Cycles from an activation at the PE's input to the partial sum that holds its product at the PE's output."""
    feed: int = 0
    """Cycles from a beat's arrival to its first wave."""
    foot: int = 0
    """Cycles that the array's foot adds to a sum."""
    settings: Callable[[Precision], Settings] = lambda precision: Settings()
    """A layer's precision as settings."""
    beat_cycles: Callable[[Settings], int] = lambda settings: 1
    """Cycles per beat."""
    row_cycles: Callable[[Settings], int] = lambda settings: 1
    """Cycles in which one row of the tile takes its weights."""


PE_KINDS: dict[str, PeKind] = {
    "mac": PeKind(latency=5),
    "bitserial": PeKind(
        latency=2,
        feed=1,
        foot=1,
        settings=lambda precision: Settings(beats=precision.activation_bits),
        beat_cycles=lambda settings: settings.beats,
    ),
}
"""Every kind of processing element, by the name that :attr:`weft.hw.spec.config.Config.pe` takes."""
