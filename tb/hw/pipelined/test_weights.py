"""The weight unit and the channels' parameters."""

import random
import struct

import cocotb
import pytest
from amaranth.lib import data
from cocotb.triggers import ClockCycles, RisingEdge

from harness import parameters, receive, reset, run, send
from sateen.hw.pipelined.weights import ChannelParameters, WeightUnit, parameter_word
from sateen.hw.requantize import CHANNEL
from sateen.hw.spec.descriptor import BIAS_BYTES, PARAMETER_BYTES, WeightStream
from sateen.sim.streams import words

LATENCY, ADDRESS_BITS = 3, 12

SETTING_BITS = 16


def unit(cols):
    return WeightUnit(cols=cols, address_bits=ADDRESS_BITS, read_latency=LATENCY, setting_bits=SETTING_BITS)


def word(address, cols):
    """What the memory of the bench holds."""
    return [(address * 7 + column * 31 + (address >> 8)) & 0xFF for column in range(cols)]


async def memory(dut, cols):
    shape = data.ArrayLayout(8, cols)
    pending = [0] * (LATENCY - 1)
    while True:
        await RisingEdge(dut.clk)
        pending.append(int(dut.address.value))
        dut.data.value = shape.const(word(pending.pop(0), cols)).as_bits()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.6])
async def streams_in_order(dut, pause):
    cols = parameters()["cols"]
    component = unit(cols)
    streams = [WeightStream(base=0, blocks=1, groups=1, words=1), WeightStream(base=4000, blocks=3, groups=2, words=5)]
    streams += [
        WeightStream(
            base=random.randrange(3000),
            blocks=random.randint(1, 3),
            groups=random.randint(1, 4),
            words=random.randint(1, 40),
            settings=random.randrange(1 << SETTING_BITS),
            one_scale=random.random() < 0.5,
        )
        for _ in range(6)
    ]
    await reset(dut)
    cocotb.start_soon(memory(dut, cols))
    section = b"".join(stream.encode() for stream in streams)
    cocotb.start_soon(send(dut, "load", struct.unpack(f"<{len(section) // 4}I", section), pause=pause))
    expected = [(*entry, stream.settings) for stream in streams for entry in words(stream)]
    sides = {
        name: cocotb.start_soon(
            receive(
                dut, name, sum(parameter == flag for _, parameter, _ in expected),
                layout=getattr(component, name).payload.shape(), pause=pause,
            )
        )
        for name, flag in [("weights", False), ("parameters", True)]
    }  # fmt: skip
    flags = [parameter for _, parameter, _ in expected] + [False]
    assert await sides["parameters"] == [
        {"word": word(address, cols), "last": int(not flags[place + 1])}
        for place, (address, parameter, _) in enumerate(expected)
        if parameter
    ]
    got = await sides["weights"]
    shape = data.ArrayLayout(8, cols)
    for item, (address, settings) in zip(got, [(a, s) for a, parameter, s in expected if not parameter], strict=True):
        assert [value & 0xFF for value in item["word"]] == word(address, cols) and item["settings"] == settings
    assert len(component.weights.payload.word.as_value()) == shape.size


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5])
async def holds_two_groups(dut, pause):
    cols = parameters()["cols"]
    groups = [
        [(random.randint(-(2**31), 2**31 - 1), random.randrange(2**31), random.randint(-31, 30)) for _ in range(cols)]
        for _ in range(8)
    ]
    groups[0] = [(-(2**31), 0, -31), (2**31 - 1, 2**31 - 1, 30), (0, 1 << 30, 0)][:cols] + groups[0][3:]
    stream = []
    for index, group in enumerate(groups):
        # Some have the scales of the group before.
        bytes_ = PARAMETER_BYTES if index in (0, 1, 4) else BIAS_BYTES
        if bytes_ == BIAS_BYTES:
            group[:] = [(bias, *scale) for (bias, *_), (_, *scale) in zip(group, groups[index - 1], strict=True)]
        columns = [struct.pack("<iIb", *channel) for channel in group]
        stream += [{"word": [column[byte] for column in columns], "last": byte == bytes_ - 1} for byte in range(bytes_)]
    dut.take.value = 0
    await reset(dut)
    cocotb.start_soon(send(dut, "i", stream, layout=parameter_word(cols), pause=pause))
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


@pytest.mark.parametrize("cols", [1, 6, 16])
def test_weight_unit(cols):
    run(unit(cols), __file__, tests=["streams_in_order"], cols=cols)


@pytest.mark.parametrize(("cols", "technology"), [(1, None), (6, None), (6, "ecp5")])
def test_channel_parameters(cols, technology):
    """On an ECP5 with copies of registers that are placed by hand."""
    run(
        ChannelParameters(cols=cols, channel=CHANNEL),
        __file__,
        tests=["holds_two_groups"],
        technology=technology,
        cols=cols,
    )


def test_rejects():
    with pytest.raises(ValueError, match="channel must have at most 72 bits, not 73"):
        ChannelParameters(cols=4, channel=data.StructLayout({"bias": 73}))
