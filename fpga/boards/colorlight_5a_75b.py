"""Colorlight 5A-75B V7.0 with an LFE5U-25F, a receiver card for LED panels. Its serial port are pins of J19: DATA_LED-
(transmit) and KEY+ (receive). A JTAG cable at J27 to J34 loads it, here one with an FT232H."""

from sateen.fpga.board import ANY_ADAPTER, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="Colorlight 5A-75B V7.0, LFE5U-25F",
    platform="amaranth_boards.colorlight_5a75b_r7_0:Colorlight_5A75B_R70Platform",
    part=PARTS["ecp5-25f"],
    config="tiny,sdram=m12l16161a",
    run_hz=100_000_000,
    baud=1_000_000,
    clock="clk25",
    clock_hz=25_000_000,
    bridge=ANY_ADAPTER,
    ethernet=("eth_rgmii", 0),
    ethernet_delay_ps=2000,
    # The only one is at the pin of the serial port.
    leds=(),
    loader=("openFPGALoader", "--cable", "ft232"),
    loader_flash=("openFPGALoader", "--cable", "ft232", "--write-flash"),
    sdram=("m12l16161a",),
    usb=Usb(vendor=0x0403, product=0x6014),
    model="LFE5U-25",
    products="one MULT18X18D each, LUTs for the rest",
)
