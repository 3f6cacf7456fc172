"""Sipeed Tang Nano 9K with a Gowin GW1NR-9C."""

from sateen.fpga.board import BL702, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="Sipeed Tang Nano 9K, GW1NR-9C",
    platform="amaranth_boards.tang_nano_9k:TangNano9kPlatform",
    part=PARTS["gw1nr-9c"],
    config="micro,cols=4,scratchpad_bytes=16384,weight_bytes=8192,positions=512,descriptors=32",
    run_hz=54_000_000,
    baud=1_000_000,
    clock="clk27",
    clock_hz=27_000_000,
    bridge=BL702,
    loader=("openFPGALoader", "--board", "tangnano9k"),
    loader_flash=("openFPGALoader", "--board", "tangnano9k", "--write-flash"),
    usb=Usb(vendor=0x0403, product=0x6010, name="sipeed", port_interface=1),
    model="GW1N(R)-9C",
    products="one MULT9X9 each",
)
