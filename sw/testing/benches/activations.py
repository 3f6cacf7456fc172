"""The activation unit: beats equal those of the descriptor's definition; padding; halves of the accumulators."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge

from sateen.hw.pipelined.activations import ActivationUnit
from sateen.hw.spec.descriptor import ActivationStream, Sliding
from sateen.hw.spec.nests import Dim
from sateen.sim.streams import beats
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send

ADDRESS_BITS, POSITION_BITS, READ_LATENCY = 11, 8, 6


def unit(*, lanes=4):
    return ActivationUnit(
        lanes=lanes, address_bits=ADDRESS_BITS, position_bits=POSITION_BITS, read_latency=READ_LATENCY
    )


def convolution(*, height, columns, channels, kernel, stride, padding, lanes, blocks=1, groups=1, base=0):
    """The stream of a plain convolution, whose kernel rows are runs of bytes."""
    line, run_bytes = columns * channels, kernel * channels
    rows = (height + 2 * padding - kernel) // stride + 1
    out = (columns + 2 * padding - kernel) // stride + 1
    part = rows // blocks

    def at(row, x):
        return row, x, row * line + x

    start = at(-padding, -padding * channels)
    return ActivationStream(
        address=base + start[2], row=start[0], x=start[1], height=height, width=line, padding=random.randint(-128, 127),
        dims=(
            Dim(blocks, at(part * stride, 0)), Dim(groups, at(0, 0)), Dim(kernel, at(1, 0)), Dim(1, at(0, 0)),
            Dim(-(-run_bytes // lanes), at(0, lanes)), Dim(part, at(stride, 0)), Dim(out, at(0, stride * channels)),
            Dim(1, at(0, 0)), Dim(1, at(0, 0)),
        ),
    )  # fmt: skip


def pooling(*, height, columns, channels, size, lanes):
    """The stream of a max pooling layer: taps are the innermost counters."""
    line = columns * channels

    def at(row, x):
        return row, x, row * line + x

    return ActivationStream(
        address=5,
        row=0,
        x=0,
        height=height,
        width=line,
        padding=-128,
        dims=(
            Dim(1, at(0, 0)),
            Dim(-(-channels // lanes), at(0, lanes)),
            Dim(1, at(0, 0)),
            Dim(1, at(0, 0)),
            Dim(1, at(0, 0)),
            Dim(height // size, at(size, 0)),
            Dim(columns // size, at(0, size * channels)),
            Dim(size, at(1, 0)),
            Dim(size, at(0, channels)),
        ),
    )


def sliding(*, height, columns, channels, kernel, stride, padding, lanes, upright):
    """The stream of a depthwise convolution: a window slides along lines, or down columns."""
    line, full, runs = columns * channels, height + 2 * padding, (columns + 2 * padding, height + 2 * padding)
    most = [(size - kernel) // stride * stride + kernel for size in runs]
    along, across = (most[1], most[0]) if upright else (most[0], most[1])

    def at(row, x):
        return row, x, row * line + x

    outer, inner = (at(1, 0), at(0, channels)) if upright else (at(0, channels), at(1, 0))
    start = at(-padding, -padding * channels)
    assert full >= kernel
    return ActivationStream(
        address=40 + start[2],
        row=start[0],
        x=start[1],
        height=height,
        width=line,
        padding=7,
        sliding=Sliding(first_y=kernel - 1, first_x=kernel - 1, step_y=stride, step_x=stride),
        dims=(
            Dim(1, at(0, 0)),
            Dim(-(-channels // lanes), at(0, lanes)),
            Dim(1, at(0, 0)),
            Dim(2, at(0, 0)),
            Dim(1, at(0, 0)),
            Dim(along, outer),
            Dim(across, inner),
            Dim(1, at(0, 0)),
            Dim(1, at(0, 0)),
        ),
    )


def streams(lanes):
    """Corners first: one beat, padding on all sides, a chunk that hangs over, several blocks and groups, pooling."""
    yield convolution(height=1, columns=1, channels=1, kernel=1, stride=1, padding=0, lanes=lanes)
    yield convolution(height=3, columns=3, channels=2, kernel=3, stride=1, padding=2, lanes=lanes)
    yield convolution(
        height=4, columns=5, channels=lanes, kernel=3, stride=1, padding=1, lanes=lanes, blocks=2, groups=3
    )
    yield convolution(height=6, columns=6, channels=lanes + 1, kernel=2, stride=2, padding=0, lanes=lanes, base=700)
    yield pooling(height=4, columns=6, channels=lanes + 2, size=2, lanes=lanes)
    yield replace(
        convolution(height=3, columns=5, channels=lanes, kernel=1, stride=1, padding=0, lanes=lanes, groups=6),
        quarters=True,
    )
    for upright in (False, True):
        yield sliding(
            height=5, columns=4, channels=lanes + 1, kernel=3, stride=1, padding=1, lanes=lanes, upright=upright
        )
        yield sliding(height=6, columns=7, channels=lanes, kernel=2, stride=2, padding=0, lanes=lanes, upright=upright)
    yield sliding(height=1, columns=1, channels=1, kernel=1, stride=3, padding=0, lanes=lanes, upright=False)
    for _ in range(4):
        yield convolution(
            height=random.randint(4, 7), columns=random.randint(4, 7), channels=random.randint(1, 9),
            kernel=random.randint(1, 4), stride=random.randint(1, 3), padding=random.randint(0, 2), lanes=lanes,
            base=random.randrange(1500),
        )  # fmt: skip


async def scratchpad(dut, contents, lanes):
    """A memory of the unit's latency: the harness's register counts as one cycle."""
    shape = unit(lanes=lanes).data.shape()
    pending = [0] * (READ_LATENCY - 1)
    while True:
        await RisingEdge(dut.clk)
        pending.append(int(dut.address.value))
        address = pending.pop(0)
        data = [int(contents[(address + lane) % len(contents)]) for lane in range(lanes)]
        dut.data.value = shape.const(data).as_bits()


class Releases:
    """Plays the output unit: each half that is complete comes back after a while."""

    def __init__(self, dut, delay):
        self.dut, self.delay, self.due = dut, delay, 0

    async def work(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            dut.drained.value = 0
            if (
                dut.o__valid.value == 1
                and dut.o__ready.value == 1
                and int(dut.o__payload.value) >> len(dut.o__payload) - 3 & 1
            ):
                self.due += 1
                cocotb.start_soon(self.later())

    async def later(self):
        for _ in range(self.delay):
            await RisingEdge(self.dut.clk)
        self.dut.drained.value = 1
        self.due -= 1


@cocotb.test()
@cocotb.parametrize(("pause", [0.0, 0.5]), ("delay", [1, 40]))
async def matches_definition(dut, pause, delay):
    lanes = parameters()["lanes"]
    component = unit(lanes=lanes)
    contents = np.random.default_rng(cocotb.RANDOM_SEED).integers(-128, 128, 1 << ADDRESS_BITS).astype(np.int8)
    dut.go.value = 0
    dut.drained.value = 0
    await reset(dut)
    cocotb.start_soon(scratchpad(dut, contents, lanes))
    releases = Releases(dut, delay)
    cocotb.start_soon(releases.work())
    for stream in streams(lanes):
        section = stream.encode()
        await send(dut, "load", struct.unpack(f"<{len(section) // 4}I", section), pause=pause)
        dut.go.value = 1
        await RisingEdge(dut.clk)
        dut.go.value = 0
        expected = beats(stream, contents, lanes, positions=1 << POSITION_BITS)
        actual = await receive(dut, "o", len(expected), layout=component.o.payload.shape(), pause=pause)
        for index, (want, got) in enumerate(zip(expected, actual, strict=True)):
            tag = got["tag"]
            found = (
                got["data"],
                got["swap"],
                got["slide"],
                tag["address"],
                tag["first"],
                tag["last"],
                tag["keep"],
                got["final"],
            )
            assert found == (
                want.data, want.swap, want.slide, want.address, want.first, want.last, want.keep, want.final,
            ), f"beat {index} of {stream}"  # fmt: skip
        # The next descriptor begins when all of this one is drained.
        while releases.due:
            await RisingEdge(dut.clk)
        await ClockCycles(dut.clk, 3)


BENCHES = [
    Bench(
        name="activation-unit",
        title="the stream of activations that a descriptor defines, with its padding",
        create=unit,
    ),
]
