"""Two products in one multiplier: every one of them, at the speed of C++."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from harness import run
from sateen.hw.pe.packed import PackedMultiply
from sateen.sim import tools
from sateen.sim.cache import Cache
from sateen.testing import to_verilog

BENCH = Path(__file__).parent / "pair.cpp"


def program(bits):
    """The bench, built with the multiplier as it is now."""
    text = to_verilog(PackedMultiply(b_bits=bits))
    key = hashlib.sha256((text + BENCH.read_text()).encode()).hexdigest()[:24]

    def make(work):
        (work / "top.v").write_text(text)
        flags = ["-cc", "--exe", "--build", "-O3", "-Wno-fatal", "-Wno-lint", "--top-module", "top", "-o", "pair"]
        command = [tools.verilator(), *flags, "-CFLAGS", "-O1", "-Mdir", ".", "top.v", BENCH]
        subprocess.run(command, cwd=work, check=True, capture_output=True)
        return work / "pair"

    return Cache("benches").get(key, "pair", make)


@pytest.mark.parametrize("bits", [8, *(pytest.param(bits, marks=pytest.mark.prove) for bits in (2, 3, 4, 5, 6, 7, 9))])
def test_every_product(bits):
    """Of any activation and any two weights."""
    command = [program(bits), str(PackedMultiply.LATENCY), str(bits)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert not result.returncode, result.stdout + result.stderr
    weights = 511 if bits == 9 else 1 << bits
    assert int(result.stdout) == 256 * weights**2 - PackedMultiply.LATENCY - 1


@pytest.mark.parametrize(
    ("bits", "technology"),
    [
        (9, "ecp5"),
        *(pytest.param(*each, marks=pytest.mark.prove) for each in ((8, "ecp5"), (2, "ecp5"), (9, None), (2, None))),
    ],
)  # fmt: skip
def test_pipeline(bits, technology):
    """As it is built of ECP5's cells, too."""
    run("packed-multiply", technology=technology, b_bits=bits)


@pytest.mark.parametrize("bits", [1, 10])
def test_rejects(bits):
    with pytest.raises(ValueError, match=f"b_bits must be 2 to 9, not {bits}"):
        PackedMultiply(b_bits=bits)
