"""The link: its streams keep their contract, whatever comes, and a response's bytes are sent as they were collected."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value, signed

from prove import Order, any_const, contract, free, prove, stand_in
from sateen.hw.link.answer import Answer
from sateen.hw.link.endpoint import Endpoint
from sateen.hw.link.framing import Deframer, Framer
from sateen.hw.link.listed import Listed
from sateen.hw.link.receiver import Receiver
from sateen.hw.link.uart import BITS, UART
from sateen.hw.spec.config import PRESETS, Config
from sateen.hw.spec.wire import Frame, FrameType, Space
from sateen.hw.stream.fetch import Fetch

FRAME_BYTES = 4
HELLO_LENGTH_BITS, HELLO_COUNT_BITS, HELLO_LENGTH = 4, 4, 10
"""For the proof of HELLO: bits of a frame's length and of an operation's count, and bytes of the longest frame: an
operation with two bytes of data."""
HELLO_CYCLES = 48
"""Cycles from a HELLO's arrival behind such a frame to that one's release."""
TINY, OUTSIDE = PRESETS["tiny"], replace(PRESETS["tiny"], sdram="as4c32m16sb")
BETWEEN_FRAMES = "top.dut/w:* top.dut/w:fsm_state %d top.dut/w:index %d"
"""The endpoint's own registers that hold anything between two frames: all but its state, which is ``idle``, and the
place in an operation's header, which is 0 outside of one."""
HELLO_WAITS = 20
"""Cycles for which a frame is there, at least, that waits for a program or a memory."""


def framer(m: Module) -> None:
    """Bytes to the line stay until they are taken."""
    m.submodules.dut = dut = Framer()
    free(m, dut)
    contract(m, dut.o)


def answer(m: Module, *, data: bool) -> None:
    """A body is the header, the response's bytes unless it is ``bare``, and the status, which alone is ``last`` and
    ``done``.

    ``data``: the response's bytes are those that were collected.
    """
    m.submodules.dut = dut = Answer(frame_bytes=FRAME_BYTES)
    free(m, dut)
    contract(m, dut.o)
    sending, sent, byte = Signal(), Signal(range(FRAME_BYTES + 6)), dut.o.payload
    # The endpoint sends when a response is complete, and begins no other meanwhile.
    state, amount = Cat(dut.seq, dut.session, dut.status, dut.bare), Signal.like(dut.count)
    steady = Signal.like(state)
    m.d.sync += steady.eq(state)
    with m.If(dut.start):
        m.d.comb += Assume(~sending & ~dut.clear & ~dut.i.valid)
        m.d.sync += [sending.eq(1), sent.eq(0), amount.eq(Mux(dut.bare, 0, dut.count))]
    with m.If(sending):
        m.d.comb += Assume(~dut.clear & ~dut.i.valid & (state == steady))
    with m.If(dut.o.valid):
        m.d.comb += Assert(sending & (byte.last == (sent == Frame.HEADER.size + amount)))
        m.d.comb += Assert(~byte.last | (byte.data == dut.status))
    m.d.comb += Assert(dut.count < FRAME_BYTES)
    m.d.comb += Assert(dut.done == (dut.o.valid & dut.o.ready & byte.last))
    with m.If(dut.o.valid & dut.o.ready):
        m.d.sync += [sent.eq(sent + 1), sending.eq(~byte.last)]
    m.d.comb += [Cover(dut.done & (amount == 2)), Cover(dut.done & (amount == 0) & (dut.count == 2))]
    if data:
        number, collected = any_const(m, range(FRAME_BYTES), "number"), Signal(8)
        with m.If(dut.i.valid & (dut.count == number) & ~dut.clear):
            m.d.sync += collected.eq(dut.i.payload)
        with m.If(dut.o.valid & (sent == Frame.HEADER.size + number) & (number < amount)):
            m.d.comb += Assert(byte.data == collected)


