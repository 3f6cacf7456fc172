"""Icepi Zero v1.3 with an LFE5U-25F."""

from sateen.fpga.board import FTDI_FULL_SPEED, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="Icepi Zero v1.3, LFE5U-25F",
    platform="amaranth_boards.icepi_zero:IcepiZero1_3Platform",
    part=PARTS["ecp5-25f"],
    config="tiny,sdram=w9825g6kh",
    run_hz=100_000_000,
    baud=3_000_000,
    clock="clk50",
    clock_hz=50_000_000,
    bridge=FTDI_FULL_SPEED,
    loader=("openFPGALoader", "--board", "icepi-zero"),
    loader_flash=("openFPGALoader", "--board", "icepi-zero", "--write-flash"),
    sdram=("w9825g6kh",),
    usb=Usb(vendor=0x0403, product=0x6015, name="icepi"),
    model="LFE5U-25",
    products="one MULT18X18D each, LUTs for the rest",
)
