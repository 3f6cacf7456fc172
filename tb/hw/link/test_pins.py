"""A board's whole design at its pins, but for PLL and buffers: the real driver runs a network through the serial port,
bit by bit."""

import pytest

from harness import run, run_netlist
from sateen.fpga.flow import synthesize
from sateen.fpga.parts import PARTS
from sateen.hw.top import Accelerator
from sateen.testing.benches.board import configured


@pytest.mark.parametrize(
    "tests",
    [
        ("runs_a_network/error=0.02", "bears_spikes_and_breaks"),
        # The receiver's own bench has slow lines, too.
        pytest.param(("runs_a_network/error=-0.02",), marks=pytest.mark.prove),
    ],
)
def test_board(tests):
    run("board", tests=tests)


@pytest.mark.fpga
@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("ecp5-85f", "tiny"),
        ("ice40-up5k", "micro,scratchpad_bytes=16384,weight_bytes=16384"),
        ("ice40-hx8k", "micro,pe=bitserial"),
    ],
)
def test_netlist(part, text):
    """What Yosys made of the accelerator for a part, from the vendor's cells."""
    config = configured(text)
    netlist, _ = synthesize(Accelerator(config), PARTS[part])
    tests = ["runs_a_network"]
    run_netlist(netlist, "board", technology=PARTS[part].family, tests=tests, config=text, build=config.digest)
