"""onnxruntime's softmax: sums of float32 that are rounded one after the other, and shares that are rounded once.

The first table holds the exponentials as float32 has them, the second one each exponential's 24 bits times the steps of
the result's scale (:func:`sateen.sim.golden.real_entries`). Rows pass as in :mod:`sateen.hw.pipelined.softmax`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pipelined.softmax import ROW
from sateen.hw.spec.timing import ADD_CYCLES, DIVIDE_CYCLES, FANOUT
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.view import view

__all__ = ["TOTAL", "FloatSum", "Share", "Shares", "entries_shape", "total_latency"]

EXPONENT_BITS, FRACTION_BITS = 8, 23
MANTISSA_BITS = FRACTION_BITS + 1
TOTAL = data.StructLayout({"mantissa": MANTISSA_BITS, "exponent": EXPONENT_BITS})
"""A float32 of ``mantissa · 2^(exponent − 150)``; the exponent is 1 or more, and 1 if the mantissa's highest bit is
0."""
SHIFT_BITS = 5
"""Of the places by which a mantissa is shifted; of all ones nothing but a sticky bit is left."""
QUOTIENT_BITS, PLACES_BITS = 10, 4
"""The same of a quotient."""


def entries_shape(lanes: int) -> data.StructLayout:
    """Entries of both tables in a row: whether results come of them (``valid``), :data:`ROW`, and which lanes count."""
    entries = data.ArrayLayout(32, lanes)
    return data.StructLayout({"valid": 1, "row": ROW, "mask": lanes, "first": entries, "second": entries})


class Shares(wiring.Component):
    """The float32 sum of each row's exponentials, and each exponential's share of its row's sum.

    An item of ``lanes`` entries may follow one that is added up after ``ADD_CYCLES · lanes`` = 2 cycles a lane, and one
    of which results come after ``DIVIDE_CYCLES`` = 10. A row's sum is there :func:`total_latency` cycles after its last
    item, if the row's before has been taken. No back-pressure. Bit-exact model:
    :func:`sateen.sim.golden.real_softmax`.

    Members
    -------
    on : In(1)
        While low, everything is forgotten.
    zero_point : In
        Of the results. Steady while entries come, and before them by one cycle for every four lanes.
    i : In
        See :func:`entries_shape`. The row's sum is taken with ``begins``.
    total : Out(1)
        There is a sum.
    o : Out
        Results of an item, int8, from ``Share.LATENCY`` cycles after it for ``DIVIDE_CYCLES``.
    """

    def __init__(self, *, lanes: int):
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more, not {lanes!r}")
        self.lanes = lanes
        super().__init__(
            {
                "on": In(1), "zero_point": In(signed(8)), "i": In(entries_shape(lanes)), "total": Out(1),
                "o": Out(data.ArrayLayout(signed(8), lanes)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sum = sums = FloatSum(lanes=self.lanes)
        row = self.i.row
        m.d.comb += [
            sums.on.eq(self.on),
            sums.valid.eq(row.sums),
            sums.last.eq(row.last),
            *(sums.values[lane].eq(Mux(self.i.mask[lane], self.i.first[lane], 0)) for lane in range(self.lanes)),
            self.total.eq(sums.o.valid),
            sums.o.ready.eq(row.begins),
        ]
        zero_point, total = self.zero_point, Signal(TOTAL)
        for lane in range(self.lanes):
            if lane % FANOUT == 0:
                zero_point = delayed(m, zero_point, name=f"zero_point_{lane}")
                total = Signal(TOTAL, name=f"total_{lane}", reset_less=True)
                with m.If(row.begins):
                    m.d.sync += total.eq(sums.o.payload)
            m.submodules[f"share_{lane}"] = share = Share()
            m.d.comb += [
                share.start.eq(self.i.valid),
                share.exponential.eq(self.i.first[lane]),
                share.product.eq(self.i.second[lane]),
                share.total.eq(total),
                share.zero_point.eq(zero_point),
                self.o[lane].eq(share.o),
            ]
        return m


class FloatSum(wiring.Component):
    """Adds up float32 numbers that are not negative, lane by lane, item by item; each sum is rounded to even.

    Two cycles an addition: the number with the smaller exponent is shifted to the other's place, then both are added
    and rounded. How far the next number is apart is found while its predecessor is added, for either exponent that the
    sum may have. An item every ``ADD_CYCLES · lanes`` cycles, of another row two cycles later, no back-pressure.

    Members
    -------
    on : In(1)
        While low, everything is forgotten.
    valid : In(1), last : In(1), values : In
        An item, whether it is its row's last, and the numbers: the bits of float32, below infinity like their sum.
    o : Out(stream)
        Each row's :data:`TOTAL`, :func:`total_latency` cycles after its last item, or when the one before is taken.
    """

    def __init__(self, *, lanes: int):
        self.lanes = lanes
        super().__init__(
            {
                "on": In(1), "valid": In(1), "last": In(1), "values": In(data.ArrayLayout(32, lanes)),
                "o": Out(stream.Signature(TOTAL)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total, done = view(TOTAL, init={"exponent": 1}), Signal()
        held = Signal(data.ArrayLayout(TOTAL, self.lanes), reset_less=True)
        left, is_last, aligns, adds, ends = Signal(range(self.lanes + 1)), Signal(), Signal(), Signal(), Signal()
        m.d.sync += [aligns.eq(~aligns & (left != 0)), adds.eq(aligns), ends.eq(aligns & (left == 1) & is_last)]
        with m.If(aligns):
            m.d.sync += [held.eq(held.as_value() >> TOTAL.size), left.eq(left - 1)]
        with m.If(self.valid):
            m.d.sync += [left.eq(self.lanes), is_last.eq(self.last)]
            for to, value in zip(held, self.values, strict=True):
                m.d.sync += Cat(to.mantissa, to.exponent).eq(Cat(*_number(value)))

        smaller = Signal(1 + MANTISSA_BITS, reset_less=True)
        sticky = Signal(reset_less=True)
        added, carried = self._added(total.mantissa, smaller, sticky)
        swap, places = self._apart(m, held[0].exponent, total.exponent, adds & carried)
        with m.If(aligns):
            shifted, lost = _shifted(Cat(0, Mux(swap, total.mantissa, held[0].mantissa)), places)
            m.d.sync += [smaller.eq(shifted), sticky.eq(lost)]
            with m.If(swap):
                m.d.sync += total.eq(held[0])
        with m.If(adds):
            m.d.sync += total.mantissa.eq(added)
            with m.If(carried):
                m.d.sync += total.exponent.eq(total.exponent + 1)

        m.d.sync += done.eq(done | ends)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(done & (~self.o.valid | self.o.ready)):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(total), done.eq(0)]
            m.d.sync += [total.mantissa.eq(0), total.exponent.eq(1)]
        with m.If(~self.on):
            m.d.sync += [signal.eq(0) for signal in (left, aligns, adds, ends, done, total.mantissa, self.o.valid)]
            m.d.sync += total.exponent.eq(1)
        return m

    def _added(self, larger: Value, smaller: Value, sticky: Value) -> tuple[Value, Value]:
        """The rounded sum of two mantissas, the second with a bit below the first one's last; whether the exponent
        grows."""
        guard, smaller = smaller[0], smaller[1:]
        exact = (larger + smaller)[: 1 + MANTISSA_BITS]
        # The sum's lowest bits are there before its highest says which of them is the last one that stays.
        more = (Cat(1, larger) + Cat(1, smaller))[1 : 2 + MANTISSA_BITS]
        odd, second = larger[0] ^ smaller[0], larger[1] ^ smaller[1] ^ (larger[0] & smaller[0])
        carries = exact[-1]
        near = Mux(guard & (sticky | odd), more, exact)
        far = Mux(odd & (guard | sticky | second), more, exact)[1:]
        # Rounded up to the next power of two, all bits below are zero.
        mantissa = Mux(carries, far[:MANTISSA_BITS], near[:MANTISSA_BITS] | near[MANTISSA_BITS] << MANTISSA_BITS - 1)
        return mantissa[:MANTISSA_BITS], carries | near[MANTISSA_BITS]

    def _apart(self, m: Module, other: Value, exponent: Value, carried: Value) -> tuple[Signal, Signal]:
        """Whether the next number's exponent is larger than the sum's, and by how much they differ, a cycle later."""
        ahead, further, behind = exponent - other, exponent + 1 - other, other - exponent
        swap, places = Signal(reset_less=True), Signal(SHIFT_BITS, reset_less=True)
        staying, growing = ahead < 0, further < 0
        m.d.sync += [
            swap.eq(Mux(carried, growing, staying)),
            places.eq(
                Mux(
                    carried,
                    _most(Mux(growing, ~ahead, further), SHIFT_BITS),
                    _most(Mux(staying, behind, ahead), SHIFT_BITS),
                )
            ),
        ]
        return swap, places


def _number(value: Value) -> tuple[Value, Value]:
    """Mantissa and exponent of a float32 that is not negative, see :data:`TOTAL`."""
    exponent = value[FRACTION_BITS : FRACTION_BITS + EXPONENT_BITS]
    return Cat(value[:FRACTION_BITS], exponent.any()), exponent | ~exponent.any()


def _most(places: Value, bits: int) -> Value:
    """A number of 0 or more, or if it has more bits than these, the largest that they hold."""
    return places[:bits] | places[bits:].any().replicate(bits)


def _shifted(value: Value, places: Value) -> tuple[Value, Value]:
    """``value >> places``, and whether any bit is lost."""
    lost: list[Value] = []
    for stage in reversed(range(len(places))):
        count = 1 << stage
        lost.append(places[stage] & value[:count].any())
        value = Mux(places[stage], value[count:], value)[: len(value)]
    return value, Cat(lost).any()


def total_latency(lanes: int) -> int:
    """Cycles from a row's last item to its sum."""
    return 3 + ADD_CYCLES * lanes


