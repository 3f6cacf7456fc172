"""A requantizing lane at the speed of C++: millions of sums next to ties, by each rounding in turn, compared with the
processor's own arithmetic."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from sateen.hw.requantize import SETTINGS, Requantize
from sateen.sim import tools
from sateen.sim.cache import Cache
from sateen.testing import to_verilog

__all__ = ["check", "soak"]

BENCH = Path(__file__).parent / "lane.cpp"


@cache
def _built() -> Path:
    """The program, of the lane as it is now."""
    assert [SETTINGS[field].offset for field in ("zero_point", "low", "high", "rounding")] == [0, 8, 16, 24]
    text = to_verilog(Requantize())
    key = hashlib.sha256((text + BENCH.read_text()).encode()).hexdigest()[:24]

    def make(work: Path) -> Path:
        (work / "top.v").write_text(text)
        verilator = tools.verilator()
        assert verilator is not None
        # Without excess precision, and no operation fused with another.
        flags = ["-cc", "--exe", "--build", "-O3", "-Wno-fatal", "-Wno-lint", "--top-module", "top", "-o", "lane"]
        flags += ["-CFLAGS", "-O1 -ffp-contract=off", "-Mdir", "."]
        subprocess.run([verilator, *flags, "top.v", BENCH], cwd=work, check=True, capture_output=True)
        return work / "lane"

    return Cache("benches").get(key, "lane", make)


def check(seed: int, count: int) -> None:
    """Sends ``count`` sums through the lane. AssertionError with the first that is wrong."""
    command = [_built(), str(Requantize.LATENCY), str(count), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert not result.returncode, f"seed {seed}: {result.stdout}{result.stderr}"


def soak(seed: int) -> str:
    """Five million sums."""
    check(seed, 5_000_000)
    return "equal"
