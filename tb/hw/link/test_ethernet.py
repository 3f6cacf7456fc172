"""The Ethernet link, with real frames at its PHY's lines: bytes both ways, ARP, echo, strangers, a network."""

import pytest

from harness import run
from sateen.hw.spec.ethernet import ethernet_address, parse_address


def test_frames():
    run("ethernet")


def test_long_frames():
    """Of a device whose frames are longer than the line's."""
    run("ethernet", tests=("takes_frames",), frame_bytes=4096)


@pytest.mark.prove
def test_another_address():
    run("ethernet", address="10.0.255.7")


def test_network():
    run("ethernet-board")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.168.1", "must be an IPv4 address, as 192.168.1.50, not '192.168.1'"),
        ("fe80::1", "must be an IPv4 address"),
        (50, "must be an IPv4 address, as 192.168.1.50, not 50"),
        ("224.0.0.1", "that a single device can have"),
        ("255.255.255.255", "that a single device can have"),
        ("127.0.0.1", "that a single device can have"),
        ("0.0.0.0", "that a single device can have"),
    ],
)
def test_addresses(address, reason):
    with pytest.raises(ValueError, match=reason):
        parse_address(address)


def test_ethernet_address():
    """Locally administered, of one device."""
    address = ethernet_address(parse_address("192.168.1.50"))
    assert address == bytes([0x02, 0x5A, 192, 168, 1, 50]) and address[0] & 3 == 2
