"""The words of a descriptor's output section, taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.utils import exact_log2

from sateen.hw.pipelined.nest import Nest
from sateen.hw.spec.combining import LOADS_BIT, Combine
from sateen.hw.spec.descriptor import (
    DIRECT_BIT,
    MODES_WORD,
    NUMBER_DIMS,
    OUTPUT_DIM_WORDS,
    ROWS_BIT,
    SECTIONS,
    SOFTMAX_BIT,
    TO_WEIGHTS_BIT,
    WIDE_ROUNDING,
    Rounding,
    step_word,
)
from sateen.hw.spec.nests import COUNT_BITS

if TYPE_CHECKING:
    from sateen.hw.pipelined.output import OutputUnit

__all__ = ["Section"]


class Section:
    """The part of an :class:`~sateen.hw.pipelined.output.OutputUnit` that takes its words."""

    def __init__(self, m: Module, unit: OutputUnit):
        self.m, self.unit = m, unit
        self.index = Signal(range(SECTIONS["output"]))
        """The next word's place."""

    def take(self, nest: Nest, channels: Signal, taps: Signal) -> None:
        """The head's words into registers, each counter's into the nest."""
        m, u, index, word = self.m, self.unit, self.index, self.unit.load.payload
        running, count = Signal(), Signal(16)
        pair = exact_log2(OUTPUT_DIM_WORDS)
        m.d.comb += [
            u.load.ready.eq(~running),
            nest.dim.payload.index.eq((index - step_word(0)) >> pair),
            nest.dim.payload.count.eq(count),
            nest.dim.payload.steps.address.eq(word),
            nest.start.eq(u.loaded),
        ]
        self._modes(nest)
        is_residual = self._residual() if u.features.residual_pace else None
        looks_up = u.look_up if u.features.tables else Signal()
        with m.If(u.done):
            m.d.sync += [running.eq(0), looks_up.eq(0)]
        with m.If(u.load.valid & u.load.ready):
            m.d.sync += index.eq(index + 1)
            with m.Switch(index):
                with m.Case(0):
                    m.d.sync += nest.origin.address.eq(word)
                with m.Case(1):
                    m.d.sync += [channels.eq(word[:16]), taps.eq(word[16:])]
                with m.Case(MODES_WORD):
                    m.d.sync += u.settings.eq(word)
                    if is_residual is not None:
                        with m.If(is_residual):
                            m.d.sync += taps.eq(1)
                with m.Default():
                    with m.If(index[0]):
                        m.d.sync += count.eq(word)
                        if u.features.overlap:
                            m.d.sync += u.ahead[((index - (MODES_WORD + 1)) >> pair)[:2]].eq(word[COUNT_BITS:])
                    with m.Else():
                        m.d.comb += nest.dim.valid.eq(1)
            with m.If(index == SECTIONS["output"] - 1):
                m.d.comb += u.loaded.eq(1)
                m.d.sync += [running.eq(1), index.eq(0), looks_up.eq(u.settings.combine != Combine.NONE)]

    def _modes(self, nest: Nest) -> None:
        """What a descriptor may be besides, in units that know it."""
        m, u, word = self.m, self.unit, self.unit.load.payload
        has = u.features
        modes = word[24:]
        rounding, combine = modes[:2], modes[2:4]
        if has.products:
            self._flag(u.to_weights, "to_weights", modes[TO_WEIGHTS_BIT])
        if has.norms:
            self._flag(u.normalized, "is_normalized", modes[DIRECT_BIT] & (combine == Combine.NONE))
        if has.recurrent:
            self._flag(u.recurrent, "is_recurrent", rounding == WIDE_ROUNDING)
            m.d.comb += u.origin.eq(nest.origin.address)
            for number, dim in enumerate(NUMBER_DIMS):
                with m.If(self._comes(step_word(dim))):
                    m.d.sync += u.numbers[number].eq(word)
        if has.layer_norm:
            self._flag(u.normalizes, "has_rows", modes[ROWS_BIT] & (combine != Combine.NONE))
        if has.direct:
            has_operands = Signal()
            m.d.comb += u.loads.eq(u.operands[LOADS_BIT])
            with m.If(self._comes(MODES_WORD)):
                m.d.sync += has_operands.eq(modes[DIRECT_BIT])
            with m.If(self._comes(step_word(0))):
                m.d.sync += u.operands.eq(Mux(has_operands, word, 1 << LOADS_BIT))
        softmax: Value = modes[SOFTMAX_BIT]
        if has.residual_pace:
            softmax &= combine != Combine.NONE
        if has.softmax:
            self._flag(u.softmax, "is_softmax", softmax)
        if has.softmax == 2:
            self._flag(u.shared, "is_shared", softmax & (rounding == Rounding.FLOAT32))

    def _residual(self) -> Value:
        """Takes the offset of residual bytes, which stands in place of the taps; whether the word of the modes says
        that there are some."""
        m, u, word = self.m, self.unit, self.unit.load.payload
        modes = word[24:]
        there = modes[SOFTMAX_BIT] & (modes[2:4] == Combine.NONE)
        self._flag(u.residual, "is_residual", there)
        with m.If(self._comes(1)):
            m.d.sync += u.offset.eq(word[16:])
        return there

    def _comes(self, place: int) -> Value:
        """Whether the word of a place is taken now."""
        return self.unit.load.valid & self.unit.load.ready & (self.index == place)

    def _flag(self, flag: Signal, name: str, bit: Value) -> None:
        """A mode that holds from ``loaded`` to ``done``."""
        m, given = self.m, Signal(name=name)
        with m.If(self.unit.done):
            m.d.sync += flag.eq(0)
        with m.If(self._comes(MODES_WORD)):
            m.d.sync += given.eq(bit)
        with m.If(self.unit.loaded):
            m.d.sync += flag.eq(given)
