"""The kinds of processing element, in numbers: what the rest of the machine relies on, without their gateware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "ACTIVATION_POINT_BIT",
    "BEAT_SETTING_BITS",
    "PE_KINDS",
    "SELECTS_BIT",
    "SERIAL_BITS",
    "SKIP_BIT",
    "SKIP_BITS",
    "TERM_BEATS",
    "TERM_GROUP",
    "TERM_SLOTS",
    "TERM_WEIGHTS",
    "WEIGHT_SETTING_BITS",
    "ZERO_POINT_BIT",
    "Encoding",
    "PeKind",
    "Precision",
    "Settings",
    "TermBudget",
    "TermFields",
    "sample_ages",
    "select_bits",
    "skip_rows",
    "sliding_rows",
    "window",
]

BEAT_SETTING_BITS = 22
"""Width of the layer settings that travel with the beats."""
WEIGHT_SETTING_BITS = 24
"""Width of the layer settings that travel with the weights."""
SELECTS_BIT = 15
"""Bit of the weights' settings: a word of selects precedes the words of weights that it is for, see
:func:`select_bits`."""
ACTIVATION_POINT_BIT = 14
"""Lowest bit of the activations' zero point in the settings of their beats, int8, where a tile subtracts it: the
weights are another tensor then, so that no bias can."""
SKIP_BIT, SKIP_BITS = 8, 6
"""Lowest bit and width of the beats that windows skip in the settings of their beats, see :func:`sample_ages`."""
ZERO_POINT_BIT = 16
"""Lowest bit of the weights' zero point in their settings, int8: see
:attr:`sateen.hw.spec.descriptor.WeightStream.zero_point`."""


def window(row: int, *, rows: int, combine: int) -> list[int]:
    """The bytes of a beat that a row of weights can select where columns are combined, by select. ``rows`` counts rows
    of weights: rows of PEs times the elements of each.

    With select 0 the rows see the beginning of the beat, as without selects. The bytes of further selects are shifted
    by 1, 3, 6, … rows: so bytes that are a multiple of ``rows`` apart, as the pixels of a kernel row often are, reach
    different rows, and bytes that share a row in one window do not in the next.
    """
    return [select * rows + (row - select * (select + 1) // 2) % rows for select in range(combine)]


def sliding_rows(kind: PeKind, *, rows: int, shared: int, window_rows: int | None) -> int:
    """Of ``rows`` those over which windows slide, the last ones: at most ``window_rows``, and where PEs share
    multipliers, none of the first ``shared``."""
    able = rows - (shared if kind.columns > 1 else 0)
    return able if window_rows is None else min(able, window_rows)


def skip_rows(rows: int) -> tuple[int, int]:
    """Of the rows over which windows slide, those before which samples are kept for some beats: three lines of a window
    have as many rows each."""
    return rows // 3, 2 * (rows // 3)


def sample_ages(rows: int, skip: int) -> list[int]:
    """Where windows slide, how many beats before the last one the sample was that each row has. They are consecutive,
    but that ``skip`` beats are left out before each of the :func:`skip_rows`."""
    return [row + skip * sum(row >= first for first in skip_rows(rows)) for row in range(rows)]


def select_bits(combine: int) -> int:
    """Width of a select. Each byte of a word of selects holds those of ``8 // select_bits`` rows, lowest bits first."""
    return (combine - 1).bit_length()


class Encoding(IntEnum):
    """How a magnitude becomes terms ±2^e; a negative number's terms are those of its magnitude, negated."""

    HESE = 0
    """By neighbouring bits, in parallel: a run of ones becomes 2^(top + 1) − 2^bottom, a single one stays."""
    NAF = 1
    """Non-adjacent form: the fewest terms possible."""
    BINARY = 2
    """The magnitude's bits. For comparison only; the hardware has the other two."""


