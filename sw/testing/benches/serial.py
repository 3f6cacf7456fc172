"""The bit-serial multiplier: all products of small widths, corners and random ones of large, with and without sign."""

from __future__ import annotations

import itertools
import random

import cocotb

from sateen.hw.stream.serial import BitSerialMultiplier
from sateen.testing.bench import Bench
from sateen.testing.dut import parameters, reset
from sateen.testing.streams import receive, send


def number(bits, value, signed):
    return value - (value >> (bits - 1) << bits) if signed else value


def multiplier(*, a_bits=8, b_bits=8):
    return BitSerialMultiplier(a_bits=a_bits, b_bits=b_bits)


@cocotb.test()
@cocotb.parametrize(("pause", [0.0, 0.4]), ("signed", [0, 1]))
async def multiplies(dut, pause, signed):
    p = parameters()
    component = multiplier(**p)
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


BENCHES = [
    Bench(
        name="bitserial-multiplier",
        title="products bit by bit, with and without sign",
        create=multiplier,
    ),
]
