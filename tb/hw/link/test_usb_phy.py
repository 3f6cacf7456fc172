"""The USB link at high speed, with a PHY and a host that finds the speed, enumerates and runs a network."""

import pytest

import needs
from harness import run


@pytest.fixture(autouse=True)
def luna():
    needs.package("luna", extra="fpga")


@pytest.mark.prove
def test_bytes():
    run("usb-phy")


def test_network():
    run("usb-phy-board")
