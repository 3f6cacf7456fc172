"""Energy from counted toggles: an estimate, by published figures of parts of the same generation.

``energy.json`` holds each figure with its source, the rule by which it was made of that, and bounds. There are no
public figures for an ECP5's cells; nothing here was measured on a board.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from sateen.fpga.area import cells_by_group, group_of
from sateen.fpga.blocks import blocks
from sateen.fpga.parts import Part
from sateen.hw.spec.config import Config

__all__ = ["FACTOR", "FILE", "Coefficients", "EnergyUnknown", "Estimate", "Source", "kind_of"]

FILE = Path(__file__).with_name("energy.json")
FORMAT = "sateen.energy-data/1"
FACTOR, PRODUCT = "factor", "product"
"""What registers within a hardware multiplier are; what a product takes is part of the factors' figure."""
FACTORS, BEHIND = ("a", "b", "like"), ("pipeline", "product")
"""Registers of :class:`sateen.hw.multiply.Multiply`, as the Verilog names them."""


class EnergyUnknown(ValueError):
    """There are no figures for such a part."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An energy in µJ, between bounds that are as uncertain as the figures that it was made of."""

    uj: float = 0.0
    low_uj: float = 0.0
    high_uj: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            uj=self.uj + other.uj, low_uj=self.low_uj + other.low_uj, high_uj=self.high_uj + other.high_uj
        )

    def __mul__(self, count: float) -> Estimate:
        return Estimate(uj=self.uj * count, low_uj=self.low_uj * count, high_uj=self.high_uj * count)

    @classmethod
    def of(cls, entry: Mapping[str, Any], unit: str, scale: float) -> Self:
        """A figure of the file and its bounds."""
        return cls(uj=entry[unit] * scale, low_uj=entry["low"] * scale, high_uj=entry["high"] * scale)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a figure comes from."""

    figure: str
    """What it is of: ``logic``, ``multiplier``, ``memory``, ``single_port``, ``clock`` or ``static``."""
    value: float
    unit: str
    low: float
    high: float
    rule: str
    """How it was made."""
    title: str
    where: str


def kind_of(module: str, register: str, config: Config) -> str:
    """What a register is counted with: the group of its module (:func:`sateen.fpga.area.group_of`), and behind a ``+``
    what it is, if it is within a hardware multiplier."""
    group, name = group_of(module, config), register.partition("_")[0]
    # A multiplier from logic has no registers of these names.
    if module.rpartition(".")[2].partition("_")[0] != "multiply" or name not in FACTORS + BEHIND:
        return group
    return f"{group}+{FACTOR if name in FACTORS else PRODUCT}"


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """What toggles and cycles of one configuration on one part take."""

    logic: Mapping[str, Estimate]
    """By group of modules, a toggle of a register there, with the LUTs that follow it."""
    multiplier: Estimate
    """A toggle of a factor."""
    memory: Estimate
    """A cycle of all block RAMs and single-port memories."""
    clock: Estimate
    """A cycle of the clock's network."""
    static: Estimate
    """A second."""
    sources: tuple[Source, ...]

    @classmethod
    def of(cls, config: Config, part: Part) -> Self:
        """The coefficients.

        Raises
        ------
        EnergyUnknown
            If there are no figures for the part.
        AreaUnknown
            If the LUTs of such configurations were never counted.
        """
        data = _data()
        found, statics = data["technologies"].get(part.technology), data["static"]
        luts = part.capacity["luts"]
        static = next((s for s in statics if (s["technology"], s["luts"]) == (part.technology, luts)), None)
        if found is None or static is None:
            known = ", ".join(sorted(data["technologies"]))
            raise EnergyUnknown(f"no figures of energy for {part.title}; there are some for {known}")
        terms, large = found["terms"], blocks(config, part)
        per = {name: Estimate.of(entry, "pj", 1e-6) for name, entry in terms.items()}
        # Each LUT beyond one for each register is taken to toggle as the registers of its group do.
        shares = {name: max(1.0, luts / max(1.0, registers))
                  for name, (luts, registers) in cells_by_group(config, part).items()}  # fmt: skip
        memory = per["memory"] * large.block_rams
        if large.single_port_rams:
            memory += per["single_port"] * large.single_port_rams
        return cls(
            logic={name: per["logic"] * share for name, share in shares.items()},
            multiplier=per["multiplier"], memory=memory, clock=per["clock"] * luts,
            static=Estimate.of(static, "mw", 1e3),
            sources=tuple(_source(data, name, entry, "pj") for name, entry in terms.items())
            + (_source(data, "static", static, "mw"),),
        )  # fmt: skip


def _source(data: Mapping[str, Any], figure: str, entry: Mapping[str, Any], unit: str) -> Source:
    source = data["sources"][entry["source"]]
    return Source(
        figure=figure, value=entry[unit], unit={"pj": "pJ", "mw": "mW"}[unit], low=entry["low"], high=entry["high"],
        rule=entry["rule"], title=source["title"], where=source["where"],
    )  # fmt: skip


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FILE.read_text())
    if data["format"] != FORMAT:
        raise ValueError(f"{FILE} is of format {data['format']!r}, not {FORMAT!r}")
    return data
