"""The unit of residual sums: tables, roundings, and when lines are read."""

from __future__ import annotations

import cocotb
import numpy as np
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from sateen.hw.pipelined.residual import ResidualUnit
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.residual import RESIDUAL_UNIT, Sum
from sateen.sim import golden
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import send

ROUNDINGS = (Rounding.FLOAT32, Rounding.DOUBLE, Rounding.SINGLE)
ADDRESS_BITS, ITEM_LATENCY, LINE_LATENCY = 12, 15, 8


def unit(*, cols=8, lanes=4, per_cycle=1, weight_rows=1):
    tag = data.StructLayout({"address": ADDRESS_BITS, "mask": lanes, "final": 1})
    settings = {
        "cols": cols, "lanes": lanes, "per_cycle": per_cycle, "weight_rows": weight_rows, "tag": tag,
        "address_bits": ADDRESS_BITS, "item_latency": ITEM_LATENCY, "line_latency": LINE_LATENCY,
    }  # fmt: skip
    try:
        return ResidualUnit(**settings)
    except ValueError:
        return ResidualUnit(**settings, spare=1)


def sums(rng):
    """Corners first: what saturates on either side, the widest entries; each rounding."""
    codes = (np.arange(256) + 128) % 256 - 128
    yield Sum(
        tables=np.stack([codes, codes]), multiplier=1 << 30, shift=1, zero_point=0, low=-128, high=127,
        rounding=Rounding.SINGLE,
    )  # fmt: skip
    yield Sum(
        tables=rng.integers(-(1 << 31), 1 << 31, (2, 256)), multiplier=(1 << 31) - 1, shift=-23, zero_point=-128,
        low=-128, high=127, rounding=Rounding.DOUBLE, bias=-(1 << 31),
    )  # fmt: skip
    for turn in range(6):
        low, high = sorted(int(bound) for bound in rng.integers(-128, 128, 2))
        yield Sum(
            tables=rng.integers(-(1 << 24), 1 << 24, (2, 256)), multiplier=int(rng.integers(1 << 30, 1 << 31)),
            shift=int(rng.integers(-20, -14)), zero_point=int(rng.integers(-128, 128)), low=low, high=high,
            rounding=ROUNDINGS[turn % 3], bias=int(rng.integers(-(1 << 24), 1 << 24)),
        )  # fmt: skip


def added(each, results, residual):
    """What the sum of results and residual bytes is."""
    first, second = (np.array(table, np.int64) for table in each.tables)
    total = first[results & 0xFF] + second[residual & 0xFF] + each.bias
    return golden.requantize(
        total, each.multiplier, each.shift, rounding=each.rounding, zero_point=each.zero_point, low=each.low,
        high=each.high,
    )  # fmt: skip


@cocotb.test()
@cocotb.parametrize(gaps=[False, True])
async def adds(dut, gaps):
    """Descriptors with residual bytes and without, one after the other; the words of the next sum wait for the end of
    the last. Lines are read at the documented time, never when results leave."""
    p, rng = parameters(), np.random.default_rng(cocotb.RANDOM_SEED)
    component, lanes, pace = unit(**p), p["lanes"], p["lanes"] // p["per_cycle"]
    all_sums, line_shape = list(sums(rng)), data.ArrayLayout(signed(8), lanes)
    memory = rng.integers(-128, 128, 1 << ADDRESS_BITS)
    await reset(dut)
    bytes_ = b"".join(each.words(p["cols"], p["weight_rows"]) for each in all_sums)
    words = np.frombuffer(bytes_, np.int8).reshape(-1, p["cols"]).tolist()
    words_shape = component.words.payload.shape()
    cocotb.start_soon(send(dut, "words", words, layout=words_shape, pause=0.3 if gaps else 0.0))
    dut.done.value = dut.on.value = dut.i__valid.value = 0
    item_shape, coming_shape = component.i.payload.shape(), component.coming.shape()
    for each in all_sums:
        for residual in (True, False):
            offset = int(rng.integers(-64, 64))
            dut.on.value, dut.offset.value = int(residual), offset & 0xFFFF
            for _ in range(600 if residual else 3):
                await RisingEdge(dut.clk)
            count = 12
            starts, time = [], 0
            for _ in range(count):
                starts.append(time)
                time += pace * int(rng.integers(1, 4) if gaps else 1)
            addresses = rng.integers(lanes, 2000, count) + 1024
            results = rng.integers(-128, 128, (count, lanes))
            results[0] = np.resize([-128, 127, 0, -1], lanes)
            masks = rng.integers(1 << min(lanes, 30), size=count)
            wants, tags = [], []
            for index in range(count):
                place = (addresses[index] + offset * RESIDUAL_UNIT + np.arange(lanes)) % len(memory)
                wants.append(added(each, results[index], memory[place]) if residual else results[index])
                tags.append(
                    {"address": int(addresses[index]), "mask": int(masks[index]), "final": int(index == count - 1)}
                )
            at, come = {start: index for index, start in enumerate(starts)}, []
            reads: list[list[int]] = [[0] * lanes] * LINE_LATENCY
            latency = ITEM_LATENCY + component.latency if residual else ITEM_LATENCY
            for cycle in range(starts[-1] + latency + 1):
                coming, here = at.get(cycle), at.get(cycle - ITEM_LATENCY)
                dut.coming.value = coming_shape.const(
                    {"valid": coming is not None, "address": 0 if coming is None else int(addresses[coming])}
                ).as_bits()
                dut.i__valid.value = int(here is not None)
                dut.line.value = line_shape.const(reads.pop(0)).as_bits()
                if here is not None:
                    values = [int(value) for value in results[here]]
                    dut.i__payload.value = item_shape.const({"data": values, "tag": tags[here]}).as_bits()
                last = cycle == starts[-1] + latency
                dut.done.value = int(last)
                await RisingEdge(dut.clk)
                reading = bool(dut.reading.value)
                assert not (reading and dut.o__valid.value and residual), f"cycle {cycle}"
                place = (int(dut.address.value) + np.arange(lanes)) % len(memory)
                other = [int(rng.integers(-128, 128))] * lanes
                reads.append([int(byte) for byte in memory[place]] if reading else other)
                if dut.o__valid.value:
                    got = component.o.payload.shape().from_bits(int(dut.o__payload.value))
                    come.append((cycle, [int(value) for value in got.data], got.tag))
            assert [cycle for cycle, *_ in come] == [start + latency for start in starts]
            for (_, values, tag), want, given in zip(come, wants, tags, strict=True):
                assert values == want.tolist(), f"{each}"
                assert {name: int(tag[name]) for name in given} == given
            dut.done.value = dut.i__valid.value = 0


BENCHES = [
    Bench(name="residual", title="a tensor is added to results on their way to the scratchpad", create=unit),
]
