"""A requantizing lane at the speed of C++: millions of sums next to ties, compared with float32 of the processor."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from filelock import FileLock

from harness import CACHE, to_verilog
from sateen.hw.requantize import SETTINGS, Requantize
from sateen.sim import tools

__all__ = ["check", "soak"]

BENCH = Path(__file__).parent / "lane.cpp"


@cache
def _built() -> Path:
    """The program, of the lane as it is now."""
    assert [SETTINGS[field].offset for field in ("zero_point", "low", "high", "rounding")] == [0, 8, 16, 24]
    text = to_verilog(Requantize())
    folder = CACHE / hashlib.sha256((text + BENCH.read_text()).encode()).hexdigest()[:24]
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "top.v").write_text(text)
            verilator = tools.verilator()
            assert verilator is not None
            # Without excess precision, and no operation fused with another.
            flags = ["-cc", "--exe", "--build", "-O3", "-Wno-fatal", "-Wno-lint", "--top-module", "top", "-o", "lane"]
            flags += ["-CFLAGS", "-O1 -ffp-contract=off", "-Mdir", "."]
            subprocess.run([verilator, *flags, "top.v", BENCH], cwd=folder, check=True, capture_output=True)
            (folder / "done").touch()
    return folder / "lane"


def check(seed: int, count: int) -> None:
    """Sends ``count`` sums through the lane. AssertionError with the first that is not float32's."""
    command = [_built(), str(Requantize.LATENCY), str(count), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert not result.returncode, f"seed {seed}: {result.stdout}{result.stderr}"


def soak(seed: int) -> str:
    """Five million sums."""
    check(seed, 5_000_000)
    return "equal"
