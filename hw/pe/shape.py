"""What an array of PEs is, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.utils import ceil_log2

from sateen.hw.spec.config import Config
from sateen.hw.spec.pe import PE_KINDS, PeKind, sliding_rows

__all__ = ["ArrayShape"]


@dataclass(frozen=True, kw_only=True)
class ArrayShape:
    """The numbers of an array of PEs, and of what enters it.

    Raises
    ------
    ValueError
        If a field is out of range; the message names it, what is allowed and what came.
    """

    rows: int
    """Of PEs, 1 or more."""
    cols: int
    """Of PEs, 1 or more."""
    pe: str = "mac"
    """Kind of PE."""
    weight_bits: int = 8
    """Width of the weights, within the kind's :attr:`~sateen.hw.spec.pe.PeKind.weight_bits`. Below 8, what is loaded
    keeps to that range. With 9, the weights are what is loaded less a zero point."""
    multipliers: int | None = None
    """PEs that may use hardware multipliers, as many whole rows, from the top; None for all."""
    combine: int = 1
    """Column combining: activations side by side in a row, 1 to 16; each weight selects one of them. Which those are
    for each row, :func:`sateen.hw.spec.pe.window` says."""
    weight_rows: int = 1
    """Rows whose weights are loaded in one cycle: a divisor of ``rows``; above 1 only for kinds of one element a PE,
    without ``combine``."""
    weights_per_byte: int = 1
    """Weights in a byte, of as many neighbouring rows, the first one in the lowest bits: a divisor of ``weight_rows``,
    1, 2 or 4, of at most 8 bits together."""
    activation_bits: int = 8
    """Width of the activations: 8, or 9 where the feeder subtracts their zero point."""
    window_rows: int | None = None
    """Rows over which windows slide, the last ones, at most; None: all that can."""
    window_skip: int = 0
    """Beats that samples may be kept before each of the :func:`~sateen.hw.spec.pe.skip_rows`, a power of two; 0: none.
    How many they are is in the beats' settings (:data:`~sateen.hw.spec.pe.SKIP_BIT`). Only where windows slide over 3
    rows or more, without ``combine``."""

    @classmethod
    def of(cls, config: Config) -> ArrayShape:
        """That of a device."""
        return cls(
            rows=config.rows, cols=config.cols, pe=config.pe, weight_bits=config.weight_bits,
            multipliers=config.multipliers, combine=config.combine, weight_rows=config.loaded_rows,
            weights_per_byte=config.weights_per_byte, activation_bits=config.activation_bits,
            window_rows=config.window_rows, window_skip=config.window_skip,
        )  # fmt: skip

    def __post_init__(self) -> None:
        for name, value in (("rows", self.rows), ("cols", self.cols)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        if self.pe not in PE_KINDS:
            raise ValueError(f"pe must be one of {', '.join(PE_KINDS)}, not {self.pe!r}")
        low, high = self.kind.weight_bits
        if not low <= self.weight_bits <= high:
            allowed = f"{low} to {high}" if low < high else f"{low} with pe={self.pe}"
            raise ValueError(f"weight_bits must be {allowed}, not {self.weight_bits!r}")
        if not 0 <= self.hardware <= self.rows * self.cols:
            raise ValueError(
                f"multipliers must be 0 to {self.rows * self.cols} (rows × cols), not {self.multipliers!r}"
            )
        if self.cols % self.kind.columns:
            raise ValueError(f"cols must be a multiple of {self.kind.columns} with pe={self.pe}, not {self.cols!r}")
        if not 1 <= self.combine <= 16:
            raise ValueError(f"combine must be 1 to 16, not {self.combine!r}")
        if self.combine > 1 and self.kind.columns > 1:
            raise ValueError(f"combine must be 1 with pe={self.pe}, not {self.combine!r}")
        self._check_loading()
        self._check_windows()
        if self.activation_bits != 8 and not (self.activation_bits == 9 and self._multiplies_differences):
            raise ValueError(
                "activation_bits must be 8, or 9 with pe=mac, weight_bits=9, combine=1 and a multiplier for each PE, "
                f"not {self.activation_bits!r}"
            )

    def _check_loading(self) -> None:
        value, several = self.weight_rows, self.combine == 1 and self.kind.group == 1
        if value < 1 or self.rows % value or (value > 1 and not several):
            raise ValueError(
                f"weight_rows must be a divisor of rows ({self.rows}), and 1 with combine or pe=term, not {value!r}"
            )
        whole = self.weights_per_byte in (2, 4) and self.weight_rows % self.weights_per_byte == 0
        if self.weights_per_byte != 1 and not (whole and self.weights_per_byte * self.weight_bits <= 8):
            raise ValueError(
                f"weights_per_byte must be 1, or 2 or 4, a divisor of weight_rows ({self.weight_rows}), with at most "
                f"8 bits of weights in a byte, not {self.weights_per_byte!r}"
            )

    def _check_windows(self) -> None:
        if self.window_rows is not None and not 0 <= self.window_rows <= self.rows:
            raise ValueError(f"window_rows must be 0 to {self.rows} (rows), not {self.window_rows!r}")
        if self.window_skip and not (self.combine == 1 and self.sliding_rows >= 3):
            raise ValueError(
                "window_skip must be 0 without combine=1 and 3 rows over which windows slide, not "
                f"{self.window_skip!r}"
            )

    @property
    def _multiplies_differences(self) -> bool:
        """Whether its PEs could take activations of 9 bits."""
        whole = self.hardware == self.rows * self.cols
        return self.pe == "mac" and self.combine == 1 and self.weight_bits == 9 and whole

    @property
    def kind(self) -> PeKind:
        """The numbers of its kind of PE."""
        return PE_KINDS[self.pe]

    @property
    def hardware(self) -> int:
        """PEs that may use hardware multipliers."""
        return self.rows * self.cols if self.multipliers is None else self.multipliers

    @property
    def sliding_rows(self) -> int:
        """Rows over which windows slide, the last ones: none whose PEs share multipliers."""
        if not self.kind.sliding:
            return 0
        shared = self.hardware // self.cols
        return sliding_rows(self.kind, rows=self.rows, shared=shared, window_rows=self.window_rows)

    @property
    def sum_bits(self) -> int:
        """Width of the sums below the array. A weight of 9 bits is the difference of two bytes, hence -255 or more: its
        product has 16 bits, too."""
        return self.activation_bits + min(8, self.weight_bits) + ceil_log2(self.rows * self.kind.group)
