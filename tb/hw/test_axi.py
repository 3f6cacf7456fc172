"""The accelerator behind AXI, with the public masters and sinks of cocotbext-axi: the real driver runs a network
through them."""

import pytest

from harness import run
from sateen.hw.axi import AxiAccelerator
from sateen.hw.spec.config import parse_config


def test_axi():
    run("accelerator-axi")


def test_rejects():
    with pytest.raises(ValueError, match="build must be at most 16 hexadecimal digits, not '11112222333344445'"):
        AxiAccelerator(parse_config("tiny"), build="11112222333344445")
