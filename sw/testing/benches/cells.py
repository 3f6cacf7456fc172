"""The unit of recurrent layers: what becomes of sums, and the curves of its cells."""

from __future__ import annotations

import random
from collections import deque

import cocotb
import numpy as np
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.cells import NUMBERS, Cells, cells_latency
from sateen.hw.pipelined.curve import Curve
from sateen.hw.pipelined.output import OutputUnit
from sateen.hw.requantize import CHANNEL, SETTINGS
from sateen.hw.spec.recurrent import Recurrent, Target
from sateen.sim import golden
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset

ITEM_LATENCY, WORDS, SPACE = 7, 64, 1 << 12


def curve():
    return Curve()


def cells(*, lanes=8, overlap=1):
    tag = OutputUnit.tag_shape(lanes=lanes, address_bits=SPACE.bit_length() - 1, overlap=bool(overlap))
    return Cells(lanes=lanes, words=WORDS, item_latency=ITEM_LATENCY, tag=tag)


@cocotb.test()
async def is_the_functions(dut):
    """Both functions at what each gate may be, and the hyperbolic tangent beyond; one value a cycle."""
    await reset(dut)
    codes = np.arange(-(2**15), 2**15, 7).astype(np.int16)
    far = np.concatenate([[-(2**21) + 1, 2**21 - 1, 1 << 16, -(1 << 16), 65279, 65280, 65281], np.arange(-300, 300)])
    places = np.concatenate([3 * codes.astype(np.int64), 3 * codes.astype(np.int64), far])
    kinds = np.arange(len(places)) >= len(codes)
    wanted = np.concatenate([golden.wide_logistic(codes, 2.0**-12), golden.tanh_at(places[len(codes) :])])
    found = []
    for index in range(len(places) + Curve.LATENCY):
        here = min(index, len(places) - 1)
        dut.i.value, dut.tanh.value = int(places[here]) & (1 << 22) - 1, int(kinds[here])
        await RisingEdge(dut.clk)
        if index >= Curve.LATENCY:
            found.append(dut.o.value.to_signed())
    np.testing.assert_array_equal(found, wanted)


