"""LambdaConcept ECPIX-5 with an LFE5UM5G-85F."""

from dataclasses import replace

from sateen.fpga.board import FTDI_HIGH_SPEED, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="LambdaConcept ECPIX-5, LFE5UM5G-85F",
    platform="amaranth_boards.ecpix5:ECPIX585Platform",
    part=replace(
        PARTS["ecp5-85f"], title="LFE5UM5G-85F, speed grade 8",
        arguments=("--um5g-85k", "--package", "CABGA554", "--speed", "8", "--lpf-allow-unconstrained"),
    ),
    config="small",
    run_hz=125_000_000,
    baud=3_000_000,
    clock="clk100",
    clock_hz=100_000_000,
    bridge=FTDI_HIGH_SPEED,
    usb_phy=("ulpi", 0),
    # The PHY, a KSZ9031RNX, delays by 1.2 ns by itself.
    ethernet=("eth_rgmii", 0),
    leds=(("rgb_led", 0), ("rgb_led", 1)),
    loader=("openFPGALoader", "--board", "ecpix5"),
    loader_flash=("openFPGALoader", "--board", "ecpix5", "--write-flash"),
    usb=Usb(vendor=0x0403, product=0x6010, port_interface=1),
    model="LFE5UM5G-85",
    products="one MULT18X18D each, LUTs for the rest",
)  # fmt: skip
