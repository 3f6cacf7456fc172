"""The passes of a layer normalization over a row, through one unit of float32."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.utils import ceil_log2

from sateen.hw.float32 import BIAS, FRACTION_BITS, MANTISSA_BITS, ONE, Fused, Quotient, number
from sateen.hw.spec.layer_norm import CODE_OFFSET, LIMIT_RECORDS, SUMS, UNIT_BITS
from sateen.hw.spec.timing import FUSED_CYCLES, QUOTIENT_CYCLES, normalizing_cycles
from sateen.hw.stream.delay import delayed

__all__ = ["BYTE", "LayerRegisters", "RowPasses", "Write"]

BYTE = 8
READ_CYCLES = 2
"""From an address to the word there, which passes a register."""
CODES = 255
"""Of limits, whose places are 0 to 254."""


class LayerRegisters:
    """A layer's :class:`sateen.hw.spec.layer_norm.Head`, in registers."""

    def __init__(self, index_bits: int) -> None:
        self.scale, self.epsilon, self.count, self.steps, self.offset = (
            Signal(32, name=name, reset_less=True) for name in ("scale", "epsilon", "count", "steps", "offset")
        )
        self.zero_point, self.width = Signal(signed(BYTE), reset_less=True), Signal(BYTE, reset_less=True)
        self.length, self.centred = Signal(index_bits + 1, reset_less=True), Signal(reset_less=True)
        self.last = Signal(index_bits, reset_less=True)
        """The place of a row's last value."""
        self.records = (
            (self.scale, self.epsilon),
            (self.count, self.steps),
            (self.offset, self.zero_point, self.width, self.length),
            (self.centred,),
        )
        """Which signals have the bits of which record."""


class Write:
    """What is written to a memory: ``data`` to ``address``, while ``enable``."""

    def __init__(self, enable: Value, address: Value, data: Value):
        self.enable, self.address, self.data = enable, address, data


