"""The sequencer hands out sections in order, and its counters give each cycle to one cause."""

from __future__ import annotations

import random
from itertools import accumulate

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from sateen.hw.pipelined.sequencer import CauseCounters, Sequencer
from sateen.hw.spec.counters import RECORD_WORDS, Counters
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS
from sateen.testing.bench import Bench
from sateen.testing.dut import reset
from sateen.testing.streams import receive, send

LATENCY, DESCRIPTORS = 3, 8
PLACES = (0, 1, 2, 3, 127, 128, 200, 255)
"""In a run, of the descriptors whose records are looked at."""
RECORD_CYCLES = 10
"""From the end of a record to that of the next one, at least."""
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


def cause_counters(*, overlap=False):
    return CauseCounters(descriptors=max(PLACES) + 1, overlap=overlap)


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


def drive(dut, state):
    """Sets inputs by name."""
    for name, value in state.items():
        getattr(dut, name).value = value


def record(records, place):
    """A record by the names of its counters, and that of ``link``; what is behind them is 0."""
    words = [records[place * RECORD_WORDS + word] for word in range(RECORD_WORDS)]
    got = dict(zip(Counters.__dataclass_fields__, words, strict=False))
    assert not any(words[len(got) :])
    return got, got.pop("link")


def cause(state, drained):
    """The definition: what a cycle of a running program counts as."""
    if state["computing"]:
        return "busy"
    if state["waiting"]:
        return "weights"
    if drained:
        return "output"
    return "accumulators" if state["starved"] else "activations"


async def watch(dut, records):
    """Notes what is written, by address."""
    while True:
        await RisingEdge(dut.clk)
        if dut.enable.value:
            records[int(dut.address.value)] = int(dut.data.value)


@cocotb.test()
async def counts_by_cause(dut):
    records = {}
    await reset(dut)
    cocotb.start_soon(watch(dut, records))
    for place in PLACES:
        counts, drained = dict.fromkeys(Counters.__dataclass_fields__, 0), False
        length = random.randint(12, 60)
        for cycle in range(length):
            state = {name: random.random() < 0.5 for name in BEHAVIOUR}
            state["busy"] = True
            drive(dut, state)
            dut.finished__valid.value = cycle == length - 1
            dut.finished__payload.value = place
            await RisingEdge(dut.clk)
            counts["cycles"] += 1
            counts[cause(state, drained)] += 1
            drained |= state["ending"]
        pause = 20
        drive(dut, dict.fromkeys(BEHAVIOUR, 0))
        dut.finished__valid.value = 0
        await ClockCycles(dut.clk, pause)
        got, link = record(records, place)
        counts.pop("link")
        assert got == counts
        assert link == pause or place == 0


@cocotb.test()
async def counts_where_descriptors_overlap(dut):
    """Several runs of descriptors: each one's cycles end with its last beat, the last one's with its last result. A
    record that is due while one is written comes later, and so do its cycles."""
    records, pause = {}, 20
    await reset(dut)
    cocotb.start_soon(watch(dut, records))
    for run, gaps in enumerate([(15,), (30, 4, 26), (12, 1, 40, 9, 30, 10, 30)]):
        count, beats = len(gaps), list(accumulate(gaps))
        end = beats[-1] + random.randint(12, 40)
        ends = []
        for beat in (*beats[:-1], end):
            ends.append(max(beat, ends[-1] + RECORD_CYCLES) if ends else beat)
        expected = [dict.fromkeys(Counters.__dataclass_fields__, 0) for _ in gaps]
        dut.begin.value, dut.count.value = 1, count
        await RisingEdge(dut.clk)
        dut.begin.value = 0
        for cycle in range(1, end + 1):
            state = {name: random.random() < 0.5 for name in BEHAVIOUR} | {"busy": True, "ending": cycle in beats}
            behind = random.random() < 0.3
            drive(dut, state | {"behind": behind})
            # The results of all but the last are complete at any time.
            dut.finished__valid.value = cycle == end or random.random() < 0.1
            dut.finished__payload.value = count - 1 if cycle == end else random.randrange(max(1, count - 1))
            if count == 1 and cycle != end:
                dut.finished__valid.value = 0
            await RisingEdge(dut.clk)
            counts = expected[next(place for place, last in enumerate(ends) if cycle <= last)]
            counts["cycles"] += 1
            counts[cause(state, behind or cycle > beats[-1])] += 1
        drive(dut, dict.fromkeys((*BEHAVIOUR, "behind"), 0))
        dut.finished__valid.value = 0
        await ClockCycles(dut.clk, pause)
        for place, counts in enumerate(expected):
            got, link = record(records, place)
            counts.pop("link")
            assert got == counts, f"record {place} of {count}"
            # One more in which the run begins.
            assert link == (0 if place else pause + 1) or not run


BENCHES = [
    Bench(
        name="sequencer",
        title="the sections of descriptors reach their units in order",
        create=sequencer,
        only=("hands_out_sections",),
    ),
    Bench(
        name="cause-counters",
        title="each cycle counts for one cause",
        create=cause_counters,
        only=("counts_by_cause", "counts_where_descriptors_overlap"),
        applies=lambda fields, tests: [name for name in tests if name.endswith("overlap") == fields["overlap"]],
    ),
]
