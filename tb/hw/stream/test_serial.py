"""The bit-serial multiplier: all products of small widths, corners and random ones of large, with and without sign."""

import itertools
import random

import cocotb
import pytest

from harness import parameters, receive, reset, run, send
from sateen.hw.stream.serial import BitSerialMultiplier


def number(bits, value, signed):
    return value - (value >> (bits - 1) << bits) if signed else value


@cocotb.test()
@cocotb.parametrize(("pause", [0.0, 0.4]), ("signed", [0, 1]))
async def multiplies(dut, pause, signed):
    p = parameters()
    component = BitSerialMultiplier(a_bits=p["a_bits"], b_bits=p["b_bits"])
    sizes = 1 << p["a_bits"], 1 << p["b_bits"]
    if sizes[0] * sizes[1] <= 1 << 10:
        pairs = list(itertools.product(*map(range, sizes)))
    else:
        corners = [sorted({0, 1, size // 2 - 1, size // 2, size - 1}) for size in sizes]
        pairs = [
            *itertools.product(*corners),
            *((random.randrange(sizes[0]), random.randrange(sizes[1])) for _ in range(500)),
        ]
    await reset(dut)
    items = [{"a": a, "b": b, "signed": signed} for a, b in pairs]
    cocotb.start_soon(send(dut, "i", items, layout=component.i.payload.shape(), pause=pause))
    for (a, b), product in zip(pairs, await receive(dut, "o", len(pairs), pause=pause), strict=True):
        expected = number(p["a_bits"], a, signed) * number(p["b_bits"], b, signed)
        assert product == expected % (sizes[0] * sizes[1]), f"{a} · {b}"


@pytest.mark.parametrize(
    ("a_bits", "b_bits"), [(1, 1), (5, 3), (1, 16), (16, 16), pytest.param(8, 8, marks=pytest.mark.prove)]
)
def test_multiplier(a_bits, b_bits):
    run(BitSerialMultiplier(a_bits=a_bits, b_bits=b_bits), __file__, a_bits=a_bits, b_bits=b_bits)


@pytest.mark.parametrize("width", [0, 17, 2.0, True])
def test_rejects(width):
    with pytest.raises(ValueError, match="b_bits must be a whole number from 1 to 16, not"):
        BitSerialMultiplier(a_bits=8, b_bits=width)
