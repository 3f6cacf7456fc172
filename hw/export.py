"""Generated Verilog: the complete accelerator or a part of it, with its ports documented in the header."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

from amaranth.back import verilog as backend
from amaranth.hdl import Signal, ValueCastable
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from weft.hw.spec.config import Config

__all__ = ["PARTS", "ports", "verilog"]

WAIVERS = {
    "DECLFILENAME": "one file holds all modules",
    "UNUSEDSIGNAL": "every field of a word has a name, used or not",
    "ASCRANGE": "a field without bits is written [-1:0]",
    "WIDTHEXPAND": "operands are written without their extension",
    "WIDTHTRUNC": "conditions are written as whole words",
    "CASEINCOMPLETE": "defaults stand before the case",
    "PROCASSINIT": "registers have their reset values from the start",
}
"""Of ``verilator --lint-only -Wall``: what Yosys's Verilog writer causes."""


def _accelerator(config: Config) -> wiring.Component:
    from weft.hw.top import Accelerator

    return Accelerator(config)


def _accelerator_bytes(config: Config) -> wiring.Component:
    from weft.hw.top import Accelerator

    return Accelerator(config, link="bytes")


def _engine(config: Config) -> wiring.Component:
    from weft.hw.engine import Engine

    return Engine(config=config)


def _tile(config: Config) -> wiring.Component:
    from weft.hw.tile import Tile

    return Tile(
        rows=config.rows, cols=config.cols, pe=config.pe, position_bits=ceil_log2(config.positions),
        multipliers=config.multipliers,
    )  # fmt: skip


def _requantize(config: Config) -> wiring.Component:
    from weft.hw.requantize import Requantize

    return Requantize()


def _scratchpad(config: Config) -> wiring.Component:
    from weft.hw.memory import Scratchpad

    return Scratchpad(banks=config.banks, depth=config.scratchpad_bytes // config.banks)


def _uart(config: Config) -> wiring.Component:
    from weft.hw.link.uart import UART

    return UART(clock_hz=config.clock_hz, baud=config.baud)


def _endpoint(config: Config) -> wiring.Component:
    from weft.hw.link.endpoint import Endpoint

    return Endpoint(config)


PARTS: dict[str, Callable[[Config], wiring.Component]] = {
    "accelerator": _accelerator,
    "accelerator-bytes": _accelerator_bytes,
    "engine": _engine,
    "tile": _tile,
    "requantize": _requantize,
    "scratchpad": _scratchpad,
    "endpoint": _endpoint,
    "uart": _uart,
}
"""What can be exported, by name."""


def ports(component: wiring.Component) -> list[Signal]:
    """The component's ports but constant ones, as the ``ready`` of a stream that is always ready."""
    found = []
    for _, _, value in component.signature.flatten(component):
        plain = value.as_value() if isinstance(value, ValueCastable) else value
        if isinstance(plain, Signal):
            found.append(plain)
    return found


def verilog(component: wiring.Component, *, name: str, header: str = "") -> str:
    """The component as Verilog, one self-contained file.

    Parameters
    ----------
    name
        Of the top module.
    header
        What the file's first lines say, before the documentation of the ports.
    """
    text = backend.convert(component, name=name, ports=ports(component), emit_src=False)
    lines = [*header.splitlines(), "", *_documentation(component, name)]
    comment = "\n".join(f"// {line}".rstrip() for line in lines)
    waivers = "\n".join(f"/* verilator lint_off {code} */  // {why}" for code, why in WAIVERS.items())
    return f"{comment}\n\n{waivers}\n\n{text}"


def _documentation(component: wiring.Component, name: str) -> Iterator[str]:
    """The component's own words, and a table of its ports."""
    document = inspect.cleandoc(type(component).__doc__ or "")
    text, _, members = document.partition("Members\n-------\n")
    text = text.partition("Parameters\n----------")[0]
    yield from f"{name}: {text}".rstrip().splitlines()
    yield ""
    yield "Members:"
    yield from (f"  {line}" for line in members.splitlines())
    yield ""
    yield "Ports, all synchronous to the rising edge of clk; rst is synchronous and active high:"
    rows = [("in", 1, "clk"), ("in", 1, "rst")]
    for path, member, value in component.signature.flatten(component):
        plain = value.as_value() if isinstance(value, ValueCastable) else value
        if isinstance(plain, Signal):
            rows.append(("in" if member.flow == wiring.In else "out", len(plain), "__".join(map(str, path))))
    for direction, width, port in rows:
        size = f"[{width - 1}:0]" if width > 1 else ""
        yield f"  {direction:4}{size:10}{re.sub(r'[^A-Za-z0-9_]', '_', port)}"
