"""Boards: rates, pins, clocks, USB and SDRAM. Builds: test_builds. Synthesis and placement: test_fpga."""

import re
from dataclasses import replace

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect
from one_build import MHZ, TINY

import needs
from command_line import here
from sateen.fpga import flow
from sateen.fpga.board import FTDI_FULL_SPEED, FTDI_HIGH_SPEED
from sateen.fpga.boards import BOARDS
from sateen.fpga.build import Recipe, design
from sateen.fpga.flow import Resources
from sateen.fpga.parts import PARTS
from sateen.hw.link.ethernet.frames import GMII
from sateen.hw.link.usb import ULPI_PINS, USB_PINS, UsbSerial
from sateen.hw.sdram.pins import pins
from sateen.hw.spec.sdram import find_chip
from sateen.runtime.transport import RATES, alternatives


def test_bridges():
    assert FTDI_FULL_SPEED.rate(3 * MHZ) == 3 * MHZ
    assert FTDI_FULL_SPEED.rate(2 * MHZ) == 2 * MHZ
    assert FTDI_HIGH_SPEED.rate(115_200) == pytest.approx(115_200, rel=1e-3)
    # Between a third and a half of its base there is nothing for the larger rate.
    with pytest.raises(ValueError, match=r"baud cannot be 2400000: the bridge \(FT231X\) is off by -16.7% there"):
        BOARDS["ulx3s-85f"].with_pll_clock(replace(TINY, clock_hz=80 * MHZ, baud=2_400_000))


class Serial(wiring.Component):
    """The ports of a system with a serial port, and a wire between them."""

    def __init__(self):
        super().__init__({"uart_rx": In(1), "uart_tx": Out(1), "heartbeat": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.uart_tx.eq(self.uart_rx)
        return m


@pytest.mark.parametrize("name", BOARDS)
def test_design(name):
    """Pins of clock, serial port and lights, and a PLL for the clock."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny"))
    assert config.baud in RATES
    assert abs(board.baud_error(config)) < 0.001
    text, constraints = design(board, config, Serial())
    assert board.pll(config).cell in text
    assert len(re.findall(r"^\s*(?:LOCATE|set_io|IO_LOC) ", constraints, re.MULTILINE)) == 3 + len(board.leds)
    assert "requency" not in constraints
    assert board.parse(f"tiny,clock_hz={40 * MHZ}").clock_hz == 40 * MHZ


class Lines(wiring.Component):
    """The ports of a system with USB, and nothing inside."""

    def __init__(self):
        super().__init__({"usb": Out(USB_PINS), "heartbeat": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.usb_io += self.usb.dp_o.eq(self.usb.dp_i)
        m.d.usb += self.usb.dn_o.eq(self.usb.dn_i)
        return m


@pytest.mark.parametrize("name", ["ulx3s-85f", "orangecrab-85f"])
def test_design_with_usb(name):
    """Lines and pull-up in place of the serial port; a PLL more, whose clocks the placer is told of."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny,link=usb,baud=2400000"))
    text, constraints = design(board, config, Lines())
    assert len(re.findall(r"cell .?EHXPLLL", text)) == 2 and constraints.count("LOCATE") == 4 + len(board.leds)
    assert re.findall(r"FREQUENCY NET .*", constraints) == [
        'FREQUENCY NET "usb_clk" 12 MHZ;', 'FREQUENCY NET "usb_io_clk" 48 MHZ;',
    ]  # fmt: skip
    needs.package("luna", extra="fpga")
    assert "luna-usb" in Recipe(board=name, config=config).tools