class RowPasses:
    """The passes over a row: what enters the unit of float32 when, and what becomes of its results. No two of them
    enter in one cycle."""

    def __init__(
        self, m: Module, head: LayerRegisters, fused: Fused, quotient: Quotient, records: Write, *, on: Value,
        longest: int,
    ):  # fmt: skip
        self.m, self.head, self.fused, self.quotient, self.on = m, head, fused, quotient, on
        self.index_bits = ceil_log2(longest)
        numbers: Any = Memory(shape=32, depth=longest, init=[])
        pairs: Any = Memory(shape=64, depth=LIMIT_RECORDS + longest, init=[])
        m.submodules.numbers, m.submodules.pairs = numbers, pairs
        write, self.number_read = numbers.write_port(), numbers.read_port()
        pair_write, self.pair_read = pairs.write_port(), pairs.read_port()
        self.number = delayed(m, self.number_read.data, name="number")
        self.pair = delayed(m, self.pair_read.data, name="pair")
        place, self.writes = Signal(self.index_bits), Signal()
        m.d.comb += [
            write.en.eq(self.writes), write.addr.eq(place), write.data.eq(fused.o),
            pair_write.en.eq(records.enable), pair_write.addr.eq(records.address), pair_write.data.eq(records.data),
        ]  # fmt: skip
        self._count(place, self.writes)
        self.walks, self.walk_index = Signal(), Signal(self.index_bits)
        """A value of the second or third pass is read, and which."""
        m.d.comb += self.number_read.addr.eq(self.walk_index)
        self._count(self.walk_index, self.walks)
        self.squares, self.scales = Signal(), Signal()
        """The second pass or the third one begins."""
        self.sign = Signal(reset_less=True)
        """Of the mean."""
        self.one, self.stored = number(Const(ONE, 32)), number(self.number)
        self.result, self.quotient_number = number(fused.o), number(quotient.o)
        self.entering: list[tuple[Value, tuple[Value, Value, Value]]] = []
        """What enters the unit when."""

    def _count(self, place: Signal, step: Value) -> None:
        """Counts the values of a row, again and again."""
        with self.m.If(step):
            self.m.d.sync += place.eq(Mux(place == self.head.last, 0, place + 1))
        with self.m.If(~self.on):
            self.m.d.sync += place.eq(0)

    def _keep(self, when: Value) -> None:
        """The unit's result is the row's next number."""
        with self.m.If(when):
            self.m.d.comb += self.writes.eq(1)

    def _issue(self, when: Value, a: Value, b: Value, c: Value, *, name: str) -> Signal:
        """``a · b + c`` of numbers enters the unit. Returns whether its result is there."""
        self.entering.append((when, (a, b, c)))
        return self._later(when, FUSED_CYCLES, name=name)

    def choose(self) -> None:
        """Connects the unit with all that enters it."""
        for place, to in enumerate((self.fused.a, self.fused.b, self.fused.c)):
            sources: dict[int, tuple[Value, Value]] = {}
            for when, values in self.entering:
                value = values[place]
                sources[id(value)] = value, sources[id(value)][1] | when if id(value) in sources else when
            chosen = [Mux(when, value, 0) for value, when in sources.values()]
            self.m.d.comb += to.eq(reduce(operator.or_, chosen))

    def _later(self, when: Value, cycles: int, *, name: str) -> Signal:
        return delayed(self.m, when, cycles, name=name, reset=True)

    def load(self, byte: Value, taken: Value) -> Signal:
        """Codes become numbers, and those are added up. Returns whether a row's sum is there."""
        m, head = self.m, self.head
        steps, taken = delayed(m, byte - head.zero_point, name="steps"), self._later(taken, 1, name="taken")
        size = Mux(steps[-1], -steps, steps)[:BYTE]
        code = Cat(Const(0, MANTISSA_BITS - BYTE), size, Const(BIAS + BYTE - 1, BYTE), steps[-1])
        loaded = self._issue(taken, code, number(head.scale), Const(0, 1), name="loaded")
        self._keep(loaded)
        # In units of the last place of one step.
        self.total = total = Signal(signed(UNIT_BITS + self.index_bits + 1))
        value = self.fused.o
        apart = (value[FRACTION_BITS:-1] - head.scale[FRACTION_BITS:-1])[:4]
        units = delayed(m, (number(value)[:MANTISSA_BITS] << apart)[:UNIT_BITS], name="units")
        negative, adds = delayed(m, value[-1], name="negative"), self._later(loaded, 1, name="adds")
        place = Signal(self.index_bits)
        self._count(place, loaded)
        with m.If(adds & head.centred):
            m.d.sync += total.eq(Mux(negative, total - units, total + units))
        return self._later(loaded & (place == head.last), 2, name="summed")

    def centre(self, summed: Value) -> None:
        """The mean of a row, from its sum."""
        m, bits = self.m, UNIT_BITS + self.index_bits
        cycles = normalizing_cycles(bits)
        size, exponent = Signal(bits, reset_less=True), Signal(signed(10), reset_less=True)
        coarse, fine = ~size[-BYTE:].any(), ~size[-1]
        with m.If(summed):
            m.d.sync += [
                self.sign.eq(self.total[-1]),
                size.eq(Mux(self.total[-1], -self.total, self.total)),
                exponent.eq(self.head.scale[FRACTION_BITS:-1] + (bits - 1 - FRACTION_BITS)),
                self.total.eq(0),
            ]
        with m.Elif(coarse):
            m.d.sync += [size.eq(size << BYTE), exponent.eq(exponent - BYTE)]
        with m.Elif(fine):
            m.d.sync += [size.eq(size << 1), exponent.eq(exponent - 1)]
        with m.If(~self.on):
            m.d.sync += self.total.eq(0)
        starts = self._later(summed, cycles + 1, name="normal")
        self._divide(starts, size, exponent, self.head.count)
        m.d.comb += self.squares.eq(self._later(starts, QUOTIENT_CYCLES, name="mean"))

    def _divide(self, when: Value, mantissa: Value, exponent: Value, divisor: Value, *, root: bool = False) -> None:
        quotient = self.quotient
        with self.m.If(when):
            self.m.d.comb += [
                quotient.start.eq(1), quotient.root.eq(root), quotient.mantissa.eq(mantissa),
                quotient.exponent.eq(exponent), quotient.divisor.eq(divisor),
            ]  # fmt: skip

    def _walk(self, begins: Value, cycles: int, *, name: str) -> Signal:
        """Reads a row's values, one every so many cycles. Returns when the first of those cycles is."""
        m, running, phase = self.m, Signal(name=f"{name}_running"), Signal(range(cycles), name=f"{name}_phase")
        reads = Signal(name=f"{name}_reads")
        m.d.comb += reads.eq(running & (phase == 0))
        with m.If(reads):
            m.d.comb += self.walks.eq(1)
        with m.If(running):
            m.d.sync += phase.eq(Mux(phase == cycles - 1, 0, phase + 1))
        with m.If(reads & (self.walk_index == self.head.last)):
            m.d.sync += [running.eq(0), phase.eq(0)]
        with m.If(begins):
            m.d.sync += running.eq(1)
        with m.If(~self.on):
            m.d.sync += [running.eq(0), phase.eq(0)]
        return reads

    def square(self) -> tuple[Signal, Value]:
        """Subtracts the mean, and adds up squares. Returns whether their sum is there: the unit's result."""
        m, fused = self.m, self.fused
        reads = self._walk(self.squares, 2, name="squares")
        group = self.walk_index[3:]
        mean = number(self.quotient.o, negative=~self.sign)
        enters = self._later(reads, READ_CYCLES, name="enters")
        centred = self._issue(enters, self.stored, self.one, mean, name="centred")
        self._keep(centred)
        # An eighth of the sum comes back 16 cycles after it has entered.
        before = number(delayed(m, fused.o, 2 * SUMS - FUSED_CYCLES, name="before"))
        cycles = READ_CYCLES + FUSED_CYCLES
        first = delayed(m, ~group.any(), cycles, name="first")
        last = delayed(m, group == self.head.last[3:], cycles, name="last")
        squared = self._issue(centred, self.result, self.result, Mux(first, 0, before), name="squared")
        ends = squared & delayed(m, last, FUSED_CYCLES, name="ends")

        # Sums of two are those of the first and the fifth, and so on; then the same of these.
        held = Signal(data.ArrayLayout(32, SUMS // 2), reset_less=True)
        place, adds, added = Signal(range(2 * SUMS)), Signal(), Signal()
        with m.If(ends | added):
            m.d.sync += [held.eq(Cat(fused.o, held.as_value())), place.eq(Mux(place == 2 * SUMS - 2, 0, place + 1))]
        with m.If(~self.on):
            m.d.sync += place.eq(0)
        fours, twos, whole = (place & 12) == 4, (place & 14) == 10, adds & (place == 2 * SUMS - 3)
        m.d.comb += adds.eq((ends | added) & (fours | twos | (place == 2 * SUMS - 3)))
        other = Mux(fours, held[3], Mux(twos, held[1], held[0]))
        m.d.comb += added.eq(self._issue(adds, self.result, self.one, number(other), name="added"))
        return self._later(whole, FUSED_CYCLES, name="whole"), fused.o

    def divide(self, squared: tuple[Value, Value]) -> None:
        """The inverse of the root of the mean square and epsilon."""
        m, quotient, fused = self.m, self.quotient, self.fused
        rest = Const(0, UNIT_BITS + self.index_bits - MANTISSA_BITS)

        def parts(bits: Value) -> tuple[Value, Value]:
            return Cat(rest, number(bits)[:MANTISSA_BITS]), bits[FRACTION_BITS:-1]

        when, total = squared
        self._divide(when, *parts(total), self.head.count)
        mean = self._later(when, QUOTIENT_CYCLES, name="mean_square")
        sure = self._issue(mean, self.quotient_number, self.one, number(self.head.epsilon), name="sure")
        self._divide(sure, *parts(fused.o), Const(0), root=True)
        deviation = self._later(sure, QUOTIENT_CYCLES, name="deviation")
        self._divide(deviation, *parts(Const(ONE, 32)), quotient.o)
        m.d.comb += self.scales.eq(self._later(deviation, QUOTIENT_CYCLES, name="inverse"))

    def scale(self) -> tuple[Value, Value]:
        """Divides values by the deviation, scales and moves them. Returns a code, and whether there is one."""
        m, fused, head = self.m, self.fused, self.head
        reads = self._walk(self.scales, 3, name="scales")
        enters = self._later(reads, READ_CYCLES, name="scaled_enters")
        normal = self._issue(enters, self.stored, self.quotient_number, Const(0, 1), name="normal_value")
        asks = self._later(enters, FUSED_CYCLES - READ_CYCLES, name="asks")
        index = Signal(self.index_bits)
        self._count(index, asks)
        moved = self._issue(normal, self.result, number(self.pair[:32]), number(self.pair[32:]), name="moved")
        self._keep(moved)
        counted = self._issue(moved, self.result, number(head.steps), number(head.offset), name="counted")

        # The limit above the code below, and the value itself, are read at once.
        code, looks = self._code_below(fused.o), self._later(counted, 3, name="looks")
        place = Signal(self.index_bits)
        self._count(place, looks)
        with m.If(asks):
            m.d.comb += self.pair_read.addr.eq(LIMIT_RECORDS + index)
        with m.Else():
            m.d.comb += self.pair_read.addr.eq(code[1:])
        with m.If(looks):
            m.d.comb += self.number_read.addr.eq(place)
        code = delayed(m, code, READ_CYCLES, name="found")
        limit = Mux(code[0], self.pair[32:], self.pair[:32])
        order = Cat(self.number[:-1] ^ self.number[-1].replicate(31), self.number[-1])
        reached = order.as_signed() >= limit.as_signed()
        result = delayed(m, (code + reached)[:BYTE] ^ 128, name="result")
        return result, self._later(looks, READ_CYCLES + 1, name="results")

    def _code_below(self, steps: Value) -> Value:
        """The place of the limit above the number below ``steps`` less :data:`CODE_OFFSET`, three cycles later."""
        m, exponent = self.m, steps[FRACTION_BITS:-1]
        high = BIAS + CODE_OFFSET.bit_length() - 1
        mantissa = number(steps)[:MANTISSA_BITS]
        whole = Mux(exponent == high, mantissa[-9:], mantissa[-8:])
        low = delayed(m, steps[-1] | (exponent < high - 1), name="low")
        above = delayed(m, exponent > high, name="above")
        whole = delayed(m, whole, name="whole") - CODE_OFFSET // 2
        code = Mux(low, 0, Mux(above | (whole >= CODES), CODES - 1, whole))[:BYTE]
        return delayed(m, code, 2, name="below")
