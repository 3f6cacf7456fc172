"""Softmax of rows: distances to each row's maximum, the sum of their exponentials, and its reciprocal.

A layer passes over each row three times, through the tables of :mod:`sateen.hw.pipelined.lookup`: for the maximum, for
the sum and for the results. In a step the first pass is over one row, the second over the row before, the third over
the one before that, so that the reciprocal of a row is computed while others pass.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import Multiply
from sateen.hw.spec.timing import adder_stages
from sateen.hw.stream.adders import adder_tree
from sateen.hw.stream.delay import delayed

__all__ = ["ROW", "SCALE", "Distances", "Passes", "Reciprocal", "RowScales", "largest_cycles", "scales_latency"]

SCALE = data.StructLayout({"multiplier": 31, "shift": signed(8)})
"""What the exponentials of a row are requantized by, see :class:`sateen.hw.requantize.Requantize`."""
ROW = data.StructLayout({"sums": 1, "last": 1, "begins": 1})
"""Of some of a row's entries: whether they are added up, whether they are the last ones of those, and whether they are
the first that the row's scale is for."""
PASSES = 3
SUM_SHIFT = 12
"""Bits by which exponentials are rounded before they are added up."""
NORMALIZING = (8, 4, 2, 1)
"""By how many places a sum is shifted, if so many of its highest bits are zero."""
HALF = 16
"""Bits of the lower half of a factor."""
ESTIMATE, SLOPE = 1515870810, -1010580540
"""48/17 and −32/17 with two integer bits: the first estimate of 1 / x for x from 1/2 to 1."""
STEPS = 3
"""Of Newton's method."""
ONE = 1 << 29
"""With two integer bits."""
PLACES = 35
"""A share is ``exponential · reciprocal`` divided by 2^31 and by 2^(PLACES − leading zeros of the sum)."""