@dataclass(frozen=True, kw_only=True)
class TermBudget:
    """How many terms a layer keeps.

    Raises
    ------
    ValueError
        If a field is out of range.
    """

    group: int = 8
    """g: weights of consecutive input channels that share a budget, 1 to 16."""
    weight_terms: int = 32
    """k: terms that a group of weights keeps, 1 to 256."""
    data_terms: int = 4
    """s: terms that an activation keeps, 1 to 8."""
    encoding: Encoding = Encoding.NAF

    def __post_init__(self) -> None:
        for name, most in (("group", 16), ("weight_terms", 256), ("data_terms", 8)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
        if self.encoding not in set(Encoding):
            raise ValueError(f"encoding must be one of {', '.join(e.name for e in Encoding)}, not {self.encoding!r}")

    @property
    def pairs(self) -> int:
        """Term pairs that a group's product takes at most: k · s."""
        return self.weight_terms * self.data_terms


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How precisely a layer is computed. A kind of PE ignores what it does not support and computes exactly."""

    activation_bits: int = 8
    """Activations lie within −2^(bits − 1) to 2^(bits − 1) − 1; 1 to 8."""
    terms: TermBudget = TermBudget()
    """The default keeps every term."""

    def __post_init__(self) -> None:
        if not 1 <= self.activation_bits <= 8:
            raise ValueError(f"activation_bits must be 1 to 8, not {self.activation_bits!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A precision as one kind of PE's gateware takes it."""

    beats: int = 0
    """Travels with the beats, :data:`BEAT_SETTING_BITS` wide."""
    weights: int = 0
    """Travels with the weights; below :data:`SELECTS_BIT`."""


@dataclass(frozen=True, kw_only=True)
class PeKind:
    """One kind of PE in the numbers that the array, the memories and the compiler use."""

    group: int = 1
    """Reduction elements that one PE covers per beat; shapes the layout of the weights."""
    latency: int
    """Cycles from an activation at the PE's input to the partial sum that holds its product at the PE's output."""
    feed: int = 0
    """Cycles from a beat's arrival to its first wave."""
    load: int = 0
    """Cycles from the first word of a matrix until its first row's ``row_cycles`` begin."""
    lead: int = 0
    """Cycles of a row's loading that can precede the room for it."""
    restart: int = 0
    """Cycles from the end of a pause in the words until a row's ``row_cycles`` begin."""
    foot: int = 0
    """Cycles that the array's foot adds to a sum."""
    budgets: bool = False
    """It keeps only the terms that :attr:`Precision.terms` allows."""
    settings: Callable[[Precision], Settings] = lambda precision: Settings(beats=precision.activation_bits)
    """A layer's precision as settings. Kinds of equal ``group`` take equal settings, so that a compiled model runs on
    each of them."""
    beat_cycles: Callable[[Settings], int] = lambda settings: 1
    """Cycles from a beat to the next."""
    waves: Callable[[Settings], int] | None = None
    """Those of the ``beat_cycles`` in which the PEs compute; ``None`` for all."""
    row_cycles: Callable[[Settings], int] = lambda settings: 1
    """Cycles that one row of the tile takes for its weights, if their words come fast enough."""
    sliding: bool = False
    """Its columns can be filters over the beats, see :class:`sateen.hw.spec.descriptor.Sliding`."""
    columns: int = 1
    """Columns side by side whose PEs share a hardware multiplier, and with it the activation: windows slide over the
    rows without hardware multipliers only."""
    weight_bits: tuple[int, int] = (2, 9)
    """The fewest and the most bits that its weights may have."""


TermFields = dict[str, tuple[int, int]]
"""Fields of settings: lowest bit and width."""

TERM_GROUP = 8
"""Weights that one term MAC holds."""
TERM_SLOTS = 32
"""Most weight terms that one term MAC holds: all terms of its weights in non-adjacent form."""
TERM_BEATS: TermFields = {"slots": (0, 6), "terms": (8, 4), "naf": (12, 1)}
"""Weight terms of a PE; terms of an activation; whether the latter are in non-adjacent form."""
TERM_WEIGHTS: TermFields = {"terms": (0, 6), "log2_group": (6, 2), "naf": (8, 1)}
"""Terms of a group; log2 of its weights; whether the terms are in non-adjacent form."""


SERIAL_BITS = 32
"""Bits of a partial sum in the fully serial PEs; a beat of 8 bits leaves room for three more streams."""


def _term_settings(precision: Precision) -> Settings:
    budget = precision.terms
    if budget.group not in (1, 2, 4, 8):
        raise ValueError(f"a term PE takes groups of 1, 2, 4 or 8 weights, not {budget.group}")
    if budget.encoding not in (Encoding.HESE, Encoding.NAF):
        raise ValueError(f"a term PE encodes in HESE or NAF, not in {budget.encoding.name}")
    slots = budget.weight_terms * (TERM_GROUP // budget.group)
    if slots > TERM_SLOTS:
        most = TERM_SLOTS * budget.group // TERM_GROUP
        raise ValueError(
            f"a term PE holds at most {most} terms of a group of {budget.group} weights, not {budget.weight_terms}"
        )
    naf = int(budget.encoding == Encoding.NAF)
    return Settings(
        beats=slots | budget.data_terms << 8 | naf << 12,
        weights=budget.weight_terms | (budget.group.bit_length() - 1) << 6 | naf << 8,
    )


def _term_row_cycles(settings: Settings) -> int:
    """Each group takes three cycles besides its terms, and a row takes one more."""
    return 1 + (TERM_GROUP >> (settings.weights >> 6 & 3)) * ((settings.weights & 63) + 3)


PE_KINDS: dict[str, PeKind] = {
    "mac": PeKind(latency=6, sliding=True),
    "packed": PeKind(latency=7, sliding=True, columns=2),
    "bitserial": PeKind(
        latency=2,
        feed=1,
        foot=1,
        beat_cycles=lambda settings: settings.beats,
    ),
    "balanced": PeKind(latency=2, feed=1, foot=1, beat_cycles=lambda settings: SERIAL_BITS),
    "interleaved": PeKind(latency=2, feed=1, foot=1 + SERIAL_BITS - 8, beat_cycles=lambda settings: 8),
    "term": PeKind(
        weight_bits=(8, 8),
        group=TERM_GROUP,
        budgets=True,
        latency=3,
        feed=3,
        load=6,
        lead=4,
        restart=8,
        foot=1,
        settings=_term_settings,
        beat_cycles=lambda settings: max(2, settings.beats & 63) * (settings.beats >> 8 & 15),
        waves=lambda settings: (settings.beats & 63) * (settings.beats >> 8 & 15),
        row_cycles=_term_row_cycles,
    ),
}
"""Every kind of processing element, by the name that :attr:`sateen.hw.spec.config.Config.pe` takes."""