class UsbAlone(Lines):
    """USB, and nothing behind it."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.usb_serial = serial = UsbSerial()
        connect(m, serial.pins, wiring.flipped(self.usb))
        connect(m, serial.o, serial.i)
        return m


def test_usb_has_the_same_names_each_time():
    """Else no build of it would be found again, or be repeated."""
    needs.package("luna", extra="fpga")
    board = BOARDS["orangecrab-85f"]
    text, _ = design(board, board.with_pll_clock(board.parse("tiny,link=usb")), UsbAlone())
    assert set(re.findall(r"USB\w+Endpoint_(\d+)", text)) == {"0"}


class UsbPhy(wiring.Component):
    """The ports of a system with USB and a PHY, and nothing inside."""

    def __init__(self):
        super().__init__({"usb": Out(ULPI_PINS), "heartbeat": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.usb += self.usb.data_o.eq(self.usb.data_i)
        return m


def test_design_with_a_usb_phy():
    """Thirteen lines of the PHY in place of the serial port; its clock, which the placer is told of; no PLL more."""
    board = BOARDS["ecpix5-85f"]
    text, constraints = design(board, board.with_pll_clock(board.parse("tiny,link=usb,baud=2400000")), UsbPhy())
    assert len(re.findall(r"cell .?EHXPLLL", text)) == 1 and constraints.count("LOCATE") == 1 + 13 + len(board.leds)
    assert re.findall(r"FREQUENCY NET .*", constraints) == ['FREQUENCY NET "usb_clk" 60 MHZ;']


def test_links_of_boards_without():
    with pytest.raises(ValueError, match="link must be uart on Lattice ECP5 Versa.*, which has no USB connector"):
        BOARDS["versa-ecp5"].parse("tiny,link=usb")
    with pytest.raises(ValueError, match="link must be uart on Radiona ULX3S.*, which has no Ethernet at the FPGA"):
        BOARDS["ulx3s-85f"].parse("tiny,link=ethernet")


class Phy(wiring.Component):
    """The ports of a system with Ethernet: it gives back what comes."""

    def __init__(self):
        super().__init__({"phy": Out(GMII), "heartbeat": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.ethernet += [self.phy.tx_valid.eq(self.phy.rx_valid), self.phy.tx_data.eq(self.phy.rx_data)]
        return m


@pytest.mark.parametrize(("name", "taps"), [("colorlight-5a-75b", 80), ("ecpix5-85f", 0)])
def test_design_with_ethernet(name, taps):
    """Twelve lines of the PHY and its reset in place of the serial port; delays; a clock that the placer is told of."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse("tiny,link=ethernet,baud=2400000,address=10.0.0.7"))
    text, constraints = design(board, config, Phy())
    assert config.address == "10.0.0.7" and constraints.count("LOCATE") == 1 + 13 + len(board.leds)
    assert re.findall(r"FREQUENCY NET .*", constraints) == ['FREQUENCY NET "ethernet_clk" 125 MHZ;']
    counts = {cell: len(re.findall(rf"cell .?{cell} ", text)) for cell in ("DELAYG", "IDDRX1F", "ODDRX1F")}
    assert counts == {"DELAYG": 5, "IDDRX1F": 5, "ODDRX1F": 6}
    assert set(re.findall(r"parameter .*DEL_VALUE (\d+)", text)) == {str(taps)}


def test_clocks_of_links():
    """They have constraints of their own, which are met or named; the engine's clock is the report's."""
    entry = {"achieved": 60.0, "constraint": 48.0}
    fmax = {"$glbnet$clk": {"achieved": 130.0, "constraint": 115.0}, "$glbnet$usb_io_clk": entry}
    document = {"utilization": {name: {"used": 1} for name in PARTS["ecp5-85f"].used.values()}, "fmax": fmax,
                "critical_paths": []}  # fmt: skip
    cells = Resources(luts=0, registers=0, multipliers=0, block_rams=0)
    report = flow.parse_report(document, PARTS["ecp5-85f"], cells, 1)
    assert (report.clock_mhz, report.missed) == (130.0, "")
    fmax["$glbnet$clk"]["achieved"] = 129.97
    assert flow.parse_report(document, PARTS["ecp5-85f"], cells, 1).clock_mhz == 129.9
    entry["achieved"] = 47.0
    report = flow.parse_report(document, PARTS["ecp5-85f"], cells, 1)
    assert report.missed == "$glbnet$usb_io_clk reaches 47.0 MHz of 48.0"
    fmax["$glbnet$ethernet_clk"] = {"achieved": 124.9, "constraint": 125.0}
    report = flow.parse_report(document, PARTS["ecp5-85f"], cells, 1)
    assert report.missed.endswith("$glbnet$ethernet_clk reaches 124.9 MHz of 125.0")