class Descriptors:
    """Drives the unit with the items of descriptors, and looks at what comes out of it."""

    def __init__(self, dut, pause):
        self.dut, self.pause, self.lanes = dut, pause, parameters()["lanes"]
        unit = cells(lanes=self.lanes, overlap=parameters()["overlap"])
        self.tag, self.result = unit.tag_shape, unit.o.payload.shape()
        self.model, self.rng = golden.RecurrentUnit(WORDS), np.random.default_rng(cocotb.RANDOM_SEED)
        self.shown = deque([0] * ITEM_LATENCY)
        self.items, self.cycle = {}, 0

    async def tick(self, item=0):
        """A cycle in which ``item`` is at the head; whether it was taken, and the result that came."""
        self.shown.append(item)
        given = self.items.get(self.shown.popleft())
        if given is not None:
            for name, value in given.items():
                getattr(self.dut, name).value = value
        await RisingEdge(self.dut.clk)
        self.cycle += 1
        valid = int(self.dut.o__valid.value)
        return int(self.dut.taken.value), self.result.from_bits(int(self.dut.o__payload.value)) if valid else None

    async def run(self, recurrent, sums, channels, *, address=0, settings=(0, -128, 127)):
        """A descriptor's items, of one group of sums; they are compared with the model."""
        dut, lanes, (zero_point, low, high) = self.dut, self.lanes, settings
        places = address + np.arange(len(sums))
        wanted = self.model.results(recurrent, sums, channels, places, zero_point=zero_point, low=low, high=high)
        columns = [np.broadcast_to(np.asarray(each), len(sums)).tolist() for each in channels]
        dut.numbers.value = NUMBERS.const(recurrent.encode()).as_bits()
        dut.settings.value = SETTINGS.const({"zero_point": zero_point, "low": low, "high": high}).as_bits()
        dut.origin.value, dut.on.value = address, 1
        # While sums of the descriptor before still pass.
        for _ in range(self.rng.integers(1, 16)):
            await self.tick()
        dut.begin.value = 1
        await self.tick()
        dut.begin.value = 0
        count = -(-len(sums) // lanes)
        for number in range(count):
            some = slice(number * lanes, (number + 1) * lanes)
            here = [list(map(int, sums[some])), *(column[some] for column in columns)]
            more = lanes - len(here[0])
            fields = zip(*(each[some] for each in columns), strict=True)
            entries = [dict(zip(("bias", "multiplier", "shift"), map(int, each), strict=True)) for each in fields]
            tag = {"address": address + number * lanes, "mask": (1 << len(here[0])) - 1, "final": number == count - 1}
            tag |= {"part": number == count - 1} if parameters()["overlap"] else {}
            self.items[number + 1] = {
                "sums": data.ArrayLayout(32, lanes).const([s & 0xFFFFFFFF for s in here[0]] + [5] * more).as_bits(),
                "channels": data.ArrayLayout(CHANNEL, lanes).const(entries + [{}] * more).as_bits(),
                "tag": self.tag.const(tag).as_bits(),
            }
        written, head, final = np.full(SPACE, 1000), 1, False
        # Cycles since the last item was taken.
        since = None
        while not final:
            offered = head <= count and random.random() >= self.pause
            dut.offered.value = int(offered)
            dut.mask.value = (1 << min(lanes, len(sums) - (head - 1) * lanes)) - 1 if offered else 0
            while True:
                taken, result = await self.tick(head if offered else 0)
                if result is not None:
                    final = bool(result.tag.final)
                    for lane in range(lanes):
                        if result.tag.mask >> lane & 1:
                            written[result.tag.address + lane] = result.data[lane]
                    if parameters()["overlap"]:
                        assert result.tag.part == result.tag.final
                since = 0 if taken else since if since is None else since + 1
                if taken or not offered or final:
                    break
            head += taken
        found = written[address : address + len(wanted)]
        np.testing.assert_array_equal(found, wanted, err_msg=f"{recurrent} of {len(sums)} sums")
        assert (written != 1000).sum() == len(wanted), f"{recurrent} writes elsewhere, too"
        self.items.clear()
        self.shown = deque([0] * ITEM_LATENCY)
        dut.offered.value = 0
        # From the last four sums that count.
        return since, 0 if recurrent.target == Target.CELLS else 2 * ((len(sums) - 1) % 4)

    def scales(self, count, spread=6):
        return (
            self.rng.integers(-(2**15), 2**15, count), self.rng.integers(2**30, 2**31, count),
            -self.rng.integers(0, spread, count),
        )  # fmt: skip


ONE = 0, 1 << 30, 1
"""The parameters of a channel that scales nothing."""
EXTREMES = np.array([2**31 - 1, -(2**31), 2**15, 2**15 - 1, -(2**15), -(2**15) - 1, 0, -1])


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.7])
async def keeps_and_writes_values(dut, pause):
    """Words are kept and added, with saturation; values become results of one or two bytes; bytes are joined."""
    await reset(dut, patience_ms=1)
    unit = Descriptors(dut, pause)
    for count in (1, unit.lanes, 2 * unit.lanes + 3, 40):
        sums = np.concatenate([EXTREMES, unit.rng.integers(-(2**17), 2**17, 40)])[:count]
        await unit.run(Recurrent(target=Target.WIDE), sums, unit.scales(count), address=17)
        clamp = -9, -99, 80
        await unit.run(Recurrent(target=Target.NARROW), sums // 32, unit.scales(count), address=3, settings=clamp)
        await unit.run(Recurrent(target=Target.WORDS), sums[::-1], unit.scales(count), address=60 - count)
        more = unit.rng.integers(-(2**14), 2**14, count)
        await unit.run(Recurrent(target=Target.WIDE, adds=True, first=60 - count), more, ONE, address=1)
    for count in (1, unit.lanes // 4, unit.lanes // 2 + 1):
        sums = unit.rng.integers(-(2**22), 2**22, 4 * count)
        for target in (Target.NARROW, Target.WORDS, Target.WIDE):
            scales = unit.scales(4 * count)
            scales = scales[0] << 9, scales[1], scales[2] - 13
            await unit.run(Recurrent(target=target, joins=True), sums, scales, address=8)
    await unit.run(Recurrent(target=Target.WIDE, adds=True), np.zeros(WORDS, int), ONE)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def computes_cells(dut, pause):
    """Cells of every scale, step after step: with gates of any size, those at all limits among them, and clipped."""
    await reset(dut, patience_ms=1)
    unit, rng = Descriptors(dut, pause), np.random.default_rng(cocotb.RANDOM_SEED)
    for power in (-15, -24, -9, -12, -11, -10):
        for count, clip in ((1, 0), (unit.lanes // 4, 20_000), (9, 32767), (12, 300)):
            multiplier, shift = golden.quantize_multiplier(2.0**-30 / float(2.0 ** rng.uniform(-10, -6)))
            cells = Recurrent(
                target=Target.CELLS, adds=True, first=13, multiplier=multiplier, shift=shift, cell_power=power,
                cell_clip=clip,
            )  # fmt: skip
            await unit.run(Recurrent(target=Target.WORDS), rng.integers(-(2**15), 2**15, count), ONE)
            for loud in (2**11, 2**14, 2**17):
                added = rng.integers(-(2**13), 2**13, 4 * count)
                await unit.run(Recurrent(target=Target.WORDS), added, ONE, address=13)
                sums = rng.integers(-loud, loud, 4 * count)
                sums[:4] = rng.choice(EXTREMES, 4)
                settings = int(rng.integers(-60, 60)), -128, 127
                await unit.run(cells, sums, unit.scales(4 * count, 3), address=5, settings=settings)
            await unit.run(Recurrent(target=Target.WIDE, adds=True), np.zeros(count, int), ONE, address=9)


@cocotb.test()
async def takes_its_time(dut):
    """Eight cycles for four sums; the last result so many cycles after the last of them."""
    await reset(dut, patience_ms=1)
    unit = Descriptors(dut, 0)
    for count in (4, unit.lanes, 3 * unit.lanes - 4):
        for target in (Target.WIDE, Target.CELLS):
            late, last = await unit.run(Recurrent(target=target), np.zeros(count, int), ONE)
            # Four sums begin as many cycles before they are taken; two registers are before the requantizer.
            assert late == ITEM_LATENCY + 2 + last + cells_latency(target) - 7


@cocotb.test()
async def passes_others(dut):
    """Results of other descriptors pass in the same cycle, and none of theirs is taken for a recurrent layer's."""
    await reset(dut, patience_ms=1)
    unit = Descriptors(dut, 0)
    await unit.run(Recurrent(target=Target.CELLS), np.zeros(4, int), ONE)
    dut.on.value, dut.offered.value = 0, 1
    for number in range(100):
        result = {"data": [number - lane for lane in range(unit.lanes)], "tag": {"address": number, "mask": 5}}
        dut.results__payload.value, dut.results__valid.value = unit.result.const(result).as_bits(), number % 3 == 0
        taken, found = await unit.tick()
        assert not taken and (found is not None) == (number % 3 == 0)
        if found is not None:
            assert found.as_bits() == unit.result.const(result).as_bits()


BENCHES = [
    Bench(
        name="curve", title="the logistic function and the hyperbolic tangent of 16 bits", create=curve,
        only=("is_the_functions",),
    ),
    Bench(
        name="cells", title="the unit of recurrent layers: values of 16 bits, and cells of LSTMs", create=cells,
        only=("keeps_and_writes_values", "computes_cells", "takes_its_time", "passes_others"),
    ),
]  # fmt: skip
