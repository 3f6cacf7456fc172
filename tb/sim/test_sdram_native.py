"""The model of SDRAM in C++ does as the one in Python: the same words, and the same rule at the same cycle."""

import ctypes
import dataclasses
import random
import shutil
import subprocess

import pytest

import seeds
from sateen.hw.spec.sdram import CHIPS, Command
from sateen.sim import verilated
from sateen.sim.sdram import Pins, Sdram, SdramViolation

CLOCK_HZ = 100_000_000
WRAPPER = """
#include "sdram.h"
extern "C" {
void *create() { return new sdram::Sdram(sdram::Chip%s, 1); }
void destroy(void *chip) { delete static_cast<sdram::Sdram *>(chip); }
long long step(void *handle, int command, unsigned bank, unsigned address, long long dq, unsigned mask) {
    auto *chip = static_cast<sdram::Sdram *>(handle);
    chip->step({command, bank, address, unsigned(dq), mask, dq >= 0});
    if (!chip->fault.empty()) return -2;
    return chip->drives ? (long long)chip->word : -1;
}
const char *fault(void *chip) { return static_cast<sdram::Sdram *>(chip)->fault.c_str(); }
}
"""
CHIP = dataclasses.replace(CHIPS["m12l64322a"], power_up_us=0.3, row_bits=1, column_bits=2, t_rc=100, retention_ms=6)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The model in C++, behind functions."""
    if shutil.which("g++") is None:
        pytest.fail("simulations need g++")
    folder = tmp_path_factory.mktemp("sdram")
    (folder / "chip.cpp").write_text(WRAPPER % verilated.chip_figures(CHIP, CLOCK_HZ))
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{verilated.NATIVE}"]
    subprocess.run(["g++", *flags, "chip.cpp", "-o", "chip.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "chip.so"))
    library.create.restype = ctypes.c_void_p
    library.step.restype = ctypes.c_longlong
    library.fault.restype = ctypes.c_char_p
    library.destroy.argtypes = library.fault.argtypes = [ctypes.c_void_p]
    library.step.argtypes = [
        ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_longlong, ctypes.c_uint,
    ]  # fmt: skip
    return library


BOOT = [
    (31, None), (1, Pins(command=Command.PRECHARGE, address=1 << 10)), (2, None),
    *[each for _ in range(CHIP.power_up_refreshes) for each in ((1, Pins(command=Command.REFRESH)), (6, None))],
    (1, Pins(command=Command.MODE, address=2 << 4)), (2, None),
]  # fmt: skip


def commands(rng):
    """A controller that mostly keeps the rules: commands, each with the pause behind it that it needs, or one less."""
    yield from BOOT
    opened = {}
    for _ in range(rng.randrange(60)):
        bank, pause = rng.randrange(4), rng.choice([7, 7, 7, 7, 7, 7, 7, 7, 6, 5, 4, 3, 2, 1, 0])
        kind = rng.choice(["column", "column", "column", "other", "refresh"])
        if kind == "refresh" and not opened:
            yield 1, Pins(command=Command.REFRESH)
        elif kind == "refresh" and rng.random() < 0.5:
            opened.clear()
            yield 1, Pins(command=Command.PRECHARGE, address=1 << 10)
        elif kind == "other" and bank in opened:
            del opened[bank]
            yield 1, Pins(command=Command.PRECHARGE, bank=bank)
        elif bank not in opened and rng.random() < 0.95:
            opened[bank] = rng.randrange(2)
            yield 1, Pins(command=Command.ACTIVATE, bank=bank, address=opened[bank])
        elif rng.random() < 0.5:
            yield 1, Pins(command=Command.READ, bank=bank, address=rng.randrange(4), mask=rng.choice([0, 0, 15]))
        else:
            word = rng.getrandbits(32) if rng.random() < 0.98 else None
            yield 1, Pins(command=Command.WRITE, bank=bank, address=rng.randrange(4), dq=word, mask=rng.randrange(16))
        if pause:
            yield pause, Pins(mask=rng.choice([0, 0, 0, 15]))


def run(library, rng):
    """Runs random commands on both; the rule that ended it, if one did."""
    model, native = Sdram(CHIP, CLOCK_HZ, postponed=1), library.create()
    # What is in the cells at power-up differs.
    known = set()
    where, reads = {}, {}
    try:
        for count, pins in commands(rng):
            pins = pins or Pins()
            for _ in range(count):
                cell = (pins.bank, where.get(pins.bank), pins.address)
                if pins.command is Command.ACTIVATE:
                    where[pins.bank] = pins.address
                elif pins.command is Command.WRITE and not pins.mask:
                    known.add(cell)
                elif pins.command is Command.READ:
                    reads[model.cycle + 2] = cell in known
                dq = -1 if pins.dq is None else pins.dq
                got = library.step(native, pins.command, pins.bank, pins.address, dq, pins.mask)
                try:
                    word = model.step(pins)
                except SdramViolation as error:
                    fault = library.fault(native).decode()
                    assert got == -2 and fault.startswith(f"cycle {model.cycle} ") and f"rule {error.rule}: " in fault
                    return error.rule
                assert got != -2, library.fault(native)
                assert (got == -1) == (word is None)
                if word is not None and reads[model.cycle]:
                    assert got == word
        return None
    finally:
        library.destroy(native)


def test_does_the_same(library):
    rng = random.Random(seeds.own())
    ends = [run(library, rng) for _ in range(400)]
    assert ends.count(None) >= 20
    wanted = {"tRCD", "tRP", "tRAS", "tRC", "tRFC", "tWR", "tHZ", "closed bank", "floating bus", "refresh"}
    assert wanted <= set(ends), wanted - set(ends)