def test_serial_ports_are_tried_at_the_boards_rates():
    assert alternatives("serial:/dev/ttyUSB0") == [f"serial:/dev/ttyUSB0?baud={rate}" for rate in RATES]
    for name in ("serial:/dev/ttyUSB0?baud=9600", "serial:socket://localhost:1", "sim:tiny", "tcp:localhost:1"):
        assert alternatives(name) == [name]


def test_boards_are_listed():
    result = here("boards")
    assert result.returncode == 0
    assert all(name in result.stdout for name in BOARDS)
    assert all(board.config in result.stdout for board in BOARDS.values())


class Memory(wiring.Component):
    """The ports of a system with SDRAM, and nothing inside."""

    def __init__(self, chip):
        serial = {"uart_rx": In(1), "uart_tx": Out(1), "heartbeat": Out(1), "busy": Out(1)}
        super().__init__({**serial, "sdram": Out(pins(chip))})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.sdram.dq_o.eq(self.sdram.dq_i)
        return m


@pytest.mark.parametrize(("name", "lines"), [
    ("ulx3s-85f", {"a": 13, "ba": 2, "dq": 16, "dqm": 2, "clk_en": 1, "cs": 1}),
    ("icepi-zero", {"a": 13, "ba": 2, "dq": 16, "dqm": 2, "clk_en": 1, "cs": 1}),
    ("colorlight-5a-75b", {"a": 11, "ba": 1, "dq": 32}),
])  # fmt: skip
def test_pins_of_sdram(name, lines):
    """Every line of the chip at its pin. Where DQM is tied, nothing writes single bytes."""
    board = BOARDS[name]
    config = board.with_pll_clock(board.parse(f"micro,sdram={board.sdram[0]}"))
    chip = find_chip(config.sdram)
    assert chip.masks == ("dqm" in lines)
    text, constraints = design(board, config, Memory(chip))
    found = re.findall(r'LOCATE COMP "sdram_0__(\w+?)__io', constraints)
    counts = lines | dict.fromkeys(["clk", "ras", "cas", "we"], 1)
    assert {name: found.count(name) for name in found} == counts
    # Registers in I/O cells: for each line its value and its direction, for the clock that alone; one in for each DQ.
    kinds = ("OFS1P3DX", "IFS1P3DX", "ODDRX1F")
    cells = {kind: len(re.findall(rf"^ *cell \\{kind} ", text, re.MULTILINE)) for kind in kinds}
    assert cells == {"OFS1P3DX": 2 * sum(counts.values()) - 1, "IFS1P3DX": lines["dq"], "ODDRX1F": 1}


def test_boards_with_sdram():
    assert {name for name, board in BOARDS.items() if board.sdram} == {"ulx3s-85f", "icepi-zero", "colorlight-5a-75b"}


def test_sdram_of_a_board():
    """A board's chips and no others, and a clock at which words arrive."""
    board = BOARDS["ulx3s-85f"]
    with pytest.raises(ValueError, match="sdram must be one of as4c32m16sb, is42s16160g, or none on Radiona ULX3S"):
        board.parse("tiny,sdram=m12l64322a")
    with pytest.raises(ValueError, match="sdram must be none on Lattice ECP5 Versa, LFE5UM-45F, not 'as4c32m16sb'"):
        BOARDS["versa-ecp5"].parse("tiny,sdram=as4c32m16sb")
    with pytest.raises(ValueError, match="clock_hz must be 80000000 or more with sdram on a board, not 50000000"):
        board.parse("tiny,sdram=as4c32m16sb,clock_hz=50000000")
