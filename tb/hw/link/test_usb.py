"""The USB link, with a host that plays bits on the lines: enumeration, bytes both ways, a network's results."""

import pytest

import needs
from harness import run
from sateen.hw.spec.config import parse_config
from sateen.hw.top import Accelerator


@pytest.fixture(autouse=True)
def luna():
    needs.package("luna", extra="fpga")


@pytest.mark.prove
def test_bytes_and_packets():
    run("usb")


def test_attacks():
    """Each byte arrives once, whatever packets a host loses, damages or repeats."""
    run("usb-attacked", tests=["keeps_each_byte"])


@pytest.mark.prove
def test_recovers():
    """Bytes go both ways again after worse, once the device was enumerated anew."""
    run("usb-attacked", tests=["recovers"])


@pytest.mark.prove
def test_attacks_on_a_board():
    run("usb-board-attacked")


def test_network():
    run("usb-board")


def test_other_designs():
    with pytest.raises(ValueError, match="link=usb is for builds for boards; elsewhere choose link=uart"):
        Accelerator(parse_config("micro,link=usb"))
    assert Accelerator(parse_config("micro,link=usb"), link="bytes")
