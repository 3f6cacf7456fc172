"""A serial port, 8N1."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UART"]

FRACTION_BITS = 16
BITS = 10
"""Start bit, eight data bits, stop bit."""


class UART(wiring.Component):
    """Sends and receives bytes, 8N1, least significant bit first.

    The bit clock is a phase accumulator, so that its rate is right to 1 part in 2^16 · baud / clock for any ratio;
    edges jitter by one cycle. Each bit is the majority of three samples around its middle. A byte whose stop bit is
    low (a break, noise) is dropped.

    Parameters
    ----------
    clock_hz : int
        Frequency of the clock.
    baud : int
        Bits per second, at most an eighth of the clock.

    Members
    -------
    rx : In(1), tx : Out(1)
        The line, high when idle.
    i : In(stream)
        Bytes to send.
    o : Out(stream), always ready
        Bytes received.
    """

    def __init__(self, *, clock_hz: int, baud: int):
        if not 1 <= baud <= clock_hz // 8:
            raise ValueError(f"baud must be 1 to {clock_hz // 8} (an eighth of clock_hz), not {baud!r}")
        # Sixteen bits more than the ratio of clock and baud needs.
        self.phase_bits = FRACTION_BITS + (clock_hz // baud).bit_length()
        self.step = round((baud << self.phase_bits) / clock_hz)
        super().__init__(
            {
                "rx": In(1, init=1),  # type: ignore[call-arg]
                "tx": Out(1, init=1),  # type: ignore[call-arg]
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._send(m)
        self._receive(m)
        return m

    def _send(self, m: Module) -> None:
        phase = Signal(self.phase_bits + 1)
        shift, left = Signal(BITS, init=-1), Signal(range(BITS + 1))
        m.d.sync += self.tx.eq(shift[0])
        m.d.comb += self.i.ready.eq(left == 0)
        m.d.sync += phase.eq(phase[:-1] + self.step)
        with m.If(left == 0):
            with m.If(self.i.valid):
                m.d.sync += [shift.eq(Cat(0, self.i.payload, 1)), left.eq(BITS), phase.eq(0)]
        with m.Elif(phase[-1]):
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), left.eq(left - 1)]

    def _receive(self, m: Module) -> None:
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        samples = Signal(3, init=-1)
        level = Signal(init=1)
        m.d.sync += samples.eq(Cat(line, samples[:2]))
        m.d.sync += level.eq((samples[0] & samples[1]) | (samples[0] & samples[2]) | (samples[1] & samples[2]))

        # Starting half a bit ahead, the accumulator overflows in the middle of each bit.
        phase = Signal(self.phase_bits + 1)
        shift, left, broken = Signal(BITS), Signal(range(BITS + 1)), Signal()
        m.d.sync += [self.o.valid.eq(0), phase.eq(phase[:-1] + self.step)]
        with m.If(left == 0):
            with m.If(~level):
                m.d.sync += [left.eq(BITS), phase.eq(1 << (self.phase_bits - 1))]
        with m.Elif(phase[-1]):
            m.d.sync += [shift.eq(Cat(shift[1:], level)), left.eq(left - 1)]
            with m.If((left == BITS) & level):
                # Too short for a start bit.
                m.d.sync += left.eq(0)
            with m.If(left == 1):
                # A low stop bit: nothing is received until the line is high again.
                m.d.sync += [self.o.valid.eq(level & ~broken), self.o.payload.eq(shift[2:]), broken.eq(~level)]
                with m.If(~level):
                    m.d.sync += left.eq(1)
