"""The controller of SDR SDRAM against the model of a chip, which refuses whatever its datasheet forbids."""

from __future__ import annotations

import dataclasses
import itertools
import random

import cocotb
from amaranth.hdl import Module
from amaranth.lib import wiring
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time

from sateen.hw.sdram.controller import SdramController
from sateen.hw.spec.sdram import Command, find_chip
from sateen.hw.stream.delay import delayed
from sateen.sim.sdram import Sdram
from sateen.testing.bench import Bench
from sateen.testing.dut import CLOCK_NS, parameters, reset
from sateen.testing.sdram import SdramDevice
from sateen.testing.streams import StreamMonitor, StreamSink, StreamSource

LEAST_SHARE = 0.9
"""Of the words that the bus could move, in long sequential runs."""
WHOLE_ROW = 0x40
"""Words that a test of places stays within, at the end of a row."""


class Delayed(wiring.Component):
    """A controller with registers between it and the chip, as those of I/O cells."""

    def __init__(self, controller):
        self.controller = controller
        super().__init__(controller.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = controller = self.controller
        for name in ("request", "w", "r"):
            port = wiring.flipped(getattr(self, name))
            wiring.connect(m, *((port, controller.r) if name == "r" else (port, getattr(controller, name))))
        out = controller.delay // 2
        for name in ("ras", "cas", "we", "ba", "a", "dqm", "dq_o", "dq_oe"):
            m.d.comb += getattr(self.pins, name).eq(delayed(m, getattr(controller.pins, name), out, name=name))
        m.d.comb += controller.pins.dq_i.eq(delayed(m, self.pins.dq_i, controller.delay - out, name="dq_i"))
        return m


def short(chip, power_up_us):
    """A chip that needs less time at power-up."""
    return dataclasses.replace(find_chip(chip), power_up_us=power_up_us)


def sdram(*, chip="as4c32m16sb", clock_hz=100_000_000, delay=2, length_bits=16, power_up_us=1):
    settings = {"chip": short(chip, power_up_us), "clock_hz": clock_hz, "delay": delay, "length_bits": length_bits}
    return Delayed(SdramController(**settings))


class Traffic:
    """A device under test with its chip: requests, words to write, and the words that are read."""

    def __init__(self, dut, *, request=0.0, give=0.0, take=0.0):
        settings = parameters()
        self.dut, self.controller = dut, sdram(**settings).controller
        self.chip = self.controller.chip
        self.model = Sdram(self.chip, settings["clock_hz"], postponed=1, seed=random.getrandbits(30))
        layouts = {name: getattr(self.controller, name).payload.shape() for name in ("request", "w")}
        self.requests = StreamSource(dut, "request", layout=layouts["request"], pause=request)
        self.given = StreamSource(dut, "w", layout=layouts["w"], pause=give)
        self.taken = StreamSink(dut, "r", pause=take)
        self.watched = StreamMonitor(dut, "r")

    async def start(self):
        await reset(self.dut)
        # The chip counts from power-up; edges before this one had no command.
        cocotb.start_soon(SdramDevice(self.dut, self.model).run())
        cocotb.start_soon(self.watched.watch())

    async def run(self, requests, words):
        """Sends all requests and words; the words that were read. Returns when the chip has executed everything."""
        expected = sum(length + 1 for write, _, length in requests if not write)
        moved = self.model.moved + sum(length + 1 for _, _, length in requests)
        fields = [dict(zip(("write", "address", "length"), each, strict=True)) for each in requests]
        sending = [cocotb.start_soon(self.requests.send(fields)), cocotb.start_soon(self.given.send(words))]
        found = await self.taken.receive(expected)
        for task in sending:
            await task
        while self.model.moved < moved:
            await RisingEdge(self.dut.clk)
        return found

    def random_words(self, count):
        return [random.getrandbits(self.chip.data_bits) for _ in range(count)]

    def whole(self, words):
        """Words of which all bytes are written."""
        enable = (1 << self.chip.data_bits // 8) - 1
        return [{"data": word, "enable": enable} for word in words]


def cycles():
    return int(get_sim_time("ns")) // CLOCK_NS


@cocotb.test()
@cocotb.parametrize(write=[False, True])
async def follows_without_gaps(dut, write):
    """Long sequential runs, over several rows and refreshes, come near the peak rate."""
    traffic = Traffic(dut)
    await traffic.start()
    count = 3 * traffic.controller.timing.refresh
    address = random.randrange((1 << traffic.chip.address_bits) - count)
    words = traffic.random_words(count)
    if not write:
        traffic.model.load(address, words)
    await traffic.run([(False, 0, 0)], [])  # Initialized.
    refreshes, begin = traffic.model.counts[Command.REFRESH], cycles()
    found = await traffic.run([(write, address, count - 1)], traffic.whole(words) if write else [])
    took = cycles() - begin
    assert (traffic.model.words(address, count) if write else found) == words
    dut._log.info(f"{count} words in {took} cycles: {count / took:.1%} of the peak rate")
    assert traffic.model.counts[Command.REFRESH] - refreshes >= 2
    assert count / took >= LEAST_SHARE


@cocotb.test()
@cocotb.parametrize(("request", [0.0, 0.5]), ("give", [0.0, 0.6]), ("take", [0.0, 0.6]))
async def random_traffic(dut, request, give, take):
    """Reads and writes of any length in a few rows of all banks, some bytes of words only."""
    traffic = Traffic(dut, request=request, give=give, take=take)
    await traffic.start()
    chip, memory, requests, words, expected = traffic.chip, {}, [], [], []
    places = [
        (row << chip.bank_bits | bank) << chip.column_bits
        for row in random.sample(range(1 << chip.row_bits), 3) for bank in range(1 << chip.bank_bits)
    ]  # fmt: skip
    for _ in range(120):
        write, length = random.random() < 0.5, random.choice((0, 0, 1, 2, 3, 7, random.randrange(40)))
        address = random.choice(places) + (1 << chip.column_bits) - random.randrange(1, WHOLE_ROW)
        address %= 1 << chip.address_bits
        requests.append((write, address, length))
        for offset in range(length + 1):
            place = (address + offset) % (1 << chip.address_bits)
            old = memory.setdefault(place, traffic.model.words(place, 1)[0])
            if not write:
                expected.append(old)
                continue
            word = {"data": random.getrandbits(chip.data_bits), "enable": random.getrandbits(chip.data_bits // 8)}
            words.append(word)
            kept = sum(0xFF << 8 * byte for byte in range(chip.data_bits // 8) if not word["enable"] >> byte & 1)
            memory[place] = old & kept | word["data"] & ~kept
    assert await traffic.run(requests, words) == expected
    for place, word in memory.items():
        assert traffic.model.words(place, 1) == [word], f"word {place:#x}"


@cocotb.test()
async def corners(dut):
    """The chip's first and last word, the end of a row to the word, other rows of one bank, turns of the bus."""
    traffic = Traffic(dut)
    await traffic.start()
    chip = traffic.chip
    row, all_words = 1 << chip.column_bits, 1 << chip.address_bits
    bank_row = row << chip.bank_bits
    runs = [(0, 1), (all_words - 1, 1), (all_words - 1, 2), (row - 1, 1), (row - 1, 2), (row, 1), (2 * row - 2, 3)]
    runs += [(3 * row, 1), (3 * row + bank_row, 1), (3 * row, 2), (3 * row + 2 * bank_row, 1), (3 * row + bank_row, 2)]
    requests, words, expected, memory = [], [], [], {}
    # Each is written and read at once, and all once more, back to back.
    for write, (address, length) in [
        *itertools.chain.from_iterable([(True, run), (False, run)] for run in runs), *[(False, run) for run in runs],
    ]:  # fmt: skip
        requests.append((write, address, length - 1))
        places = [(address + offset) % all_words for offset in range(length)]
        if write:
            fresh = traffic.random_words(length)
            words += fresh
            memory.update(zip(places, fresh, strict=True))
        else:
            expected += [memory[place] for place in places]
    assert await traffic.run(requests, traffic.whole(words)) == expected


@cocotb.test()
async def stalled_by_its_reader(dut):
    """Words that nobody takes, and words to write that do not come, stop no refresh."""
    traffic = Traffic(dut)
    await traffic.start()
    words = traffic.random_words(64)
    traffic.model.load(5, words)
    fields = [{"write": False, "address": 5, "length": 63}, {"write": True, "address": 9, "length": 3}]
    sending = cocotb.start_soon(traffic.requests.send(fields))
    interval = traffic.controller.timing.refresh
    await ClockCycles(dut.clk, 3 * interval)
    refreshes = traffic.model.counts[Command.REFRESH]
    assert await traffic.taken.receive(64) == words
    await sending
    await ClockCycles(dut.clk, 3 * interval)
    assert traffic.model.counts[Command.REFRESH] - refreshes in (3, 4)
    late = traffic.random_words(4)
    await traffic.given.send(traffic.whole(late))
    await ClockCycles(dut.clk, 40)
    assert traffic.model.words(9, 4) == late


@cocotb.test()
async def first_word_in_time(dut):
    """As many cycles from a request to its first word as the controller's documentation says."""
    traffic = Traffic(dut)
    await traffic.start()
    timing, delay = traffic.controller.timing, traffic.controller.delay
    await traffic.run([(False, 0, 0)], [])
    other = 1 << traffic.chip.column_bits
    for address, more in ((1, 0), (other, timing.rcd), (other + 1, 0)):
        begin = cycles()
        await traffic.run([(False, address, 0)], [])
        # The request is taken an edge after it is offered.
        assert cycles() - begin - 1 <= timing.cas + delay + 10 + more
        await ClockCycles(dut.clk, 5)


BENCHES = [
    Bench(
        name="sdram",
        title="a controller of SDRAM: words in order, no rule of the chip broken, the bus busy in long runs",
        create=sdram,
    ),
]
