"""Two products in one multiplier: every one of them, at the speed of C++."""

import subprocess
from pathlib import Path

import pytest

from cpp_benches import built
from harness import run
from sateen.hw.pe.packed import PackedMultiply

BENCH = Path(__file__).parent / "pair.cpp"


@pytest.mark.parametrize("bits", [8, *(pytest.param(bits, marks=pytest.mark.prove) for bits in (2, 3, 4, 5, 6, 7, 9))])
def test_every_product(bits):
    """Of any activation and any two weights."""
    command = [built(BENCH, PackedMultiply(b_bits=bits)), str(PackedMultiply.LATENCY), str(bits)]
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
