"""The affine nest, against the definition of its counters."""

from __future__ import annotations

import random

import cocotb

from sateen.hw.pipelined.nest import Nest
from sateen.hw.spec.nests import COUNT_BITS, Dim, steps
from sateen.sim.streams import walk
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send

COORDINATES = {"x": 18, "y": 12}
WATCHED = 4
"""Items of the longest walk during which each cycle is looked at."""


def make(*, dims=9, staged=False):
    levels = {"outer": 0, "any": dims - 1}
    return Nest(dims=dims, coordinates=COORDINATES, entries=levels, exits=levels, staged=staged)


def nests(dims):
    """Corners, then random nests: counters and origin."""
    yield [Dim(1, (5, 5))] * dims, (0, 0)
    yield [Dim(2, (1, -1))] * dims, (-7, 3)
    for inner in range(dims):
        yield [Dim(3 if d == inner else 1, (1, 10)) for d in range(dims)], (100, -100)
    for _ in range(10):
        yield (
            [
                Dim(random.choice([1, 1, 2, 3, 5]), (random.randint(-50, 50), random.randint(-9, 9)))
                for _ in range(dims)
            ],
            (random.randint(-1000, 1000), random.randint(-100, 100)),
        )
    yield [Dim(1, (0, 0))] * (dims - 1) + [Dim(300, (1, 0))], (0, 0)


async def settle(dut, nest, counters):
    """Sets all counters."""
    values = [
        {"index": index, "count": dim.count, "steps": dict(zip(COORDINATES, step, strict=True))}
        for index, (dim, step) in enumerate(zip(counters, steps(counters), strict=True))
    ]
    await send(dut, "dim", values, layout=nest.dim.payload.shape())


async def begin(dut, nest, origin):
    """Begins a walk."""
    dut.origin.value = nest.point.const(dict(zip(COORDINATES, origin, strict=True))).as_bits()
    dut.start.value = 1
    await cocotb.triggers.RisingEdge(dut.clk)
    dut.start.value = 0


async def stays_busy(dut):
    """In each cycle until it is cancelled."""
    while True:
        await cocotb.triggers.RisingEdge(dut.clk)
        assert dut.busy.value == 1


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def matches_definition(dut, pause):
    """Also where the next walk is set during one (``staged``)."""
    dims, staged = parameters()["dims"], parameters()["staged"]
    nest = make(dims=dims, staged=staged)
    await reset(dut)
    walks = list(nests(dims))
    await settle(dut, nest, walks[0][0])
    for (counters, origin), following in zip(walks, [*walks[1:], None], strict=True):
        await begin(dut, nest, origin)
        setting = None
        if staged:
            dut.origin.value = 0
            setting = cocotb.start_soon(settle(dut, nest, following[0])) if following else None
        expected = list(walk(counters, origin))
        watching = cocotb.start_soon(stays_busy(dut)) if len(expected) <= WATCHED else None
        items = await receive(dut, "o", len(expected), layout=nest.o.payload.shape(), pause=pause)
        if watching is not None:
            watching.cancel()
        assert [(item["at"]["x"], item["at"]["y"]) for item in items] == [at for _, at in expected]
        changes = [0]
        for (before, _), (after, _) in zip(expected, expected[1:], strict=False):
            changes.append(next(d for d in range(dims) if before[d] != after[d]))
        assert [item["enter"] for item in items] == changes
        assert [item["leave"] for item in items] == [*changes[1:], 0]
        for what, flags in (("enter", "entry"), ("leave", "exit")):
            assert all(item[flags] == {"outer": item[what] == 0, "any": 1} for item in items)
        assert [item["last"] for item in items] == [0] * (len(items) - 1) + [1]
        if setting is not None:
            await setting
        await cocotb.triggers.ClockCycles(dut.clk, 2)
        assert dut.busy.value == 0
        if following and not staged:
            await settle(dut, nest, following[0])


@cocotb.test()
async def counts_are_wide(dut):
    """A walk of as many items as a counter can have goes on behind the first few."""
    dims, staged = parameters()["dims"], parameters()["staged"]
    nest = make(dims=dims, staged=staged)
    await reset(dut)
    await settle(dut, nest, [Dim((1 << COUNT_BITS) - 1, (1, 2))] + [Dim(1, (5, 5))] * (dims - 1))
    await begin(dut, nest, (0, 0))
    items = await receive(dut, "o", 4, layout=nest.o.payload.shape())
    assert [(item["at"], item["leave"], item["last"]) for item in items] == [
        ({"x": place, "y": 2 * place}, 0, 0) for place in range(4)
    ]


BENCHES = [
    Bench(
        name="nest",
        title="the counters of an affine nest",
        create=make,
    ),
]
