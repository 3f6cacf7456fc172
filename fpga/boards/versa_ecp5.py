"""Lattice ECP5 Versa with an LFE5UM-45F."""

from sateen.fpga.board import FTDI_HIGH_SPEED, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="Lattice ECP5 Versa, LFE5UM-45F",
    platform="amaranth_boards.versa_ecp5:VersaECP5Platform",
    part=PARTS["ecp5-um-45f"],
    config="tiny",
    run_hz=125_000_000,
    baud=3_000_000,
    clock="clk100",
    clock_hz=100_000_000,
    bridge=FTDI_HIGH_SPEED,
    loader=("openFPGALoader", "--cable", "ft2232"),
    loader_flash=("openFPGALoader", "--cable", "ft2232", "--write-flash"),
    usb=Usb(vendor=0x0403, product=0x6010, port_interface=1),
    model="LFE5UM-45",
    products="one MULT18X18D each, LUTs for the rest",
)
