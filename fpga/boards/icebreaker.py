"""1BitSquared iCEBreaker with an iCE40UP5K."""

from sateen.fpga.board import FTDI_HIGH_SPEED, Board, Usb
from sateen.fpga.parts import PARTS

BOARD = Board(
    title="1BitSquared iCEBreaker, iCE40UP5K",
    platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
    part=PARTS["ice40-up5k"],
    config="micro,scratchpad_bytes=49152,weight_bytes=81920,descriptors=32",
    run_hz=20_250_000,
    baud=2_000_000,
    clock="clk12",
    clock_hz=12_000_000,
    bridge=FTDI_HIGH_SPEED,
    pad=True,
    loader=("openFPGALoader", "--board", "ice40_generic"),
    loader_flash=("openFPGALoader", "--board", "ice40_generic"),
    usb=Usb(vendor=0x0403, product=0x6010, name="icebreaker", port_interface=1),
    products="one SB_MAC16 each, with its registers, up to 16 bits",
)
