"""The registers of the accelerator behind AXI."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["MAGIC", "Register"]

MAGIC = int.from_bytes(b"SATN", "big")
"""What the first register reads as."""


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
    """Write only: first descriptor in bits 0 to 7, their count in bits 8 to 15. To be written while no program runs."""
    STATUS = 0x20
    """Read only: bit 0 while a program runs, bit 1 while a READ is under way, bit 2 if the last program was ended by
    its LIMIT, and then in bits 8 to 15 the place in the run of the descriptor that ran."""
    HALT = 0x24
    """Write only: stops the program, and the READ, at once."""
    LIMIT = 0x28
    """What a program may take from its RUN on, see :func:`sateen.hw.spec.wire.limit_code`; 0 after a reset. To be
    written before RUN."""
