"""The registers of the accelerator behind AXI."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["MAGIC", "RUN_COUNT", "Register", "StatusBit"]

MAGIC = int.from_bytes(b"SATN", "big")
"""What the first register reads as."""
RUN_COUNT = 8
"""Lowest bit of the count in the register RUN."""


class StatusBit(IntEnum):
    """Bits of the register STATUS."""

    RUNNING = 0
    """A program runs."""
    READING = 1
    """A READ is under way."""
    OVERTIME = 2
    """The last program was ended by its LIMIT."""
    PLACE = 8
    """Lowest of eight: with OVERTIME, the place in the run of the descriptor that ran."""


class Register(IntEnum):
    """Byte addresses of 32-bit registers."""

    MAGIC = 0x00
    """Read only: :data:`MAGIC`."""
    FORMAT = 0x04
    """Read only: version of the descriptors, as in :class:`sateen.hw.spec.identity.Identity`."""
    BUILD_LOW = 0x08
    """Read only: lower half of the build's name, by default the configuration's digest."""
    BUILD_HIGH = 0x0C
    """Read only: upper half."""
    SPACE = 0x10
    """Memory that the streams access, a :class:`sateen.hw.spec.wire.Space` other than the identity."""
    ADDRESS = 0x14
    """Byte address in it; counts up with each byte of a stream."""
    READ = 0x18
    """Write only: reads and streams out this many bytes. To be written while STATUS says that no READ is under way."""
    RUN = 0x1C
    """Write only: first descriptor in bits 0 to 7, their count in eight bits from :data:`RUN_COUNT` on. To be written
    while no program runs."""
    STATUS = 0x20
    """Read only: see :class:`StatusBit`."""
    HALT = 0x24
    """Write only: stops the program, and the READ, at once."""
    LIMIT = 0x28
    """What a program may take from its RUN on, see :func:`sateen.hw.spec.wire.limit_code`; 0 after a reset. To be
    written before RUN."""
    LAYOUT = 0x2C
    """Read only: what programs rely on, :attr:`sateen.hw.spec.config.Config.layout_code`. One that was compiled for
    another must not be run."""