def receiver(m: Module) -> None:
    """A frame that is there stays, and its header stays the same, until it is released."""
    m.submodules.dut = dut = Receiver(frame_bytes=FRAME_BYTES)
    free(m, dut)
    m.d.comb += Assume(~dut.done | dut.valid)
    contract(
        m, SimpleNamespace(valid=dut.valid, ready=dut.done, payload=Cat(dut.type, dut.seq, dut.length)), name="frame"
    )


def endpoint(m: Module, config: Config) -> None:
    """Bytes to the line, requests to memories, runs and moves stay until they are taken."""
    m.submodules.dut = dut = Endpoint(config)
    free(m, dut)
    for port in (dut.tx, dut.request, dut.run, *([dut.move] if config.sdram else [])):
        contract(m, port)
    # Memories answer what they were asked, any number of cycles later; SDRAM until the cycle behind the move.
    read, under_way, moved = Signal(), Signal(range(4)), Signal()
    moving = reads_outside(dut) if config.sdram else Const(0, 1)
    m.d.sync += moved.eq(moving)
    m.d.comb += [
        read.eq(dut.request.valid & dut.request.ready & ~dut.request.payload.write),
        Assume((under_way != 3) | ~dut.request.ready),
        Assume((under_way != 0) | moving | moved | ~dut.response.valid),
        Assume(~(moving | moved) | (under_way == 0)),
    ]
    m.d.sync += under_way.eq(under_way + read - (dut.response.valid & (under_way != 0)))
    m.d.comb += [Cover(dut.request.valid & dut.request.payload.write), Cover(dut.run.valid & dut.run.ready)]
    if config.sdram:
        # A move of the host's bytes is over when all of them have been taken.
        m.d.comb += Assume(~(dut.move.valid & dut.move.ready & dut.request.valid))
        m.d.comb += Cover(dut.move.valid & dut.move.ready)


def reads_outside(dut: Endpoint) -> Value:
    """Bytes of SDRAM are read for the host, or for a list."""
    return dut.move.valid & (dut.move.payload.space == Space.SDRAM) & ~dut.move.payload.store


class Eager(stand_in(Framer)):
    """Takes a byte in each cycle."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += Assume(self.i.ready)
        return m


class Followed(stand_in(Receiver)):
    """Any frames, each of which stays until it is released, and HELLOs behind them, at any time; each must be released
    in time."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        frame = Cat(self.type, self.seq, self.length, self.session)
        valid, before, follows, late = Signal(), Signal.like(frame), Signal(), Signal(range(HELLO_CYCLES + 1))
        begun = Signal()
        waits = self.valid & self.next_valid & (self.next_type == FrameType.HELLO)
        age = Signal(range(HELLO_WAITS + 1))
        with m.If(~self.valid | self.done):
            m.d.sync += age.eq(0)
        with m.Elif(~waits & (age != HELLO_WAITS)):
            m.d.sync += age.eq(age + 1)
        m.d.sync += [
            begun.eq(1),
            valid.eq(self.valid & ~self.done),
            before.eq(frame),
            follows.eq(waits & ~self.done),
            late.eq(Mux(waits & ~self.done, late + 1, 0)),
        ]
        m.d.comb += [
            Assume(~valid | (self.valid & (frame == before))),
            # A HELLO comes later than what is there at the beginning.
            Assume(begun | ~self.next_valid),
            Assume(~follows | waits),
            Assume(self.length <= HELLO_LENGTH),
            Assert(late < HELLO_CYCLES),
            Cover((late > 8) & self.done),
            # Nothing but the HELLO ends what it waits for.
            Cover((late > 8) & (age == HELLO_WAITS) & self.done),
        ]
        return m


