"""Processing elements that are not part of the machine, for comparison by ``bench/terms.py``: rivals of the term MAC.

All follow :class:`sateen.hw.pe.contract.PeSignature`: weights are held, activations move to the right, sums down. Sums
are those of a column of :data:`ELEMENTS` weights. What the loader would have to encode comes in encoded.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from carry_cells import BOTH, DIFFERENT, KEPT, SIGNED, Gate, GatedSum
from sateen.hw.multiply import PartialProducts
from sateen.hw.pe.contract import PeSignature, forward
from sateen.hw.stream.delay import delayed

ELEMENTS = 64
"""Weights of a column, by which the widths of sums are chosen."""
TABLE_GROUP = 4
"""Weights that a PE with a table holds."""
POWER = data.StructLayout({"exponent": 3, "negative": 1, "valid": 1})
"""A signed power of two."""


def add(
    m: Module, name: str, a: Value, addend: Value, *, gate: Gate = BOTH, c: Value | int = 1, d: Value | int = 1,
    carry: Value | int = 0,
) -> Value:  # fmt: skip
    """``a`` plus a signed ``addend``, gated; ``a``'s shape. The gate's ``b`` is the addend of :data:`SIGNED`, its ``c``
    that of the others."""
    width = len(a)
    adder = GatedSum(width, gate)
    m.submodules[name] = adder
    wide = Value.cast(addend)
    wide = Cat(wide, wide[-1].replicate(max(0, width - len(wide))))[:width]

    def whole(value: Value | int) -> Value:
        return Value.cast(value)[0].replicate(width)

    m.d.comb += [adder.a.eq(a), adder.d.eq(whole(d)), adder.carry.eq(carry)]
    m.d.comb += [adder.b.eq(wide), adder.c.eq(whole(c))] if gate is SIGNED else adder.c.eq(wide)
    return adder.o.as_signed()


def held(m: Module, pe: wiring.Component) -> Value:
    """The weights of a PE without slots: captured ones become current with a swap."""
    following, current = (Signal.like(pe.weight_i, name=name, reset_less=True) for name in ("following", "current"))
    with m.If(pe.capture_i.valid):
        m.d.sync += following.eq(pe.weight_i)
    with m.If(pe.swap_i):
        m.d.sync += current.eq(following)
    return current


def remembered(m: Module, pe: wiring.Component, place: Value) -> Value:
    """The weight in a place of a PE's memory of LUTs, a cycle later. The place's highest bit says which half is read;
    the loader writes the other one, by the highest bit of ``slot``, so that nothing is swapped."""
    weight = pe.weight_i
    memory: Memory = Memory(
        shape=weight.shape(), depth=1 << len(pe.capture_i.slot), init=[], attrs={"ram_style": "distributed"}
    )
    m.submodules.weights = memory
    write, read = memory.write_port(), memory.read_port(domain="comb")
    m.d.comb += [
        read.addr.eq(place),
        write.addr.eq(pe.capture_i.slot),
        write.data.eq(weight),
        write.en.eq(pe.capture_i.valid),
    ]
    current = Signal(weight.shape(), name="weight", reset_less=True)
    m.d.sync += current.eq(read.data)
    return current


class LeanMac(wiring.Component):
    """As :class:`sateen.hw.pe.mac.Mac` without a hardware multiplier, of fewer LUTs: a weight is a sign and a
    magnitude, the sign is applied in the sum's carry cells, and there are no samples.

    Latency: 2 cycles with 2 bits, 3 with 3, 4 with up to 5, 5 with more. One product a cycle. A weight of 0 must not be
    negative.

    Parameters
    ----------
    weight_bits : int
        2 to 8, sign included.
    activation_bits : int
        2 to 8.
    """

    def __init__(self, weight_bits: int, activation_bits: int = 8):
        if not 2 <= weight_bits <= 8:
            raise ValueError(f"weight_bits must be 2 to 8, not {weight_bits!r}")
        self.latency = weight_bits if weight_bits <= 3 else 4 if weight_bits <= 5 else 5
        weight = data.StructLayout({"magnitude": weight_bits - 1, "negative": 1})
        sum_bits = activation_bits - 1 + weight_bits + ceil_log2(ELEMENTS)
        super().__init__(PeSignature(activation=signed(activation_bits), weight=weight, sum_bits=sum_bits))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        weight = held(m, self)
        x, digits, negative = self.activation_o, weight.magnitude, weight.negative
        if len(digits) == 1:
            m.d.sync += self.sum_o.eq(add(m, "add", self.sum_i, x, gate=SIGNED, c=digits, d=negative, carry=negative))
            return m
        halves = [self._half(m, x, digits[low : low + 4], low) for low in range(0, len(digits), 4)]
        product = halves[0]
        if len(halves) > 1:
            wide = Signal(signed(len(x) + len(digits)))
            m.d.comb += wide.eq((halves[1] << 4) + halves[0])
            product = delayed(m, wide, name="product")
        sign = delayed(m, negative, self.latency - 2, name="negative")
        m.d.sync += self.sum_o.eq(add(m, "add", self.sum_i, product, gate=DIFFERENT, d=sign, carry=sign))
        return m

    def _half(self, m: Module, x: Value, digits: Value, low: int) -> Value:
        """The product with one to four digits, two cycles later; with a weight of two digits, one."""
        late = 1 if len(self.weight_i.magnitude) == 2 else 2
        if len(digits) == 1:
            return delayed(m, Mux(digits, x, 0), late, name=f"half_{low}")
        m.submodules[f"low_{low}"] = pair = PartialProducts(b_bits=len(x), subtract=False)
        m.d.comb += [pair.b.eq(x), pair.digits.eq(digits[:2])]
        if len(digits) == 2:
            return delayed(m, pair.o, late, name=f"half_{low}")
        first = delayed(m, pair.o, name=f"low_{low}")
        upper = Signal(signed(len(digits) + len(x) - 2), name=f"upper_{low}")
        if len(digits) == 3:
            again = delayed(m, x, name=f"again_{low}")
            m.d.comb += upper.eq(add(m, f"upper_{low}", (first >> 2).as_signed(), again, d=digits[2]))
        else:
            m.submodules[f"high_{low}"] = second = PartialProducts(b_bits=len(x), subtract=False)
            m.d.comb += [second.b.eq(x), second.digits.eq(digits[2:])]
            m.d.comb += upper.eq((first >> 2) + delayed(m, second.o, name=f"high_{low}"))
        return delayed(m, Cat(first[:2], upper).as_signed(), name=f"half_{low}")


class BitPlane(wiring.Component):
    """As :class:`sateen.hw.pe.bitserial.BitSerial`, with its gates in the carry cells. Latency 2."""

    latency = 2

    def __init__(self, weight_bits: int):
        super().__init__(
            PeSignature(activation=1, weight=signed(weight_bits), sum_bits=weight_bits + ceil_log2(ELEMENTS))
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        m.d.sync += self.sum_o.eq(add(m, "add", self.sum_i, held(m, self), d=self.activation_o))
        return m


class TableSum(wiring.Component):
    """Distributed arithmetic: a bit plane of four activations is the address of a sum of four weights.

    Of a table's 16 sums the second half is the first one negated, if a bit counts -1 or 1 in place of 0 or 1; so a
    memory of 16 places holds two tables, the current and the next one. A plane's sum is ``2 · p - w``, ``p`` that of
    the products and ``w`` that of the weights: see :class:`PlaneFoot`. One plane a cycle, latency 2.

    Weights are -2 to the ``weight_bits - 1``, plus 1, or more.

    Members
    -------
    activation : In(5)
        Lowest three bits: those of three activations, inverted where the fourth's is 1. Then the table, 0 or 1, and
        the fourth's bit.
    weight : In(signed)
        Word ``slot`` of the two tables, see :func:`table`.
    """

    latency = 2

    def __init__(self, weight_bits: int):
        rows = ELEMENTS // TABLE_GROUP
        bits = weight_bits + ceil_log2(TABLE_GROUP)
        shape = signed(bits)
        super().__init__(
            PeSignature(
                activation=TABLE_GROUP + 1, weight=shape, slots=1 << TABLE_GROUP, sum_bits=bits + ceil_log2(rows)
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "weight", "capture")
        word = remembered(m, self, self.activation_i[:-1])
        negative = self.activation_o[-1]
        m.d.sync += self.sum_o.eq(add(m, "add", self.sum_i, word, gate=DIFFERENT, d=negative, carry=negative))
        return m


class LogMac(wiring.Component):
    """A weight is one power of two, or 0. One product a cycle, latency 3: the shifted activation, the sum."""

    latency = 3

    def __init__(self) -> None:
        super().__init__(PeSignature(activation=signed(8), weight=POWER, sum_bits=16 + ceil_log2(ELEMENTS)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        weight = held(m, self)
        negative, valid = (delayed(m, weight[name], name=name) for name in ("negative", "valid"))
        ones = (self.activation_o ^ weight.negative.replicate(8))[:8]
        product = delayed(m, shifted(ones, weight.exponent, weight.negative), name="product")
        total = add(m, "add", self.sum_i, product, d=valid, carry=negative & valid)
        m.d.sync += self.sum_o.eq(total)
        return m


def shifted(chosen: Value, exponent: Value, negative: Value) -> Value:
    """A value of 8 bits that is in one's complement if ``negative``, times a power of two, likewise; 15 bits."""
    return (Cat(negative.replicate(7), chosen).as_signed() >> ~exponent)[:15].as_signed()


