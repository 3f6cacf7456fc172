"""Components that pass items on: what is offered stays until it is taken, and nothing is lost, repeated or made up."""

from __future__ import annotations

from functools import partial

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal, signed
from amaranth.lib import data

from prove import Order, contract, free, prove
from sateen.hw.pe.bitserial import PlaneFeeder
from sateen.hw.pe.contract import Feeder, Loader
from sateen.hw.pe.mac import Offset
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.pipelined.operands import OperandWriter
from sateen.hw.spec.pe import ACTIVATION_POINT_BIT, ZERO_POINT_BIT
from sateen.hw.stream.fetch import Fetch
from sateen.hw.stream.queue import Queue
from sateen.hw.stream.slice import RegisterSlice
from sateen.hw.tile import Tile

TAG = data.StructLayout({"tag": 1})


def register_slice(m: Module) -> None:
    """Items come out in order, a cycle later."""
    m.submodules.dut = dut = RegisterSlice(8)
    free(m, dut)
    contract(m, dut.o)
    order = Order(m, dut.i, dut.o, capacity=2, latency=1)
    m.d.comb += Cover(order.found)


def queue(m: Module) -> None:
    """Items come out in order, a cycle later."""
    m.submodules.dut = dut = Queue(1, depth=4)
    free(m, dut)
    contract(m, dut.o)
    order = Order(m, dut.i, dut.o, capacity=4, latency=1)
    m.d.comb += Cover(order.found)


def fetch(m: Module) -> None:
    """Answers come in the order of their requests, ``latency + 3`` cycles later. The memory answers with the address,
    of one bit.

    A wider one is moved in the same way; the memory's latency is a number of registers.
    """
    m.submodules.dut = dut = Fetch(address=1, data_shape=1, tag=data.StructLayout({}), latency=1)
    free(m, dut)
    answer = Signal()
    m.d.sync += answer.eq(dut.address)
    m.d.comb += dut.data.eq(answer)
    contract(m, dut.o)
    order = Order(m, dut.i, dut.o, capacity=dut.depth, latency=dut.latency + 3)
    m.d.comb += Cover(order.found)


def fetch_tags_apart(m: Module) -> None:
    """The same without a register slice, where tags wait apart: each comes with its own answer, a cycle earlier."""
    m.submodules.dut = dut = Fetch(address=1, data_shape=1, tag=1, latency=1, sliced=False, depth=4)
    free(m, dut)
    answer = Signal()
    m.d.sync += answer.eq(dut.address)
    m.d.comb += dut.data.eq(answer)
    contract(m, dut.o)
    order = Order(m, dut.i, dut.o, capacity=dut.depth, latency=dut.latency + 2)
    m.d.comb += Cover(order.found)


def feeder(m: Module) -> None:
    """Wires."""
    m.submodules.dut = dut = Feeder(rows=2, tag=TAG)
    free(m, dut)
    contract(m, dut.o)
    beat, wave = dut.i.payload, dut.o.payload
    m.d.comb += Assert((dut.o.valid == dut.i.valid) & (dut.i.ready == dut.o.ready))
    m.d.comb += Assert((wave.activations == beat.data) & (wave.swap == beat.swap) & (wave.tag == beat.tag))
    m.d.comb += Assert(wave.first & wave.last)


def offset_feeder(m: Module) -> None:
    """Wires, and the differences of bytes and their zero point."""
    m.submodules.dut = dut = Offset(rows=2, tag=TAG, activation=signed(9))
    free(m, dut)
    contract(m, dut.o)
    beat, wave = dut.i.payload, dut.o.payload
    m.d.comb += Assert((dut.o.valid == dut.i.valid) & (dut.i.ready == dut.o.ready))
    zero_point = beat.settings[ACTIVATION_POINT_BIT : ACTIVATION_POINT_BIT + 8].as_signed()
    for row in range(2):
        m.d.comb += Assert(wave.activations[row] + zero_point == beat.data[row])
    m.d.comb += Assert((wave.swap == beat.swap) & (wave.slide == beat.slide) & (wave.tag == beat.tag))