def answers_hello(m: Module) -> None:
    """The engine owes no more than this: some cycles after a halt, and until it takes a run, it serves requests and
    takes a run. The line takes bytes."""
    m.submodules.dut = dut = Endpoint(TINY)
    free(m, dut)
    halted, freed, under_way = Signal(range(8)), Signal(), Signal(range(4))
    with m.If(dut.halt):
        m.d.sync += [halted.eq(0), freed.eq(1)]
    with m.Elif(dut.run.valid & dut.run.ready):
        m.d.sync += freed.eq(0)
    with m.Elif(halted != 7):
        m.d.sync += halted.eq(halted + 1)
    serves, read = freed & (halted == 7), dut.request.valid & dut.request.ready & ~dut.request.payload.write
    m.d.comb += [
        Assume(~serves | (dut.request.ready & dut.run.ready)),
        # What was asked for is answered, also while a program runs.
        Assume(dut.response.valid == (under_way != 0)),
        Assume(dut.tx.ready),
    ]
    m.d.sync += under_way.eq(under_way + read - dut.response.valid)


def uart(m: Module) -> None:
    """A byte, sent at an eighth of the clock and followed by another, is received, and nothing else."""
    m.submodules.dut = dut = UART(clock_hz=8, baud=1)
    free(m, dut)
    m.d.comb += [dut.rx.eq(dut.tx), dut.i.valid.eq(1)]
    order = Order(m, dut.i, dut.o, capacity=2)
    m.d.comb += Cover(order.found)


@pytest.mark.prove
def test_framer():
    prove(framer)


@pytest.mark.prove
def test_answer():
    with patch("sateen.hw.link.answer.Fetch", stand_in(Fetch)):
        prove(lambda m: answer(m, data=False))


@pytest.mark.prove
def test_answer_bytes():
    """From the start to the end of a response of three bytes that waits for a few cycles."""
    prove(lambda m: answer(m, data=True), depth=26, cover=20)


@pytest.mark.prove
def test_receiver():
    """Whatever the deframer says: that spares the proof the CRC."""
    with patch("sateen.hw.link.receiver.Deframer", stand_in(Deframer)):
        prove(receiver)


@pytest.mark.prove
@pytest.mark.parametrize("config", [TINY, OUTSIDE], ids=["tiny", "SDRAM"])
def test_endpoint(config):
    """Whatever the receiver says. Lengths have 4 bits, enough for an operation and its data, since a proof by bits
    cannot count to 65,535."""
    with ExitStack() as stack:
        for name, value in (
            ("endpoint.Receiver", stand_in(Receiver)),
            ("payload.Fetch", stand_in(Fetch)),
            ("answer.Fetch", stand_in(Fetch)),
            ("endpoint.Listed", stand_in(Listed)),
            ("endpoint.LENGTH_BITS", 4),
            ("endpoint.COUNT", signed(5)),
        ):
            stack.enter_context(patch(f"sateen.hw.link.{name}", value))
        prove(lambda m: endpoint(m, config), cover=40)


@pytest.mark.prove
def test_endpoint_answers_hello():
    """Whatever the frames before have left in the endpoint's registers, whatever the next frame is, and whenever a
    HELLO comes behind it within 27 cycles: a frame of one operation waits by then for what it will wait for: a program,
    a memory, or its answers. The parts that read a frame and collect an answer begin as after a reset. Longer frames
    are tested (``tb/runtime/test_hostile.py``), and lists in SDRAM (``tb/runtime/test_lists.py``): of those, the solver
    finds no end within 40 minutes. The framer is proven by itself."""
    with ExitStack() as stack:
        for name, value in (
            ("endpoint.Receiver", Followed),
            ("endpoint.Framer", Eager),
            ("endpoint.LENGTH_BITS", HELLO_LENGTH_BITS),
            ("endpoint.COUNT", signed(HELLO_COUNT_BITS)),
        ):
            stack.enter_context(patch(f"sateen.hw.link.{name}", value))
        prove(answers_hello, depth=HELLO_CYCLES + 28, anywhere=BETWEEN_FRAMES, cover=70)


@pytest.mark.prove
def test_uart():
    prove(uart, depth=8 * BITS + 16, cover=8 * BITS + 16)
