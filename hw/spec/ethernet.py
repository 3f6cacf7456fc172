"""What a board with the Ethernet link is on the network: for gateware and host."""

from __future__ import annotations

import ipaddress

__all__ = ["ADDRESS", "DATAGRAM_BYTES", "ETHERNET_BAUD", "PORT", "ethernet_address", "parse_address"]

ADDRESS = "192.168.1.50"
"""The device's address if the configuration names no other."""
PORT = 7355
"""Where the device takes datagrams (UDP), and from where it answers."""
DATAGRAM_BYTES = 1400
"""Most bytes of the link that either side puts into a datagram: what an Ethernet frame holds, less headers, and some
for tunnels on the way."""
ETHERNET_BAUD = 700_000_000
"""What the link amounts to as a serial port of ten bits a byte: 70 MB/s, of 97 to the device and 75 from it measured in
simulation at 100 MHz."""


def parse_address(text: str) -> bytes:
    """The four bytes of an address that one device may have.

    Raises
    ------
    ValueError
        If it is none, or one of many devices, of this machine or of nobody.
    """
    try:
        if not isinstance(text, str):
            raise ValueError
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"address must be an IPv4 address, as {ADDRESS}, not {text!r}") from None
    if address.is_multicast or address.is_loopback or address.is_reserved or address.packed[0] == 0:
        raise ValueError(f"address must be one that a single device can have, as {ADDRESS}, not {text!r}")
    return address.packed


def ethernet_address(address: bytes) -> bytes:
    """The six bytes by which Ethernet knows the device of a network address: locally administered, so that no maker
    has given them to another one."""
    return bytes([0x02, 0x5A]) + address
