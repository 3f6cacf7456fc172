"""What the exported Verilog takes on parts of other makers, by Yosys: LUTs, registers, multipliers, memories.

    python bench/families.py [tiny small large] [--family xilinx7]

The part is ``accelerator-axi``. Yosys counts before placement; a vendor's tool packs differently, but infers alike:
where Yosys finds a memory or a multiplier, the Verilog is in the form that tools look for. Figures go into
``bench/results.json``; ``python bench/tables.py`` writes the table.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import results
from sateen.fpga.tools import call
from sateen.hw.export import PARTS, verilog
from sateen.hw.spec.config import parse_config

PART = "accelerator-axi"


@dataclass(frozen=True, kw_only=True)
class Family:
    """How Yosys synthesizes for a family, and what its cells are called: patterns, with what each cell counts for."""

    title: str
    command: str
    luts: dict[str, float]
    """Distributed memories and shift registers among them, by the LUTs that they take."""
    registers: str
    multipliers: str
    block_rams: str
    distributed_rams: str


FAMILIES = {
    "xilinx7": Family(
        title="Xilinx 7", command="synth_xilinx -flatten -family xc7",
        luts={"LUT[1-6]": 1, "RAM64M|RAM32M": 4, "RAM(32|64)X1D": 2, "SRL16E|SRLC32E": 1},
        registers="FD[RSCP]E(_1)?", multipliers="DSP48E1", block_rams="RAMB(18|36)E1", distributed_rams="RAM(32|64).*",
    ),
    "cyclonev": Family(
        title="Intel Cyclone V", command="synth_intel_alm -family cyclonev",
        luts={"MISTRAL_ALUT.*": 1}, registers="MISTRAL_FF", multipliers="MISTRAL_MUL.*", block_rams="MISTRAL_M10K",
        distributed_rams="MISTRAL_MLAB",
    ),
    "gowin": Family(
        title="Gowin", command="synth_gowin",
        luts={"LUT[1-4]|ALU": 1, "RAM16SDP[124]": 4}, registers="DFF.*", multipliers="MULT.*",
        block_rams="S?DPX?9?B|SPX?9?|pROMX?9?", distributed_rams="RAM16SDP.*",
    ),
    "nexus": Family(
        title="Lattice Nexus", command="synth_nexus",
        luts={"LUT4": 1, "CCU2|WIDEFN9": 2, "DPR16X4": 4}, registers="FD1P3.*", multipliers="MULT.*",
        block_rams="P?DPS?C?16K|PDP.*", distributed_rams="DPR16X4",
    ),
}  # fmt: skip


def cells(preset: str, family: str) -> dict[str, int]:
    """How many cells of each kind Yosys makes of a preset."""
    text = verilog(PARTS[PART](parse_config(preset)), name="sateen")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "sateen.v").write_text(text)
        steps = f"read_verilog sateen.v; {FAMILIES[family].command} -top sateen; tee -q -o cells.json stat -json"
        call("yosys", ["-q", "-p", steps], work)
        return json.loads((work / "cells.json").read_text())["design"]["num_cells_by_type"]


def counted(family: str, found: dict[str, int]) -> dict[str, int]:
    """Cells by what they are for."""
    kinds = FAMILIES[family]

    def total(pattern: str) -> int:
        return sum(count for cell, count in found.items() if re.fullmatch(pattern, cell))

    return {
        "luts": round(sum(weight * total(pattern) for pattern, weight in kinds.luts.items())),
        "registers": total(kinds.registers),
        "multipliers": total(kinds.multipliers),
        "block_rams": total(kinds.block_rams),
        "distributed_rams": total(kinds.distributed_rams),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", default=["tiny", "small", "large"])
    parser.add_argument("--family", choices=FAMILIES, action="append")
    arguments = parser.parse_args()
    for preset in arguments.presets:
        for family in arguments.family or FAMILIES:
            found = counted(family, cells(preset, family))
            print(f"{preset} on {FAMILIES[family].title}: {', '.join(f'{count:,} {k}' for k, count in found.items())}")
            results.add("family", tools=results.SYNTHESIS, configuration=preset, family=family, **found)


if __name__ == "__main__":
    main()