class Distances(wiring.Component):
    """Lines of rows become distances to the row's maximum; other layers' lines pass unchanged.

    One line per cycle, latency 0. While ``on``, a line with ``begin`` begins the next of three passes. A first one
    begins ``settle`` cycles after the last line of the first one before, or later. Its lines are taken, and none comes
    out. Those of the second are subtracted from the maximum of the first pass but one before, those of the third from
    that of the one before that.

    Parameters
    ----------
    width : int
        Bytes of a line that are used; those beyond pass unchanged.
    beat_bytes : int
        Bytes of a line.

    Members
    -------
    on : In(1)
        The layer is a softmax. Steady while lines come.
    i : In(stream)
        ``line``, and whether it is the first of its pass (``begin``).
    o : Out(stream)
        Lines; as unsigned bytes while ``on``.
    """

    def __init__(self, *, width: int, beat_bytes: int):
        if not 1 <= width <= beat_bytes:
            raise ValueError(f"width must be 1 to beat_bytes ({beat_bytes}), not {width!r}")
        self.width, self.beat_bytes = width, beat_bytes
        self.settle = largest_cycles(width)
        line = data.ArrayLayout(signed(8), beat_bytes)
        given = data.StructLayout({"line": line, "begin": 1})
        super().__init__(
            {"on": In(1), "i": In(stream.Signature(given)), "o": Out(stream.Signature(line))},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line, begin = self.i.payload.line, self.i.payload.begin
        before, here, taken = Signal(range(PASSES), init=PASSES - 1), Signal(range(PASSES)), Signal()
        left, settles = Signal(range(self.settle)), Signal()
        m.d.comb += [
            here.eq(Mux(begin, Mux(before == PASSES - 1, 0, before + 1), before)),
            taken.eq(self.on & self.i.valid & self.i.ready),
            self.o.valid.eq(self.i.valid & (~self.on | (here != 0))),
            self.i.ready.eq(Mux(self.on & (here == 0), ~(begin & settles), self.o.ready)),
        ]
        with m.If(~self.on):
            m.d.sync += before.eq(PASSES - 1)
        with m.Elif(taken):
            m.d.sync += before.eq(here)
        # The search for the largest byte takes a cycle for each comparison.
        with m.If(taken & (here == 0)):
            m.d.sync += [left.eq(self.settle - 1), settles.eq(1)]
        with m.Else():
            m.d.sync += [left.eq(left - settles), settles.eq(settles & (left > 1))]

        running, of_second, of_third = (Signal(signed(8), name=name) for name in ("running", "of_second", "of_third"))
        largest, late = self._largest(m, [line[byte] for byte in range(self.width)]), self.settle - 1
        counts = delayed(m, taken & (here == 0), late, name="counts", reset=True)
        fresh = delayed(m, begin, late, name="fresh")
        with m.If(counts & (fresh | (running < largest))):
            m.d.sync += running.eq(largest)
        with m.If(taken & begin & (here == 0)):
            m.d.sync += [of_second.eq(running), of_third.eq(of_second)]
        # Registers say which maximum is a line's if it begins a pass, and if not: it comes late in the cycle.
        begins, stays = (Mux(before == last, of_third, of_second) for last in (PASSES - 2, PASSES - 1))
        maximum = Mux(begin, begins, stays)
        for byte in range(self.beat_bytes):
            value = line[byte]
            if byte < self.width:
                value = Mux(self.on, (maximum - value)[:8], value.as_unsigned())
            m.d.comb += self.o.payload[byte].eq(value)
        return m

    def _largest(self, m: Module, values: list[Value]) -> Value:
        """The largest of a line's bytes, a cycle before the line has settled: by a tree with registers."""
        found: list[Value] = [delayed(m, value.as_signed(), name=f"held_{byte}") for byte, value in enumerate(values)]
        level = 0
        while len(found) > 1:
            pairs, level = [found[start : start + 2] for start in range(0, len(found), 2)], level + 1
            larger = [Mux(pair[-1] < pair[0], pair[0], pair[-1]).as_signed() for pair in pairs]
            found = [delayed(m, value, name=f"largest_{level}_{index}") for index, value in enumerate(larger)]
        return found[0]


def largest_cycles(width: int) -> int:
    """Cycles from a line of so many bytes until the running maximum has them."""
    return 2 + (width - 1).bit_length()


class Passes(wiring.Component):
    """Which lines of a softmax are added up, and which are scaled and written.

    Parameters
    ----------
    cols : int
        Columns of the tile.
    paces : tuple, optional
        Cycles that lanes may take which are added up, and which are scaled; 2 or more.

    Members
    -------
    on : In(1)
        The layer is a softmax. While low, everything begins anew.
    length : In
        Values of a row, 1 or more.
    begin : In(1), ends : In(1)
        A line begins: the first one, or the one after that which ends.
    advance : In(1), last_lanes : In(1)
        The next lanes of a line are taken; they are its last ones.
    channels : Out
        Bytes of the line that begins next and of all behind it in its row.
    scale : In(1), taken : In(1)
        There is a scale; it is taken, some cycles after the first entries that it is for.
    ready : Out(1)
        There is a scale for the line, if it needs one, and it is time for the next lanes.
    row : Out
        See :data:`ROW`.
    writes : Out(1)
        The line is scaled, and belongs to a row.
    slow : In(1)
        The next lanes are ready so many cycles after those before as ``paces`` says. Only with ``paces``.
    """

    def __init__(self, *, cols: int, paces: tuple[int, int] | None = None):
        self.cols, self.paces = cols, paces
        ports = ("on", "begin", "advance", "ends", "last_lanes", "scale", "taken", *(("slow",) if paces else ()))
        super().__init__(
            {
                **{name: In(1) for name in ports},
                "length": In(16),
                "channels": Out(16),
                "ready": Out(1),
                "row": Out(ROW),
                "writes": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        last, scales, needs, reserved = Signal(), Signal(), Signal(), Signal()
        # Passes of results that are done; those of the first two steps are of no rows.
        steps = Signal(2)
        scaled = ~needs | (self.scale & ~reserved)
        m.d.comb += [
            self.ready.eq(scaled & ~self._waits(m, scales) if self.paces else scaled),
            self.row.sums.eq(self.on & self.advance & ~scales),
            self.row.last.eq(last & self.last_lanes),
            self.row.begins.eq(self.advance & needs),
            self.writes.eq(scales & (steps == 2)),
        ]
        with m.If(self.advance):
            m.d.sync += needs.eq(0)
        m.d.sync += reserved.eq((reserved | self.row.begins) & ~self.taken)
        with m.If(self.begin | self.ends):
            short = self.channels <= self.cols
            m.d.sync += [self.channels.eq(Mux(short, self.length, self.channels - self.cols)), last.eq(short)]
            with m.If(last & self.ends):
                # The first results come before there is any sum.
                m.d.sync += [scales.eq(~scales), needs.eq(~scales & (steps != 0))]
                m.d.sync += steps.eq(Mux(steps == 2, 2, steps + scales))
        with m.If(~self.on):
            m.d.sync += [self.channels.eq(self.length), *(s.eq(0) for s in (last, scales, needs, reserved, steps))]
        return m

    def _waits(self, m: Module, scales: Value) -> Signal:
        """Whether the last lanes may take longer."""
        assert self.paces is not None
        left, waits = Signal(range(max(self.paces))), Signal()
        m.d.sync += [left.eq(left - 1), waits.eq(waits & self.on & (left != 1))]
        with m.If(self.advance & self.slow):
            m.d.sync += [left.eq(Mux(scales, self.paces[1], self.paces[0]) - 1), waits.eq(1)]
        return waits


class RowScales(wiring.Component):
    """Adds up the exponentials of rows, and gives each row's scale.

    One item of ``lanes`` exponentials per cycle, no back-pressure: at most one row's sum waits while the scale of the
    row before is computed. A scale is there :func:`scales_latency` cycles after the row's last item, or as long after
    the scale before as :class:`Reciprocal` takes. Bit-exact model: :func:`sateen.sim.golden.softmax`.

    Members
    -------
    on : In(1)
        While low, everything is forgotten.
    valid : In(1), last : In(1), mask : In(lanes), entries : In
        An item, whether it is its row's last, which exponentials count, and these: 0 to 2^31 − 1. A row's sum of
        ``(entry + 2^11) >> 12`` must be below 2^30.
    o : Out(stream)
        :data:`SCALE`, in the order of rows.
    """

    def __init__(self, *, lanes: int):
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more, not {lanes!r}")
        self.lanes = lanes
        super().__init__(
            {
                "on": In(1), "valid": In(1), "last": In(1), "mask": In(lanes),
                "entries": In(data.ArrayLayout(signed(32), lanes)),
                "o": Out(stream.Signature(SCALE)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        terms: list[Value] = []
        for lane in range(self.lanes):
            # Half a unit is the bit below: the sum of both is rounded.
            term = Signal(range(2 ** (31 - SUM_SHIFT) + 1), name=f"term_{lane}", reset_less=True)
            rounded = (self.entries[lane][SUM_SHIFT - 1 : 31] + 1)[1:]
            m.d.sync += term.eq(Mux(self.mask[lane], rounded, 0))
            terms.append(term)
        sum_of_lanes, stages = adder_tree(m, terms, after=1)
        valid = delayed(m, self.valid & self.on, stages, name="valid", reset=True)
        last = delayed(m, self.last, stages, name="last")
        total, sums = Signal(32), Signal(32)
        m.submodules.reciprocal = reciprocal = Reciprocal()
        m.d.comb += [
            sums.eq(total + sum_of_lanes),
            reciprocal.on.eq(self.on),
            self.o.valid.eq(reciprocal.o.valid),
            self.o.payload.eq(reciprocal.o.payload),
            reciprocal.o.ready.eq(self.o.ready),
        ]
        with m.If(reciprocal.i.valid & reciprocal.i.ready):
            m.d.sync += reciprocal.i.valid.eq(0)
        with m.If(valid):
            m.d.sync += total.eq(Mux(last, 0, sums))
            with m.If(last):
                m.d.sync += [reciprocal.i.payload.eq(sums), reciprocal.i.valid.eq(1)]
        with m.If(~self.on):
            m.d.sync += [total.eq(0), reciprocal.i.valid.eq(0)]
        return m


def scales_latency(lanes: int) -> int:
    """Cycles from a row's last item to its scale."""
    return 2 + adder_stages(lanes) + Reciprocal.LATENCY


class Reciprocal(wiring.Component):
    """The scale by which exponentials become shares of their sum, in 256ths.

    As gemmlowp's ``one_over_one_plus_x_for_x_in_0_1``: the sum is shifted to the left until its highest bit is set,
    then three steps of Newton's method follow, by one multiplier of 17 bits. A sum every ``LATENCY`` = 62 cycles, and
    as many from a sum to its scale, if the one before has been taken. Bit-exact model:
    :func:`sateen.sim.golden.fixed.one_over_one_plus`.

    Members
    -------
    on : In(1)
        While low, everything is forgotten.
    i : In(stream)
        Sums, 2^17 to 2^32 − 1.
    o : Out(stream)
        :data:`SCALE`.
    """

    MULTIPLY = Multiply.LATENCY + 5
    """Cycles from the factors to the result of a product: four partial ones, their sum, and what is made of it."""
    LATENCY = 1 + len(NORMALIZING) + (1 + 2 * STEPS) * MULTIPLY + 1

    def __init__(self) -> None:
        super().__init__({"on": In(1), "i": In(stream.Signature(32)), "o": Out(stream.Signature(SCALE))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        busy, multiplies, done = Signal(), Signal(), Signal()
        place, number = Signal(range(self.MULTIPLY)), Signal(range(1 + 2 * STEPS))
        total, zeros = Signal(32, reset_less=True), Signal(len(NORMALIZING), reset_less=True)
        # The sum's half times the slope; then by turns the half times the estimate, and the estimate times its error.
        estimate, factor, corrects = Signal(32, reset_less=True), Signal(signed(32), reset_less=True), Signal()
        product = self._product(m, Mux(corrects, estimate, total[1:]), factor, place)
        better = (estimate + Mux(number == 0, product, product << 2))[:32]

        m.d.comb += self.i.ready.eq(~busy)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~busy):
            m.d.sync += [total.eq(self.i.payload), estimate.eq(ESTIMATE), factor.eq(SLOPE), busy.eq(self.i.valid)]
        with m.Elif(done):
            with m.If(~self.o.valid | self.o.ready):
                m.d.sync += [done.eq(0), busy.eq(0), self.o.valid.eq(1)]
                m.d.sync += [
                    self.o.payload.multiplier.eq(estimate[:31] << 1 | estimate[30].replicate(31)),
                    self.o.payload.shift.eq(zeros - PLACES),
                ]
        with m.Elif(~multiplies):
            m.d.sync += place.eq(place + 1)
            with m.Switch(place):
                for index, count in enumerate(NORMALIZING):
                    empty = ~total[32 - count :].any()
                    with m.Case(index):
                        m.d.sync += [total.eq(Mux(empty, total << count, total)), zeros.eq(Cat(empty, zeros))]
            with m.If(place == len(NORMALIZING) - 1):
                m.d.sync += [multiplies.eq(1), place.eq(0)]
        with m.Else():
            m.d.sync += place.eq(Mux(place == self.MULTIPLY - 1, 0, place + 1))
            with m.If(place == self.MULTIPLY - 1):
                m.d.sync += [number.eq(number + 1), corrects.eq(number[0])]
                with m.If(number[0]):
                    m.d.sync += factor.eq(ONE - product)
                with m.Else():
                    m.d.sync += [estimate.eq(better), factor.eq(better)]
                with m.If(number == 2 * STEPS):
                    m.d.sync += [number.eq(0), multiplies.eq(0), done.eq(1)]
        with m.If(~self.on):
            m.d.sync += [signal.eq(0) for signal in (busy, multiplies, done, place, number, corrects, self.o.valid)]
        return m

    def _product(self, m: Module, a: Value, b: Signal, place: Signal) -> Value:
        """``(a · b + 2^30) >> 31`` at the last place, of factors that hold from the first on."""
        m.submodules.multiply = multiply = Multiply(a_bits=HALF + 1, b_bits=HALF + 1)
        total = Signal(signed(48), reset_less=True)
        with m.Switch(place):
            for index in range(4):
                with m.Case(index):
                    m.d.comb += multiply.a.eq(a[HALF:].as_signed() if index & 2 else a[:HALF])
                    m.d.comb += multiply.b.eq(b[HALF:].as_signed() if index & 1 else b[:HALF])
        first = Multiply.LATENCY
        with m.If(place == first):
            m.d.sync += total.eq((multiply.product >> HALF) + (1 << 30 - HALF))
        with m.Else():
            m.d.sync += total.eq(total + Mux(place == first + 3, multiply.product << HALF, multiply.product))
        return (total >> 31 - HALF)[:32].as_signed()
