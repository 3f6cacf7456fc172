"""The driver's constants, from the specification of the hardware."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from enum import IntEnum
from struct import Struct, calcsize

from sateen.hw.spec import axi, wire
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.identity import IDENTITY_BYTES, Identity

__all__ = ["constants"]


def constants() -> str:
    """Definitions for ``sateen.h``, in which every layout and number of the specification stands that the driver
    uses."""
    groups = {
        "The device's identity.": _identity(),
        "Registers, behind AXI.": _registers(),
        "Frames: CRC-32 (ISO HDLC), octet stuffing of RFC 1662. Where the fields stand.": _frames(),
        "Operations in a frame.": _members("OP", wire.Op),
        "Memories.": _members("SPACE", wire.Space),
        "The last byte of an answer.": _members("ANSWER", wire.Status),
        "Counters of a descriptor, in SATEEN_SPACE_COUNTERS: little-endian words at these bytes.": _counters(),
    }
    return "\n\n".join("\n".join([f"/* {title} */", *_defined(lines)]) for title, lines in groups.items())


def _defined(values: Iterable[tuple[str, str]]) -> Iterator[str]:
    listed = list(values)
    width = max(len(name) for name, _ in listed)
    return (f"#define SATEEN_{name:{width}} {value}" for name, value in listed)


def _identity() -> Iterator[tuple[str, str]]:
    head = Identity.HEAD.replace('"', '\\"')
    yield "FORMAT", f"{Identity.FORMAT}u"
    yield "IDENTITY_BYTES", f"{IDENTITY_BYTES}u"
    yield "IDENTITY_HEAD", f'"{head}"'


def _registers() -> Iterator[tuple[str, str]]:
    yield "MAGIC", f"0x{axi.MAGIC:08X}u"
    for register in axi.Register:
        yield f"REGISTER_{register.name}", f"0x{register:02X}u"
    yield "RUN_COUNT", f"{axi.RUN_COUNT}u"
    for bit in axi.StatusBit:
        place = bit is axi.StatusBit.PLACE
        yield f"STATUS_{bit.name}", f"{bit.value}u" if place else f"0x{1 << bit:X}u"


def _frames() -> Iterator[tuple[str, str]]:
    for name, value in (("FLAG", wire.FLAG), ("ESCAPE", wire.ESCAPE), ("ESCAPE_XOR", wire.ESCAPE_XOR)):
        yield name, f"0x{value:02X}u"
    yield "CRC_BYTES", f"{wire.Frame.CRC_BYTES}u"
    yield "HEADER_BYTES", f"{wire.Frame.HEADER.size}u"
    yield from _places("HEADER_AT", wire.Frame.HEADER, wire.Frame.FIELDS)
    yield "OP_BYTES", f"{wire.OpHeader.LAYOUT.size}u"
    yield from _places("OP_AT", wire.OpHeader.LAYOUT, wire.OpHeader.FIELDS)
    yield from _members("FRAME", wire.FrameType)


def _counters() -> Iterator[tuple[str, str]]:
    yield "COUNTERS_BYTES", f"{Counters.LAYOUT.size}u"
    for place, field in enumerate(fields(Counters)):
        yield f"COUNTER_{field.name.upper()}", f"{4 * place}u"


def _members(prefix: str, enumeration: type[IntEnum]) -> Iterator[tuple[str, str]]:
    return ((f"{prefix}_{member.name}", f"{member.value}u") for member in enumeration)


def _places(prefix: str, layout: Struct, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Where each field of a layout begins; each is one character of its format."""
    order, codes = layout.format[:1], layout.format[1:]
    for number, name in enumerate(names):
        yield f"{prefix}_{name.upper()}", f"{calcsize(order + codes[:number])}u"
