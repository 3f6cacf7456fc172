"""The benches of units, a module for each or a few that belong together.

A module has cocotb tests, functions that make the units, and ``BENCHES``, which says which tests are whose. To add one,
write such a module and name it in :data:`MODULES`.
"""

from __future__ import annotations

import importlib
from functools import cache

from sateen.errors import InputError
from sateen.testing.bench import Bench, nearest

__all__ = ["MODULES", "bench", "benches"]

MODULES = (
    "tile", "accelerator", "axi", "board",
    "multiply", "terms", "memory", "host", "requantize", "watchdog",
    "sequencer", "weights", "activations", "nest", "accumulate", "lookup", "softmax", "shares", "norms", "cells",
    "layer_norm", "output", "operands", "postprocess", "residual",
    "banked",
    "uart", "usb", "usb_attacked", "usb_phy", "ethernet",
    "framing", "endpoint", "fetch", "queue", "slice", "crossing", "serial", "sdram", "bridge",
)  # fmt: skip
"""From the whole to the parts: the array, the accelerator, then rooms of :mod:`sateen.hw` in turn."""


@cache
def benches() -> dict[str, Bench]:
    """Every unit's bench by its name."""
    modules = [importlib.import_module(f"{__name__}.{name}") for name in MODULES]
    return {each.name: each for module in modules for each in module.BENCHES}


def bench(name: str) -> Bench:
    """A unit's bench.

    Raises
    ------
    InputError
        If there is no such unit; the message names the nearest.
    """
    if name not in benches():
        raise InputError(
            f"{name!r} is no unit that has a bench{nearest(name, benches())}; sateen cocotb lists those that have one"
        )
    return benches()[name]