class Share(wiring.Component):
    """``min(round(product / total) + zero_point, 127)``, ties to even, by a division of a bit a cycle.

    A share every ``DIVIDE_CYCLES`` = 10 cycles, latency ``LATENCY`` = 14 cycles.

    Members
    -------
    start : In(1)
        There is an exponential.
    exponential : In, product : In
        A float32 that is not negative, and its mantissa times the result's steps, which must be at most 256.
    total : In
        :data:`TOTAL`, from the cycle after ``start`` on for ``DIVIDE_CYCLES``: a sum of exponentials, this one among
        them, with the mantissa's highest bit set.
    zero_point : In
        Steady.
    o : Out
        The share; it stays until the next one's.
    """

    LATENCY = DIVIDE_CYCLES + 4

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1), "exponential": In(32), "product": In(32), "total": In(TOTAL),
                "zero_point": In(signed(8)), "o": Out(signed(8)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The dividend is twice the product, so that the quotient ends with the bit that is rounded. Its lower bits
        # leave their register as those of the quotient enter it.
        rest, bits = Signal(MANTISSA_BITS, reset_less=True), Signal(QUOTIENT_BITS, reset_less=True)
        wide = Cat(bits[-1], rest)
        difference = wide - self.total.mantissa
        fits = ~difference[-1]
        next_rest, next_bits = Mux(fits, difference, wide)[:MANTISSA_BITS], Cat(fits, bits[:-1])
        m.d.sync += [rest.eq(next_rest), bits.eq(next_bits)]
        exponent = Signal(EXPONENT_BITS, reset_less=True)
        with m.If(self.start):
            dividend = Cat(0, self.product)
            m.d.sync += [rest.eq(dividend[QUOTIENT_BITS:]), bits.eq(dividend[:QUOTIENT_BITS])]
            m.d.sync += exponent.eq(_number(self.exponential)[1])

        # What the last cycles work on stays while the next division goes on.
        quotient, left = Signal(QUOTIENT_BITS, reset_less=True), Signal(MANTISSA_BITS, reset_less=True)
        places = Signal(PLACES_BITS, reset_less=True)
        with m.If(delayed(m, self.start, DIVIDE_CYCLES, name="started")):
            apart = (self.total.exponent - exponent)[:EXPONENT_BITS]
            m.d.sync += [quotient.eq(next_bits), left.eq(next_rest), places.eq(_most(apart, PLACES_BITS))]
        shifted, lost = _shifted(quotient, places)
        halves = delayed(m, shifted, name="halves")
        sticky = delayed(m, lost | left.any(), name="sticky")
        up = halves[0] & (sticky | halves[1])
        value = delayed(m, halves[1:] + up + self.zero_point, name="value")
        m.d.sync += self.o.eq(Mux(value > 127, 127, value))
        return m
