"""Radiona ULX3S with an LFE5U-85F."""

from sateen.fpga.board import FTDI_FULL_SPEED, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="Radiona ULX3S, LFE5U-85F",
    platform="amaranth_boards.ulx3s:ULX3S_85F_Platform",
    part=PARTS["ecp5-85f"],
    config="small,sdram=is42s16160g,link=usb",
    run_hz=100_000_000,
    baud=3_000_000,
    clock="clk25",
    clock_hz=25_000_000,
    bridge=FTDI_FULL_SPEED,
    usb_lines=("usb", 0),
    loader=("openFPGALoader", "--board", "ulx3s"),
    loader_flash=("openFPGALoader", "--board", "ulx3s", "--write-flash"),
    sdram=("as4c32m16sb", "is42s16160g"),
    usb=Usb(vendor=0x0403, product=0x6015, name="ulx3s"),
    model="LFE5U-85",
    products="one MULT18X18D each, LUTs for the rest",
)