class Planes(wiring.Component):
    """What a row of PEs needs before it: turns activations into bit planes, the sign's first.

    Members
    -------
    i : In(signed(8)), of each of ``inputs`` activations
    load : In(1)
        Takes them; the first plane comes a cycle later.
    o : Out(inputs)
        With ``folded``, the bits of all but the last one are inverted where that is 1, for :class:`TableSum`.
    """

    def __init__(self, inputs: int, *, folded: bool = False):
        self.folded = folded
        super().__init__({"i": In(signed(8)).array(inputs), "load": In(1), "o": Out(inputs)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = []
        for place, value in enumerate(self.i):
            left = Signal(8, name=f"left_{place}")
            m.d.sync += left.eq(Mux(self.load, value, left << 1))
            bits.append(left[-1])
        last = bits[-1].replicate(len(bits) - 1) if self.folded else 0
        m.d.comb += self.o.eq(Cat(bits) ^ last)
        return m


class PlaneFoot(wiring.Component):
    """As :class:`sateen.hw.pe.bitserial.Horner`, with its gates in the carry cells: ``o = first ? -i : 2·o + i``, two
    cycles later.

    Below a column of :class:`TableSum`, ``o >> 1`` after the last plane is the column's sum plus ⌊w / 2⌋, ``w`` the sum
    of its weights. The constant belongs into the bias.
    """

    def __init__(self, *, partial_bits: int, sum_bits: int):
        super().__init__({"i": In(signed(partial_bits)), "first": In(1), "o": Out(signed(sum_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.add = adder = GatedSum(len(self.o), KEPT)
        i = delayed(m, self.i ^ self.first.replicate(len(self.i)).as_signed(), name="i")
        first, kept = delayed(m, self.first, name="first"), delayed(m, ~self.first, name="kept")
        m.d.comb += [
            adder.a.eq(i),
            adder.b.eq(self.o << 1),
            adder.c.eq(kept[0].replicate(len(self.o))),
            adder.carry.eq(first),
        ]
        m.d.sync += self.o.eq(adder.o)
        return m


def table(weights: list[int]) -> list[int]:
    """The words of a :class:`TableSum`'s table."""
    *signs, last = weights
    return [
        sum(w if address >> place & 1 else -w for place, w in enumerate(signs)) - last
        for address in range(1 << len(signs))
    ]
