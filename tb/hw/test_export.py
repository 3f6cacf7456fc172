"""Generated Verilog: documented, clean under Verilator's lint, accepted by Icarus Verilog."""

import subprocess

import pytest

import needs
from sateen.hw.export import PARTS, verilog
from sateen.hw.spec.config import PRESETS, parse_config
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


def test_presets_fit_what_they_are_sized_for():
    large = PRESETS["large"]
    # 208 block RAMs of 2 KiB and 156 multipliers of an ECP5-85F, of which post-processing takes four a lane.
    assert large.multipliers + 4 * large.lanes <= 156
    assert large.scratchpad_bytes + large.weight_bytes <= (208 - 2 * large.cols) * 2048
