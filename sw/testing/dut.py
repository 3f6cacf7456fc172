"""The device under test, seen from a bench: its parameters, its clock and its reset."""

from __future__ import annotations

import json
import os
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer

__all__ = ["CLOCK_NS", "INPUTS_VARIABLE", "PARAMETERS_VARIABLE", "parameters", "reset", "watchdog"]

PARAMETERS_VARIABLE, INPUTS_VARIABLE = "SATEEN_BENCH_PARAMETERS", "SATEEN_BENCH_INPUTS"
"""Environment of a simulation: the unit's parameters, and the names of its inputs, as JSON."""
CLOCK_NS = 10
"""The period of every bench's clock."""
PATIENCE_MS = 5
"""Simulated time after which a bench hangs: half a million cycles."""


def parameters() -> dict[str, Any]:
    """The parameters with which the unit was made, by which a bench makes it once more to ask for its layouts."""
    return dict(json.loads(os.environ[PARAMETERS_VARIABLE]))


async def reset(dut: Any, *, patience_ms: float = PATIENCE_MS) -> None:
    """Starts the clock ``dut.clk``, sets every input of a unit to 0, and resets it by ``dut.rst``.

    Parameters
    ----------
    dut
        The device under test.
    patience_ms
        The test fails if it still runs after as much simulated time; 1 ms is 100,000 cycles.
    """
    for name in json.loads(os.environ.get(INPUTS_VARIABLE, "[]")):
        getattr(dut, name).value = 0
    cocotb.start_soon(watchdog(patience_ms))
    # Registers have their initial values: all is defined before the first edge, or else nothing would be in Icarus.
    dut.clk.value, dut.rst.value = 0, 1
    await Timer(1, "ns")
    clock: Any = Clock(dut.clk, CLOCK_NS, unit="ns")
    cocotb.start_soon(clock.start())
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 1)


async def watchdog(milliseconds: float) -> None:
    """Fails the test after as much simulated time; start it with ``cocotb.start_soon``."""
    await Timer(milliseconds, "ms")
    raise AssertionError(f"the bench still waits after {milliseconds} ms")
