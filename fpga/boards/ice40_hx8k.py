"""Lattice's iCE40-HX8K breakout board."""

from sateen.fpga.board import FTDI_HIGH_SPEED, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="Lattice iCE40-HX8K breakout board",
    platform="amaranth_boards.ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform",
    part=PARTS["ice40-hx8k"],
    config="micro,pe=bitserial,rows=8",
    run_hz=54_000_000,
    baud=3_000_000,
    clock="clk12",
    clock_hz=12_000_000,
    bridge=FTDI_HIGH_SPEED,
    loader=("openFPGALoader", "--board", "ice40_generic"),
    loader_flash=("openFPGALoader", "--board", "ice40_generic"),
    usb=Usb(vendor=0x0403, product=0x6010, port_interface=1),
    products="bit by bit: there are no multipliers",
)
