"""The weight unit and the channels' parameters."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import cocotb
from amaranth.lib import data
from cocotb.triggers import ClockCycles, RisingEdge

from sateen.hw.pipelined.weight_store import WeightStore
from sateen.hw.pipelined.weights import ChannelParameters, WeightUnit, parameter_word
from sateen.hw.requantize import CHANNEL
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.descriptor import WeightStream
from sateen.hw.spec.parameters import BIAS_BYTES, PARAMETER_BYTES, parameter_words
from sateen.hw.spec.residual import sum_words
from sateen.hw.spec.timing import OPERAND_SETTLE
from sateen.sim.streams import words
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send

LATENCY, ADDRESS_BITS = 3, 12
SETTING_BITS = 16


def unit(*, cols=4, weight_rows=1, waits=False, repeats=False, residual=False):
    return WeightUnit(
        cols=cols, address_bits=ADDRESS_BITS, read_latency=LATENCY, setting_bits=SETTING_BITS,
        weight_rows=weight_rows, waits=waits, repeats=repeats, residual=residual,
    )  # fmt: skip


def waiting(p, tests):
    """Only some units wait for results."""
    return [name for name in tests if p["waits"] or name != "waits_for_results"]


def word(address, cols):
    """What the memory of the bench holds."""
    return [(address * 7 + column * 31 + (address >> 8)) & 0xFF for column in range(cols)]


def read(address, cols, weight_rows):
    """The words that are read together, the first of which stands at ``address``."""
    return [byte for place in range(weight_rows) for byte in word(address + place, cols)]


async def memory(dut, cols, weight_rows):
    shape = data.ArrayLayout(8, weight_rows * cols)
    pending = [0] * (LATENCY - 1)
    while True:
        await RisingEdge(dut.clk)
        pending.append(int(dut.address.value))
        dut.data.value = shape.const(read(pending.pop(0) * weight_rows, cols, weight_rows)).as_bits()


def channel_parameters(*, cols=6, weight_rows=1):
    return ChannelParameters(cols=cols, channel=CHANNEL, weight_rows=weight_rows)


def weight_store(*, config="tiny,weight_bytes=256"):
    return WeightStore(parse_config(config))


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.6])
async def streams_in_order(dut, pause):
    cols, together = parameters()["cols"], parameters()["weight_rows"]
    component = unit(cols=cols, weight_rows=together, residual=parameters()["residual"])
    streams = [
        WeightStream(base=0, blocks=1, groups=1, words=together),
        WeightStream(base=3700, blocks=3, groups=2, words=5 * together),
    ]
    streams += [
        WeightStream(
            base=random.randrange(700) * 4,
            blocks=random.randint(1, 3),
            groups=random.randint(1, 4),
            words=random.randint(1, 40) * together,
            settings=random.randrange(1 << SETTING_BITS),
            one_scale=random.random() < 0.5,
            tables=random.random() < 0.3,
        )
        for _ in range(8)
    ]
    if parameters()["repeats"]:
        streams = [replace(stream, same_biases=stream.one_scale and random.random() < 0.7) for stream in streams]
    expected: dict[str, list] = {"weights": [], "tables": [], "parameters": []}
    if parameters()["residual"]:
        expected["sums"] = []
        streams = [replace(s, residual=not s.tables and place % 3 != 2) for place, s in enumerate(streams)]
    await reset(dut)
    cocotb.start_soon(memory(dut, cols, together))
    section = b"".join(stream.encode() for stream in streams)
    cocotb.start_soon(send(dut, "load", struct.unpack(f"<{len(section) // 4}I", section), pause=pause))
    for stream in streams:
        entries, head = words(stream, together), sum_words(together) * stream.residual
        for place, (address, parameter) in enumerate(entries):
            to = "parameters" if parameter else "sums" if place < head else "tables" if stream.tables else "weights"
            if to in ("tables", "sums"):
                expected[to].append(word(address, cols))
            elif place % together == 0:
                last = not (*entries, (0, False))[place + together][1]
                expected[to].append((read(address, cols, together), last if parameter else stream.settings))
    sides = {
        name: cocotb.start_soon(
            receive(dut, name, len(items), layout=getattr(component, name).payload.shape(), pause=pause)
        )
        for name, items in expected.items()
    }
    got = {name: await side for name, side in sides.items()}

    def unsigned(values):
        return [value & 0xFF for value in values]

    for name in expected.keys() & {"tables", "sums"}:
        assert [unsigned(item) for item in got[name]] == expected[name]
    for name, other in (("weights", "settings"), ("parameters", "last")):
        assert [(unsigned(item["word"]), item[other]) for item in got[name]] == expected[name]


@cocotb.test()
async def waits_for_results(dut):
    """A layer that waits begins when all before it have ended, and no sooner than what they wrote is there; another is
    read at once."""
    cols = parameters()["cols"]
    streams = [
        WeightStream(base=place * 100, blocks=1, groups=1, words=3, waits=place in (1, 3)) for place in range(5)
    ]
    await reset(dut)
    dut.done.value = 0
    cocotb.start_soon(memory(dut, cols, 1))
    section = b"".join(stream.encode() for stream in streams)
    cocotb.start_soon(send(dut, "load", struct.unpack(f"<{len(section) // 4}I", section)))
    for side in ("weights", "tables", "parameters"):
        getattr(dut, f"{side}__ready").value = 1
    begun, at, cycle, ended = [], 0, 0, []
    # The results of layer n end at these times: those of 0 late, those of 1 and 2 one after the other.
    ends = [200, 400, 430, 800, 900]
    while cycle < 1000:
        await RisingEdge(dut.clk)
        cycle += 1
        dut.done.value = int(cycle in ends)
        ended += [cycle] * (cycle in ends)
        if dut.reading.value and int(dut.address.value) // 100 == at and int(dut.address.value) % 100 == 0:
            begun.append(cycle)
            at += 1
    assert len(begun) == len(streams)
    for place, waits in ((1, True), (2, False), (3, True), (4, False)):
        before = ends[place - 1]
        if waits:
            assert before + OPERAND_SETTLE <= begun[place] <= before + OPERAND_SETTLE + 6, (begun, ends)
        else:
            assert begun[place] < before, (begun, ends)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def holds_two_groups(dut, pause):
    cols = parameters()["cols"]
    groups = [
        [(random.randint(-(2**31), 2**31 - 1), random.randrange(2**31), random.randint(-31, 30)) for _ in range(cols)]
        for _ in range(8)
    ]
    groups[0] = [(-(2**31), 0, -31), (2**31 - 1, 2**31 - 1, 30), (0, 1 << 30, 0)][:cols] + groups[0][3:]
    together = parameters()["weight_rows"]
    stream = []
    for index, group in enumerate(groups):
        # Some have the scales of the group before.
        whole = index in (0, 1, 4)
        if not whole:
            group[:] = [(bias, *scale) for (bias, *_), (_, *scale) in zip(group, groups[index - 1], strict=True)]
        columns = [struct.pack("<iIb", *channel) for channel in group]
        # What stands between biases and scales, nobody reads.
        between = [random.randrange(256)] * (parameter_words(together) - PARAMETER_BYTES)
        columns = [[*column[:BIAS_BYTES], *between, *column[BIAS_BYTES:]] for column in columns]
        count = parameter_words(together) if whole else BIAS_BYTES
        for first in range(0, count, together):
            read_ = [column[byte] for byte in range(first, first + together) for column in columns]
            stream.append({"word": read_, "last": first + together == count})
    dut.take.value = 0
    await reset(dut)
    cocotb.start_soon(send(dut, "i", stream, layout=parameter_word(cols, together), pause=pause))
    shape = data.ArrayLayout(CHANNEL, cols)
    for group in groups:
        while not dut.full.value:
            await RisingEdge(dut.clk)
        dut.take.value = 1
        await RisingEdge(dut.clk)
        dut.take.value = 0
        await ClockCycles(dut.clk, 2)
        channels = shape.from_bits(int(dut.o.value))
        assert [(c.bias, c.multiplier, c.shift) for c in channels] == group


@cocotb.test()
async def stores_words(dut):
    """Reads give all words that stand together, at the documented latency."""
    config = parse_config(parameters()["config"])
    component, together, cols = weight_store(**parameters()), config.weight_rows, config.cols
    shape = data.ArrayLayout(8, component.lanes)
    await reset(dut)
    places = {0, component.depth - 1, *random.sample(range(component.depth), min(30, component.depth))}
    model = {place: [random.randrange(256) for _ in range(together * cols)] for place in places}
    for address, bytes_ in model.items():
        for lane, byte in zip(component.columns, bytes_, strict=True):
            dut.w_address.value, dut.w_data.value = address, shape.const([byte] * component.lanes).as_bits()
            dut.w_enable.value = 1 << lane
            await RisingEdge(dut.clk)
    dut.w_enable.value = 0
    await ClockCycles(dut.clk, component.latency)
    reads = random.choices(sorted(places), k=200)
    for cycle in range(len(reads) + component.latency):
        dut.r_address.value = reads[cycle] if cycle < len(reads) else 0
        await RisingEdge(dut.clk)
        if cycle >= component.latency:
            got = shape.from_bits(int(dut.r_data.value))
            assert [int(got[lane]) for lane in component.columns] == model[reads[cycle - component.latency]]


BENCHES = [
    Bench(
        name="weight-unit",
        title="a layer's words of weights, streamed in order",
        create=unit, only=("streams_in_order", "waits_for_results"), applies=waiting,
    ),
    Bench(
        name="weight-store",
        title="words that are read together, written by bytes",
        create=weight_store, only=("stores_words",),
    ),
    Bench(
        name="channel-parameters",
        title="bias, multiplier and shift of two groups of channels",
        create=channel_parameters, only=("holds_two_groups",),
    ),
]
