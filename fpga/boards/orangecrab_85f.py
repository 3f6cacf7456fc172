"""OrangeCrab r0.2 with an LFE5U-85F. It has no serial port: the pins 0 (receive) and 1 (transmit) serve as one, or its
USB connector with ``link=usb``."""

from dataclasses import replace

from sateen.fpga.board import ANY_ADAPTER, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="OrangeCrab r0.2, LFE5U-85F",
    platform="amaranth_boards.orangecrab_r0_2:OrangeCrabR0_2_85FPlatform",
    part=replace(
        PARTS["ecp5-85f"], title="LFE5U-85F, speed grade 8",
        arguments=("--85k", "--package", "CSFBGA285", "--speed", "8", "--lpf-allow-unconstrained"),
    ),
    config="small",
    run_hz=120_000_000,
    baud=1_000_000,
    clock="clk",
    clock_hz=48_000_000,
    bridge=ANY_ADAPTER,
    serial_pins=("0", "1"),
    leds=(("rgb_led", 0),),
    # Its bootloader writes the memory that it boots from; hold the button while powering up.
    usb_lines=("usb", 0),
    loader=("dfu-util", "-a", "0", "-D"),
    loader_flash=("dfu-util", "-a", "0", "-D"),
    usb=Usb(vendor=0x1209, product=0x5AF0, name="orangecrab"),
    products="one MULT18X18D each, LUTs for the rest",
)  # fmt: skip
