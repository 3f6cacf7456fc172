"""Synthesis, placement and routing: multipliers and block RAMs are found as such, and the clock is met."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

import needs
from sateen.fpga.boards import BOARDS
from sateen.fpga.build import Recipe, build, design, pack, route
from sateen.fpga.flow import netlist, place, synthesize
from sateen.fpga.parts import PARTS
from sateen.fpga.probe import Probe
from sateen.fpga.tools import DoesNotFit
from sateen.fpga.top import System
from sateen.hw.link.ethernet.frames import GMII
from sateen.hw.link.ethernet.link import EthernetLink
from sateen.hw.link.uart import UART
from sateen.hw.link.usb import ULPI_PINS, USB_PINS, UsbSerial
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.sdram.controller import SdramController
from sateen.hw.spec.config import parse_config
from sateen.hw.spec.ethernet import ADDRESS
from sateen.hw.spec.sdram import find_chip
from sateen.hw.tile import Tile
from sateen.hw.top import Accelerator

ECP5 = PARTS["ecp5-85f"]


@pytest.mark.fpga
@pytest.mark.parametrize(("name", "multipliers", "block_rams"), [("tiny", 24, 28), ("small", 84, 64)])
def test_ecp5_finds_multipliers_and_block_rams(name, multipliers, block_rams):
    """A PE each, four in every requantizing lane, one more for products of tensors; LUTs in their place would be seen
    here."""
    _, cells = synthesize(Accelerator(parse_config(name)), ECP5)
    assert (cells.multipliers, cells.block_rams) == (multipliers, block_rams)


@pytest.mark.fpga
def test_ecp5_meets_its_clock():
    config = parse_config("tiny")
    report = place(Accelerator(config), ECP5, target_mhz=config.clock_hz / 1e6)
    assert report.clock_mhz >= config.clock_hz / 1e6, report.path


@pytest.mark.fpga
def test_sdram_controller():
    """Faster than the fastest of its chips on boards."""
    controller = SdramController(chip=find_chip("as4c32m16sb"), clock_hz=142_000_000)
    report = place(Probe(controller), ECP5, target_mhz=170.0)
    assert report.clock_mhz >= 150, report.path
    assert report.resources.luts < 1000 and not report.resources.block_rams


@pytest.mark.fpga
def test_up5k_finds_multipliers():
    """A tile of as many MACs as the part has multipliers."""
    tile = Tile(ArrayShape(rows=4, cols=2), position_bits=5)
    report = place(Probe(tile), PARTS["ice40-up5k"], target_mhz=50.0)
    assert report.resources.multipliers == 8
    assert report.clock_mhz >= 50, report.path


@pytest.mark.fpga
def test_what_does_not_fit_is_named():
    config = parse_config("tiny,weight_bytes=4194304")
    with pytest.raises(DoesNotFit, match=r"does not fit LFE5U-85F, speed grade 6: block rams 2,\d+ of 208"):
        place(Accelerator(config), ECP5)


@pytest.mark.fpga
@pytest.mark.parametrize(("name", "cells"), [
    ("ulx3s-85f", (84, 64, 0)), ("orangecrab-85f", (84, 64, 0)), ("ecpix5-85f", (84, 64, 0)),
    ("versa-ecp5", (24, 28, 0)), ("icepi-zero", (24, 28, 0)), ("colorlight-5a-75b", (24, 28, 0)),
    ("icebreaker", (8, 23, 4)), ("ice40-hx8k", (0, 31, 0)), ("tang-nano-9k", (16, 23, 0)),
])  # fmt: skip
def test_boards_find_multipliers_and_memories(name, cells):
    """Of each board's default configuration: multipliers, block RAMs, memories of 32 KiB."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse())
    text, _ = design(board, config, System(config))
    _, found = netlist(text, board.part)
    assert (found.multipliers, found.block_rams, found.single_port_rams) == cells