def operand_writer(m: Module) -> None:
    """Each result that counts is written to its place two cycles later, and nothing else is."""
    m.submodules.dut = dut = OperandWriter(cols=3, lanes=2, address_bits=4)
    free(m, dut)
    given = Cat(dut.enable, dut.mask, dut.address, dut.results)
    before, earlier = Signal.like(given), Signal.like(given)
    m.d.sync += [before.eq(given), earlier.eq(before)]
    enable, mask, column, word = earlier[0], earlier[1:3], earlier[3:5], earlier[5:7]
    results = [earlier[7:15], earlier[15:23]]
    for place in range(3):
        lanes = [enable & mask[lane] & (column + lane == place) for lane in range(2)]
        m.d.comb += Assert(dut.w_enable[place] == (lanes[0] | lanes[1]))
        for lane in range(2):
            with m.If(lanes[lane]):
                m.d.comb += Assert((dut.w_data[place] == results[lane]) & (dut.w_address == word))
    m.d.comb += Assert(dut.busy == before[0])
    m.d.comb += Cover(dut.w_enable == 6)


def loader(m: Module) -> None:
    """Wires."""
    m.submodules.dut = dut = Loader(cols=2)
    free(m, dut)
    contract(m, dut.o)
    m.d.comb += Assert((dut.o.valid == dut.i.valid) & (dut.i.ready == dut.o.ready))
    m.d.comb += Assert((dut.o.payload.weights == dut.i.payload.word) & dut.o.payload.last)
    m.d.comb += Assert(dut.o.payload.zero_point.as_unsigned() == dut.i.payload.settings[ZERO_POINT_BIT:])


def plane_feeder(m: Module) -> None:
    """A beat becomes as many waves as it has bits, the highest first, and the next one follows without a pause."""
    m.submodules.dut = dut = PlaneFeeder(rows=2, tag=TAG)
    free(m, dut)
    contract(m, dut.o)
    bits, wave = dut.i.payload.settings[:4], dut.o.payload
    m.d.comb += Assume((bits >= 1) & (bits <= 8))
    beat, left, first = Signal(dut.i.payload.shape()), Signal(range(9)), Signal()
    m.d.comb += Assert(dut.o.valid == (left != 0))
    m.d.comb += Assert(dut.i.ready == ((left == 0) | (dut.o.ready & (left == 1))))
    with m.If(dut.o.valid):
        for row, value in enumerate(beat.data):
            m.d.comb += Assert(wave.activations[row] == (value.as_unsigned() << 1).bit_select(left, 1))
        m.d.comb += Assert((wave.first == first) & (wave.last == (left == 1)))
        m.d.comb += Assert((wave.swap == (first & beat.swap)) & (wave.tag == beat.tag))
        with m.If(dut.o.ready):
            m.d.sync += [left.eq(left - 1), first.eq(0)]
    with m.If(dut.i.valid & dut.i.ready):
        m.d.sync += [beat.eq(dut.i.payload), left.eq(bits), first.eq(1)]
    m.d.comb += Cover((left == 1) & (beat.settings[:4] == 8) & dut.i.valid & dut.i.ready)


def tile(m: Module, *, pe: str) -> None:
    """The tag of each beat whose sum is kept comes out once, in order, however weights and beats come. Of the
    bit-serial kind: beats of one and two bits."""
    m.submodules.dut = dut = Tile(ArrayShape(rows=1, cols=1, pe=pe), position_bits=1)
    free(m, dut)
    m.d.comb += Assume(dut.i.payload.tag.keep)
    if pe == "bitserial":
        bits = dut.i.payload.settings[:4]
        m.d.comb += Assume((bits >= 1) & (bits <= 2))
    order = Order(m, dut.i, dut.o, capacity=dut.latency + 2, expected=dut.i.payload.tag, actual=dut.o.payload.tag)
    m.d.comb += Cover(order.found)


@pytest.mark.parametrize(
    "build, cycles",
    [(register_slice, 5), (queue, 8), (feeder, 0), (offset_feeder, 0), (operand_writer, 5), (loader, 0),
     (plane_feeder, 12)],
)  # fmt: skip
def test_stream(build, cycles):
    prove(build, cover=cycles)


@pytest.mark.prove
@pytest.mark.parametrize(
    "build, cycles",
    [(fetch, 10), (fetch_tags_apart, 10), (partial(tile, pe="mac"), 20), (partial(tile, pe="bitserial"), 20)],
)
def test_slow_stream(build, cycles):
    prove(build, cover=cycles)
