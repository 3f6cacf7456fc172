"""The fully serial PEs: partial sums, too, move one bit per cycle, least significant first.

After the cells of column combining (Kung, McDanel, Zhang, ASPLOS 2019): balanced, interleaved, and both with
multiplexed inputs. Two things differ. Weights are in two's complement, so that no product is negated; and the last bit
of an activation counts negative, so that activations have a sign.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.pe.contract import Feeder, PeArray, PeSignature, forward
from sateen.hw.spec.pe import SERIAL_BITS, Settings
from sateen.hw.stream.view import view

__all__ = ["Array", "Balanced", "Collector", "Interleaved", "SerialFeeder", "activation_shape"]


def activation_shape(*, streams: int = 1) -> data.StructLayout:
    """A bit of an activation; whether it is the ``first`` or ``last`` of its beat; the beat's stream, one-hot, 0 in a
    pause."""
    return data.StructLayout({"bit": 1, "first": 1, "last": 1, "stream": streams})


class _Serial(wiring.Component):
    """What both kinds of cell do: forward their inputs, hold weights, multiply bit by bit.

    Parameters
    ----------
    weight_bits : int
        Width of the weights.
    streams : int
        Partial sums that are under way.
    """

    def __init__(self, *, weight_bits: int, streams: int):
        self.streams = streams
        super().__init__(
            PeSignature(activation=activation_shape(streams=streams), weight=signed(weight_bits), sum_bits=streams)
        )

    def _multiply(self, m: Module, platform: object) -> tuple[data.View, Value, Value]:
        """A cycle after its arrival: the activation, the product's next bit, and what remains of the product above
        it."""
        following, weight = Signal(self.weight_i.shape()), Signal(self.weight_i.shape())
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        with m.If(self.swap_i):
            m.d.sync += weight.eq(following)
        with m.If(self.capture_i.valid):
            m.d.sync += following.eq(self.weight_i)
        here = self.activation_o

        rest = Signal(signed(len(weight) + 1))
        product = Signal(signed(len(rest) + 1))
        # With one stream, the last bit is the sum's highest, where adding and subtracting are the same.
        value = Mux(here.last, -weight, weight) if self.streams > 1 else weight
        addend = Mux(here.bit, value, 0)
        m.d.comb += product.eq(Mux(here.first, 0, rest) + addend)
        m.d.sync += rest.eq(product >> 1)
        return here, product[0], product >> 1


class Balanced(_Serial):
    """Input and sum have equal widths: an activation comes with its sign repeated. Latency 2 cycles, one adder of a
    weight's width.

    Contract: :class:`~sateen.hw.pe.contract.PeSignature`; a partial sum is a bit per cycle.
    """

    def __init__(self, *, weight_bits: int = 8):
        super().__init__(weight_bits=weight_bits, streams=1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        here, bit, _ = self._multiply(m, platform)
        _add(m, self.sum_o[0], self.sum_i[0], bit, clear=here.first, name="carry")
        return m


class Interleaved(_Serial):
    """Streams share the multiplier: after an activation's bits, the rest of its product leaves on its own, while the
    next stream's activation arrives. Latency 2 cycles.

    Contract: :class:`~sateen.hw.pe.contract.PeSignature`; a partial sum is a bit per cycle, one for each stream.
    """

    def __init__(self, *, weight_bits: int = 8, streams: int = 4):
        super().__init__(weight_bits=weight_bits, streams=streams)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        here, bit, above = self._multiply(m, platform)
        for stream in range(self.streams):
            active = here.stream[stream]
            rest = Signal(signed(len(above)), name=f"rest_{stream}")
            m.d.sync += rest.eq(Mux(active, above, rest >> 1))
            _add(
                m,
                self.sum_o[stream],
                self.sum_i[stream],
                Mux(active, bit, rest[0]),
                clear=active & here.first,
                name=f"carry_{stream}",
            )
        return m


def _add(m: Module, out: Value, a: Value, b: Value, *, clear: Value, name: str) -> None:
    """A serial adder: one bit of both per cycle, ``clear`` with the first."""
    carry = Signal(name=name)
    total = Signal(2, name=f"{name}_total")
    m.d.comb += total.eq(a + b + (carry & ~clear))
    m.d.sync += [out.eq(total[0]), carry.eq(total[1])]


class SerialFeeder(Feeder):
    """Turns beats into bits, least significant first; the sign is repeated to the beat's end. Streams alternate.

    Parameters
    ----------
    cycles : int
        Cycles of a beat, 8 or more.
    """

    def __init__(self, *, rows: int, tag: data.Layout, cycles: int, streams: int = 1):
        self.cycles, self.streams = cycles, streams
        super().__init__(rows=rows, activation=activation_shape(streams=streams), tag=tag)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = view(self.i.payload.shape())
        left, first, ready = Signal(range(self.cycles + 1)), Signal(), Signal()
        stream = Signal(self.streams, init=1)
        wave = self.o.payload
        m.d.comb += [
            self.o.valid.eq(left != 0),
            wave.first.eq(first),
            wave.last.eq(left == 1),
            wave.swap.eq(beat.swap & first),
            wave.tag.eq(beat.tag),
            ready.eq((left == 0) | (wave.last & self.o.ready)),
            self.i.ready.eq(ready),
        ]
        for row in range(self.rows):
            here = wave.activations[row]
            m.d.comb += [
                here.bit.eq(beat.data[row][0]), here.first.eq(first), here.last.eq(wave.last),
                here.stream.eq(Mux(self.o.valid, stream, 0)),
            ]  # fmt: skip
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [left.eq(left - 1), first.eq(0)]
            m.d.sync += [value.eq(value >> 1) for value in beat.data]
            with m.If(wave.last):
                m.d.sync += stream.eq(stream.rotate_left(1))
        with m.If(self.i.valid & ready):
            m.d.sync += [beat.eq(self.i.payload), left.eq(self.cycles), first.eq(1)]
        return m


class Collector(wiring.Component):
    """Makes serial sums parallel, below a column: ``o`` is a sum in the cycle after its last bit. Streams begin one
    after the other, each with ``first``."""

    def __init__(self, *, sum_bits: int, streams: int = 1):
        self.streams = streams
        super().__init__({"i": In(signed(streams)), "first": In(1), "o": Out(signed(sum_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        begins = Signal(self.streams, init=1)
        with m.If(self.first):
            m.d.sync += begins.eq(begins.rotate_left(1))
        sums: Value | int = 0
        for stream in range(self.streams):
            # A one precedes the sum; when it reaches the end, the sum is complete.
            bits, busy = Signal(SERIAL_BITS + 1, name=f"bits_{stream}"), Signal(name=f"busy_{stream}")
            complete = busy & bits[0]
            m.d.sync += bits.eq(Cat(bits[1:], self.i[stream]))
            with m.If(complete):
                m.d.sync += busy.eq(0)
            with m.If(self.first & begins[stream]):
                m.d.sync += [bits.eq(Cat(1, self.i[stream]) << (SERIAL_BITS - 1)), busy.eq(1)]
            sums = sums | Mux(complete, bits[1:], 0)
        m.d.comb += self.o.eq(sums)
        return m


class Array(PeArray):
    """Serial cells, with beats made serial on the left and sums made parallel below; interleaved if a beat is shorter
    than a sum."""

    @property
    def cycles(self) -> int:
        """Cycles of a beat."""
        return self.kind.beat_cycles(Settings())

    @property
    def streams(self) -> int:
        """Partial sums that are under way in a PE."""
        return SERIAL_BITS // self.cycles

    def pe(self, row: int, column: int) -> Balanced | Interleaved:
        if self.streams == 1:
            return Balanced(weight_bits=self.weight_bits)
        return Interleaved(weight_bits=self.weight_bits, streams=self.streams)

    def feeder(self) -> SerialFeeder:
        return SerialFeeder(rows=self.rows, tag=self.tag, cycles=self.cycles, streams=self.streams)

    def foot(self) -> Collector:
        return Collector(sum_bits=self.sum_bits, streams=self.streams)
