"""The sequencer hands out sections in order, and its counters give each cycle to one cause."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from sateen.hw.pipelined.sequencer import CauseCounters, Sequencer
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send

LATENCY, DESCRIPTORS = 3, 8
BEHAVIOUR = ("busy", "computing", "waiting", "ending", "starved")


async def memory(dut):
    """Each word is its own address."""
    pending = [0] * (LATENCY - 1)
    while True:
        await RisingEdge(dut.clk)
        pending.append(int(dut.address.value))
        dut.data.value = pending.pop(0)


def sequencer():
    return Sequencer(descriptors=DESCRIPTORS, read_latency=LATENCY)


def cause_counters():
    return CauseCounters(descriptors=DESCRIPTORS)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def hands_out_sections(dut, pause):
    layout = sequencer().run.payload.shape()
    dut.done.value = 0
    await reset(dut)
    cocotb.start_soon(memory(dut))
    for first, count in [(0, 1), (DESCRIPTORS - 1, 1), (0, DESCRIPTORS), (2, 3)]:
        assert not dut.busy.value
        await send(dut, "run", [{"first": first, "count": count}], layout=layout)
        offset, units = 0, {}
        for section, length in SECTIONS.items():
            expected = [
                d * DESCRIPTOR_WORDS + offset + word for d in range(first, first + count) for word in range(length)
            ]
            units[section] = expected, cocotb.start_soon(receive(dut, section, len(expected), pause=pause))
            offset += length
        for expected, task in units.values():
            assert await task == expected
        for place in range(count):
            assert dut.busy.value
            await ClockCycles(dut.clk, random.randint(1, 20))
            dut.done.value = 1
            await RisingEdge(dut.clk)
            assert dut.finished__valid.value and dut.finished__payload.value == place
            dut.done.value = 0
            await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)


def cause(state, drained):
    """The definition: what a cycle of a running program counts as."""
    if state["computing"]:
        return "busy"
    if state["waiting"]:
        return "weights"
    if drained:
        return "output"
    return "accumulators" if state["starved"] else "activations"


@cocotb.test()
async def counts_by_cause(dut):
    for name in BEHAVIOUR:
        getattr(dut, name).value = 0
    dut.finished__valid.value = 0
    records = {}

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if dut.enable.value:
                records[int(dut.address.value)] = int(dut.data.value)

    await reset(dut)
    cocotb.start_soon(watch())
    for place in range(DESCRIPTORS):
        counts, drained = dict.fromkeys(Counters.__dataclass_fields__, 0), False
        length = random.randint(12, 60)
        for cycle in range(length):
            state = {name: random.random() < 0.5 for name in BEHAVIOUR}
            state["busy"] = True
            for name, value in state.items():
                getattr(dut, name).value = value
            dut.finished__valid.value = cycle == length - 1
            dut.finished__payload.value = place
            await RisingEdge(dut.clk)
            counts["cycles"] += 1
            counts[cause(state, drained)] += 1
            drained |= state["ending"]
        pause = 20
        for name in BEHAVIOUR:
            getattr(dut, name).value = 0
        dut.finished__valid.value = 0
        await ClockCycles(dut.clk, pause)
        words = [records[place * 8 + word] for word in range(8)]
        got = dict(zip(Counters.__dataclass_fields__, words, strict=False))
        link = got.pop("link")
        counts.pop("link")
        assert got == counts
        assert words[7] == 0
        assert link == pause or place == 0


BENCHES = [
    Bench(
        name="sequencer",
        title="the sections of descriptors reach their units in order",
        create=sequencer, only=("hands_out_sections",),
    ),
    Bench(
        name="cause-counters",
        title="each cycle counts for one cause",
        create=cause_counters, only=("counts_by_cause",),
    ),
]
