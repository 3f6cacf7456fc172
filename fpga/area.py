"""Cells of a configuration, without synthesis: block RAMs and multipliers by rule, LUTs and registers by regression.

``area.json`` holds the coefficients and what they were fitted to; ``bench/area.py`` makes it from syntheses. Each group
of modules has a formula of its own, whose terms follow the structure of the gateware: so a few small arrays tell what a
large one takes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sateen.fpga.blocks import blocks, multiplier_pes
from sateen.fpga.flow import Resources
from sateen.fpga.parts import Part
from sateen.hw.spec.config import Config
from sateen.hw.spec.timing import BLOCK_DEPTH, LONG_DELAY, LONG_PASSAGE

__all__ = [
    "FILE", "GROUPS", "OPTIONS", "AreaUnknown", "Error", "area", "cells_by_group", "count_of_pes", "error_of",
    "group_of", "options_of", "terms",
]  # fmt: skip

FILE = Path(__file__).with_name("area.json")
FORMAT = "sateen.area/1"
RESOURCES = ("luts", "registers")


MEASURED = {
    "rows", "cols", "pe", "weight_bits", "lanes", "scratchpad_bytes", "weight_bytes", "positions", "descriptors",
    "frame_bytes", "clock_hz", "baud", "multipliers", "combine", "engine", "weight_rows",
}  # fmt: skip
"""The fields that the estimates follow, wherever anything was measured."""
OPTIONS = ("overlap", "window_skip", "window_rows", "residual")
"""Those that they follow where configurations with them were measured."""


class AreaUnknown(ValueError):
    """There are no measurements of such configurations on such parts."""


@dataclass(frozen=True, kw_only=True)
class Error:
    """How far estimates were off on configurations that were left out of the fit, as shares of what they took."""

    luts: float | None
    registers: float | None
    """The mean deviations; ``None`` where too few configurations were measured to leave one out."""
    most: float | None
    """The largest of either."""
    points: int
    """Configurations that were left out, one at a time."""


Term = Callable[[Config], float]


def _bits(value: int) -> int:
    return max(1, (value - 1).bit_length())


def _sum_bits(config: Config) -> int:
    return 8 + min(8, config.weight_bits) + _bits(config.tile_depth)


def _skew(count: int, *, memories: bool = True) -> int:
    """Registers that a bit of what enters all rows or columns together waits in, one more each. Many are a memory and a
    register, on the parts that have such ``memories``."""
    return sum(1 if memories and cycles >= LONG_DELAY else cycles for cycles in range(3, 3 + count))


def _in_memories(config: Config) -> float:
    """Bits that wait in memories at the tile's edges, or between the rows that take them."""
    rows, columns = (max(0, 3 + count - LONG_DELAY) for count in (config.rows, config.cols))
    weights = columns * config.weight_bits * config.weight_rows
    if config.weight_rows >= LONG_PASSAGE:
        weights += config.cols * config.weight_bits * (config.rows - config.weight_rows)
    return weights + (8 * config.combine * rows if _parallel(config) else 0)


def _between_rows(config: Config) -> int:
    """Registers of weights on their way to the row that takes them, but those of PEs."""
    if config.weight_rows == 1:
        return 0
    first = config.weight_rows * (config.weight_rows - 1) // 2
    each = 1 if config.weight_rows >= LONG_PASSAGE else config.weight_rows - 1
    return config.cols * config.weight_bits * (first + each * (config.rows - config.weight_rows))


def _parallel(config: Config) -> bool:
    """Whether a beat takes a cycle, all of its bits at once."""
    return config.pe in ("mac", "packed")


def _sample_delays(config: Config) -> int:
    """Cycles by which the samples of all columns together are late; those that enter below pairs of PEs wait for them,
    and for what a pair is slower."""
    if not _parallel(config) or not config.sliding_rows:
        return 0
    columns, pairs = min(config.cols, config.rows), config.rows - config.sliding_rows
    return _skew(columns) + columns * (pairs + 4 if pairs else 0)


