"""Loading a bitstream: the loader's arguments, what is refused, and what goes wrong."""

import os
import stat
from dataclasses import replace

import pytest
from one_build import made

from sateen.fpga.boards import BOARDS
from sateen.fpga.flash import flash, name_of
from sateen.fpga.tools import FpgaError
from sateen.hw.spec.config import parse_config


@pytest.fixture
def built():
    return made()


LOADER = "#!/bin/sh\necho \"$@\" >> {log}\necho '{text}' >&2\nexit {status}\n"


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """A program in place of openFPGALoader, that prints a text and ends with a status."""

    def make(text="", status=0):
        program = tmp_path / "bin" / "openFPGALoader"
        program.parent.mkdir(exist_ok=True)
        program.write_text(LOADER.format(log=tmp_path / "log", text=text, status=status))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        return tmp_path / "log"

    return make


def test_flash(built, loader, tmp_path):
    log = loader()
    bitstream, _ = built.save(tmp_path / "board")
    flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream)
    flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream, persistent=True)
    assert log.read_text().splitlines() == [f"--board ulx3s {bitstream}", f"--board ulx3s --write-flash {bitstream}"]
    with pytest.raises(
        FpgaError, match=r"board.bit was built for ulx3s-85f, not ecpix5-85f; run: sateen build --board ecpix5-85f"
    ):
        flash(BOARDS["ecpix5-85f"], "ecpix5-85f", bitstream)
    with pytest.raises(FpgaError, match="there is no .*other.bit; run: sateen build --board ulx3s-85f"):
        flash(BOARDS["ulx3s-85f"], "ulx3s-85f", tmp_path / "other.bit")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("tiny", "serial:/dev/ttyUSB7"),
        ("tiny,link=usb", "serial:/dev/ttyACM0"),
        ("tiny,link=ethernet", "udp:192.168.1.50"),
        ("tiny,link=ethernet,address=10.0.0.7", "udp:10.0.0.7"),
    ],
)
def test_name_of_the_device(built, tmp_path, config, name):
    """As the bitstream's link has it."""
    other = replace(built, recipe=replace(built.recipe, config=parse_config(config)))
    bitstream, *_ = other.save(tmp_path / "board")
    assert name_of(bitstream, "/dev/ttyUSB7") == name
    assert name_of(tmp_path / "none.bit", "/dev/ttyUSB7") == "serial:/dev/ttyUSB7"


def test_a_build_that_misses_its_clock_is_not_loaded(built, loader, tmp_path):
    log = loader()
    slow = replace(built, report=replace(built.report, clock_mhz=60.0))
    bitstream, _ = slow.save(tmp_path / "slow")
    with pytest.raises(FpgaError, match=r"slow.bit misses its clock by 25%; build it again with a lower clock_hz"):
        flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream)
    assert not log.exists()


def test_loader_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "crab.bit").write_bytes(b"")
    with pytest.raises(FpgaError, match="dfu-util is not installed; run: apt-get install dfu-util"):
        flash(BOARDS["orangecrab-85f"], "orangecrab-85f", tmp_path / "crab.bit")


@pytest.mark.parametrize(("text", "message"), [
    ("unable to open ftdi device: -3 (device not found)",
     "no Radiona ULX3S, LFE5U-85F is attached; check cable and power"),
    ("Error: IDCODE 0x41111043 mismatch",
     "what is attached is not Radiona ULX3S, LFE5U-85F: Error: IDCODE 0x41111043 mismatch"),
    ("x: error while loading shared libraries: libftdi1.so.2: cannot open",
     "openFPGALoader needs libftdi1.so.2; run: apt-get install"),
    ("No DFU capable USB device available", "no Radiona ULX3S, LFE5U-85F is attached"),
    ("usb_open() failed", "no permission to use the board's USB port"),
    ("something else", "openFPGALoader failed: something else"),
])  # fmt: skip
def test_flash_that_fails(built, loader, tmp_path, text, message):
    loader(text, 1)
    bitstream, _ = built.save(tmp_path / "board")
    with pytest.raises(FpgaError, match=message):
        flash(BOARDS["ulx3s-85f"], "ulx3s-85f", bitstream)