class UsbAlone(wiring.Component):
    """The USB link, whose bytes go back, in place of a board's system."""

    def __init__(self, *, high_speed):
        self.high_speed = high_speed
        super().__init__(
            {"usb": Out(ULPI_PINS if high_speed else USB_PINS), "heartbeat": Out(1), "busy": Out(1)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.usb_serial = serial = UsbSerial(high_speed=self.high_speed)
        connect(m, serial.pins, wiring.flipped(self.usb))
        connect(m, serial.o, serial.i)
        m.d.sync += self.heartbeat.eq(~self.heartbeat)
        return m


@pytest.mark.fpga
@pytest.mark.parametrize(("name", "blocks"), [("orangecrab-85f", 0), ("ecpix5-85f", 3)])
def test_usb(name, blocks):
    """The clocks of USB are met, 48 MHz at the lines and 12 MHz behind, or the PHY's 60, beside the board's own."""
    needs.package("luna", extra="fpga")
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny,link=usb"))
    text, constraints = design(board, config, UsbAlone(high_speed=board.usb_phy is not None))
    file, cells = netlist(text, board.part)
    _, report = route(board, Recipe(board=name, config=config), file, cells, constraints, 1)
    assert not report.missed and report.clock_mhz >= config.clock_hz / 1e6
    assert report.resources.luts < 3000 and report.resources.block_rams == blocks


class EthernetAlone(wiring.Component):
    """The Ethernet link, whose bytes go back, in place of a board's system."""

    def __init__(self):
        super().__init__({"phy": Out(GMII), "heartbeat": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = EthernetLink(ADDRESS, frame_bytes=1024)
        connect(m, link.phy, wiring.flipped(self.phy))
        connect(m, link.o, link.i)
        m.d.sync += self.heartbeat.eq(~self.heartbeat)
        return m


@pytest.mark.fpga
@pytest.mark.parametrize("name", ["colorlight-5a-75b", "ecpix5-85f"])
def test_ethernet(name):
    """The PHY's 125 MHz are met, beside the board's own clock."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny,link=ethernet"))
    text, constraints = design(board, config, EthernetAlone())
    file, cells = netlist(text, board.part)
    _, report = route(board, Recipe(board=name, config=config), file, cells, constraints, 1)
    assert not report.missed and report.clock_mhz >= config.clock_hz / 1e6
    assert report.resources.luts < 3000 and report.resources.block_rams <= 6


@pytest.mark.fpga
@pytest.mark.parametrize("name", ["icebreaker", "ice40-hx8k"])
def test_ice40_bitstream(name):
    """The default configuration reaches the board's clock with margin, with the first placement."""
    board = BOARDS[name]
    made = build(Recipe(board=name, config=board.with_pll_clock(board.parse())))
    assert made.margin >= 0.15, made.report.path
    # Preamble of a bitstream for iCE40.
    assert b"\x7e\xaa\x99\x7e" in made.bitstream[:200]
    assert made.usage.modules(board.part)["engine.tile"].multipliers == board.part.capacity["multipliers"]


@pytest.mark.fpga
def test_ecp5_bitstream():
    """Clock met with margin; the same recipe makes the same bits."""
    board = BOARDS["ulx3s-85f"]
    recipe = Recipe(board="ulx3s-85f", config=board.with_pll_clock(board.parse("tiny")))
    first = build(recipe)
    assert first.margin >= 0.15, first.report.path
    # Preamble of a bitstream for ECP5.
    assert b"\xff\xff\xbd\xb3" in first.bitstream[:200]
    tile = first.usage.modules(board.part)["engine.tile"]
    assert tile.multipliers == 16
    assert first.bitstream == build(recipe).bitstream


@pytest.mark.fpga
def test_sdram_and_usb():
    """A ULX3S's default build, which has both: the clocks of the engine and of USB are met with the first placement."""
    needs.package("luna", extra="fpga")
    board = BOARDS["ulx3s-85f"]
    config = board.with_pll_clock(board.parse(""))
    assert config.sdram and config.link == "usb"
    made = build(Recipe(board="ulx3s-85f", config=config))
    assert made.margin >= 0 and not made.report.missed, made.report.path


class Echo(wiring.Component):
    """What comes from the serial port goes back: a system that fits any board."""

    def __init__(self, config):
        self.config = config
        super().__init__({"uart_rx": In(1, init=1), "uart_tx": Out(1, init=1), "heartbeat": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = UART(clock_hz=self.config.clock_hz, baud=self.config.baud)
        m.d.comb += [uart.i.payload.eq(uart.o.payload), uart.i.valid.eq(uart.o.valid)]
        count = Signal(24)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [
            uart.rx.eq(self.uart_rx),
            self.uart_tx.eq(uart.tx),
            self.heartbeat.eq(count[-1]),
            self.busy.eq(~uart.tx),
        ]
        return m


@pytest.mark.fpga
@pytest.mark.parametrize("name", [name for name in BOARDS if name != "ulx3s-85f"])
def test_clock_and_pins(name):
    """PLL, reset, serial port and lights of a board, as far as a bitstream."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny"))
    text, constraints = design(board, config, Echo(config))
    file, cells = netlist(text, board.part)
    folder, report = route(board, Recipe(board=name, config=config), file, cells, constraints, 1)
    assert report.clock_mhz >= 1.15 * config.clock_hz / 1e6
    assert len(pack(board, folder)) > 30_000