GROUPS: dict[str, dict[str, dict[str, Term]]] = {
    "pipelined": {
        "control": {
            "one": lambda c: 1,
            "program": lambda c: math.log2(c.descriptors),
            "memories": lambda c: -(-c.scratchpad_bytes // c.banks // BLOCK_DEPTH) + -(-c.weight_words // BLOCK_DEPTH),
            "columns": lambda c: c.cols * c.weight_rows,
            "overlap": lambda c: c.overlap,
            "residual": lambda c: c.residual > 0,
        },
        "accumulators": {
            "one": lambda c: 1,
            "columns": lambda c: c.cols,
            "sums": lambda c: c.cols * _sum_bits(c),
            "tables": lambda c: c.cols * c.tables,
            "overlap": lambda c: c.cols * c.overlap,
        },
        "activations": {
            "one": lambda c: 1,
            "bytes": lambda c: c.beat_bytes,
            "overlap": lambda c: c.beat_bytes * c.overlap,
            "group": lambda c: c.beat_bytes * (c.group > 1),
            "skip": lambda c: c.beat_bytes * (c.window_skip > 0),
        },
        "output": {
            "one": lambda c: 1,
            "columns": lambda c: c.cols,
            "lanes": lambda c: c.lanes,
            "tables": lambda c: c.cols * c.tables,
        },
        "parameters": {
            "one": lambda c: 1,
            "columns": lambda c: c.cols,
            "wide": lambda c: c.cols * (c.weight_rows - 1),
        },
        "postprocess": {
            "one": lambda c: 1,
            "lanes": lambda c: c.lanes,
            "tables": lambda c: c.lanes * c.tables,
            "lines": lambda c: c.beat_bytes * c.tables,
        },
        "residual": {
            "unit": lambda c: c.residual > 0,
            "sums": lambda c: c.residual,
            "columns": lambda c: c.cols * (c.residual > 0),
        },
        "scratchpad": {
            "one": lambda c: 1,
            "banks": lambda c: c.banks,
            "rotation": lambda c: c.banks * -(-_bits(c.banks) // 2),
            "blocks": lambda c: c.banks * (-(-c.scratchpad_bytes // c.banks // BLOCK_DEPTH) - 1),
            "residual": lambda c: c.banks * (c.residual > 0),
        },
        "weight_store": {
            "one": lambda c: 1,
            "columns": lambda c: c.cols * (c.weight_rows == 1),
            "blocks": lambda c: c.cols * c.weight_rows * (-(-c.weight_words // c.weight_rows // BLOCK_DEPTH) - 1),
            "wide": lambda c: c.cols * c.weight_rows * (c.weight_rows > 1),
        },
        "edges": {
            "one": lambda c: 1,
            "rows": lambda c: _skew(c.rows) * (8 * c.combine if _parallel(c) else c.combine),
            "columns": lambda c: _skew(c.cols) * c.weight_bits * c.weight_rows,
            "samples": lambda c: 8 * _sample_delays(c),
            "memories": _in_memories,
            "between": _between_rows,
            "skip": lambda c: c.cols * (c.window_skip > 0),
            "bytes": lambda c: c.beat_bytes * (not _parallel(c)),
            "feet": lambda c: c.cols * (not _parallel(c)),
        },
    },
    "sequential": {
        "control": {
            "one": lambda c: 1,
            "columns": lambda c: c.cols,
            "addresses": lambda c: _bits(c.scratchpad_bytes + c.weight_bytes),
        },
        "memory": {
            "banks": lambda c: c.banks,
            "blocks": lambda c: c.banks * ((c.scratchpad_bytes + c.weight_bytes) // c.banks // (BLOCK_DEPTH + 1)),
        },
        "sums": {"columns": lambda c: c.cols, "positions": lambda c: c.cols * math.ceil(c.positions / 256)},
        "edges": {
            "one": lambda c: 1,
            "rows": lambda c: _skew(c.rows, memories=False),
            "columns": lambda c: _skew(c.cols, memories=False) * c.weight_bits,
            "feet": lambda c: c.cols * (not _parallel(c)),
        },
    },
}
"""By engine, the groups of modules, and the terms of each."""

PE_TERMS: dict[str, Term] = {
    "one": lambda c: 1,
    "sum": _sum_bits,
    "weight": lambda c: c.weight_bits,
    "inputs": lambda c: c.combine - 1,
}
"""The terms of one PE, of each kind of its own; those that take samples have one more."""

MODULES = {
    "accumulators": "accumulators",
    "activations": "activations",
    "output": "output",
    "parameter_queue": "parameters",
    "parameters": "parameters",
    "weights": "parameters",
    "look_up": "postprocess",
    "postprocess": "postprocess",
    "residual": "residual",
    "scratchpad": "scratchpad",
    "weight_store": "weight_store",
    "memory": "memory",
    "sums": "sums",
    "tile": "edges",
}
"""The group of each module of an engine; all others are ``control``."""


def group_of(module: str, config: Config) -> str:
    """The group of a module by its name in the netlist, as ``engine.tile.pe_0_1``."""
    levels = [level.partition("$")[0] for level in module.split(".")]
    if levels[0] != "engine" or len(levels) == 1:
        return "control"
    if levels[1] == "tile" and len(levels) > 2 and levels[2].startswith("pe_"):
        return _pe_group_of(int(levels[2].split("_")[1]), config)
    group = MODULES.get(levels[1], "control")
    return group if group in GROUPS[config.engine] else "control"


def _pe_group_of(row: int, config: Config) -> str:
    return _pe_group(config, with_multiplier=row < multiplier_pes(config) // config.cols)


def _pe_group(config: Config, *, with_multiplier: bool) -> str:
    return f"pe.{config.pe}" if with_multiplier or not _parallel(config) else "pe.mac-logic"


def count_of_pes(config: Config) -> dict[str, int]:
    """How many PEs there are of each group."""
    with_multiplier, all_pes = multiplier_pes(config), config.rows * config.cols
    counts = {_pe_group(config, with_multiplier=True): with_multiplier}
    other = _pe_group(config, with_multiplier=False)
    return {group: count for group, count in {**counts, other: all_pes - with_multiplier}.items() if count}


def _sampling(group: str, config: Config) -> int:
    """How many PEs of a group take samples of windows: those of the last rows."""
    last = range(config.rows - config.sliding_rows, config.rows) if config.sliding else ()
    return config.cols * sum(_pe_group_of(row, config) == group for row in last)


def terms(group: str, config: Config) -> dict[str, float]:
    """The terms of a group, for all of its modules together."""
    if group.startswith("pe."):
        count = count_of_pes(config).get(group, 0)
        return {**{name: count * term(config) for name, term in PE_TERMS.items()}, "samples": _sampling(group, config)}
    return {name: term(config) for name, term in GROUPS[config.engine][group].items()}


def area(config: Config, part: Part) -> Resources:
    """The cells that a configuration takes, as Yosys counts them; on an iCE40 ``luts`` are logic cells.

    Raises
    ------
    AreaUnknown
        If nothing of the kind has been measured.
    """
    groups, large = cells_by_group(config, part), blocks(config, part)
    return Resources(
        luts=round(sum(luts for luts, _ in groups.values())),
        registers=round(sum(registers for _, registers in groups.values())),
        multipliers=large.multipliers,
        block_rams=large.block_rams,
        single_port_rams=large.single_port_rams,
    )


def cells_by_group(config: Config, part: Part) -> dict[str, tuple[float, float]]:
    """LUTs and registers of each group of modules, by estimate; :class:`AreaUnknown` as from :func:`area`."""
    fitted = _coefficients(config, part)
    cells = {}
    for group in (*GROUPS[config.engine], *count_of_pes(config)):
        found = terms(group, config)
        if not any(found.values()):
            # The configuration has no such modules.
            continue
        if group not in fitted:
            raise AreaUnknown(f"no synthesis of a {config.engine} engine with pe={config.pe} on {part.technology}")
        luts, registers = (
            sum(value * found[name] for name, value in fitted[group][resource].items()) for resource in RESOURCES
        )
        cells[group] = luts, registers
    return cells


def error_of(config: Config, part: Part) -> Error:
    """What the estimates of this engine on this technology were off by; :class:`AreaUnknown` as from :func:`area`."""
    _coefficients(config, part)
    return Error(**_table()["errors"][_key(config.engine, part.technology)])


def _key(engine: str, technology: str) -> str:
    return f"{engine} on {technology}"


def options_of(engine: str, part: Part) -> tuple[str, ...]:
    """Those of :data:`OPTIONS` that the estimates of an engine follow on a part."""
    return tuple(_table()["options"].get(_key(engine, part.technology), ()))


def _coefficients(config: Config, part: Part) -> Mapping[str, Any]:
    key = _key(config.engine, part.technology)
    measured = {*MEASURED, *options_of(config.engine, part)}
    for field in dataclasses.fields(config):
        # What came later: what was measured is without it.
        if field.name not in measured and getattr(config, field.name) != field.default:
            raise AreaUnknown(f"no synthesis of a configuration with {field.name}={getattr(config, field.name)}")
    fitted = _table()["coefficients"].get(key)
    if fitted is None:
        raise AreaUnknown(f"no synthesis of a {config.engine} engine on {part.technology}")
    return fitted


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text())
    if table["format"] != FORMAT:
        raise ValueError(f"{FILE} is of format {table['format']!r}, not {FORMAT!r}")
    return table
