"""Fits the estimators of cells and clock, ``fpga/area.json``, to syntheses and placements.

    python bench/area.py synthesize [--jobs N | --scheduler ADDRESS] PART PRESET[,field=value…] …
    python bench/area.py enter PART NETLIST PRESET[,field=value…]
    python bench/area.py fit

The first two enter points: the cells of each group of modules, of configurations synthesized now, or of Yosys's
netlist of a build (``sateen.json`` in the cache of the FPGA tools). The third fits the coefficients, and measures their
error by leaving each point out in turn. Clocks are those of ``bench/results.json``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

import many
import results
from sateen.fpga.area import FILE, FORMAT, GROUPS, OPTIONS, RESOURCES, count_of_pes, group_of, terms
from sateen.fpga.blocks import blocks
from sateen.fpga.boards import BOARDS
from sateen.fpga.flow import synthesize
from sateen.fpga.netlists import top_of
from sateen.fpga.parts import PARTS, Part
from sateen.fpga.speed import machine_of
from sateen.hw.spec.config import Config, parse_config
from sateen.hw.top import Accelerator

Point = dict[str, Any]
ACCELERATOR = "system.accelerator"
RIDGE = 0.02
"""Weight of small coefficients in a fit, for groups with few points; a constant part is free."""


def groups_of(netlist: Path, part: Part, config: Config) -> dict[str, dict[str, int]]:
    """LUTs and registers of each group of modules, without those of a board around the accelerator."""
    top = top_of(json.loads(netlist.read_text()))
    scopes = {name for name, cell in top["cells"].items() if cell["type"] == "$scopeinfo"}
    inside = f"{ACCELERATOR}." if ACCELERATOR in scopes else ""
    logic_cells = _logic_cells(top) if part.family == "ice40" else {}
    found: dict[str, Counter[str]] = {}
    for name, cell in top["cells"].items():
        module = name
        while module and module not in scopes:
            module = module.rpartition(".")[0]
        if inside and not f"{module}.".startswith(inside):
            continue
        group = group_of(module.removeprefix(inside), config)
        for resource in RESOURCES:
            count = part.cells[resource].get(cell["type"], 0)
            if resource == "luts":
                count += logic_cells.get(name, 0)
            found.setdefault(group, Counter())[resource] += count
    return {group: {name: counts[name] for name in RESOURCES} for group, counts in sorted(found.items())}


def _logic_cells(top: dict[str, Any]) -> dict[str, int]:
    """Registers that take a logic cell of their own on an iCE40: no LUT of theirs feeds them alone."""
    uses = Counter(bit for cell in top["cells"].values() for bits in cell["connections"].values() for bit in bits)
    driven = {cell["connections"]["O"][0] for cell in top["cells"].values() if cell["type"] == "SB_LUT4"}
    single = {}
    for name, cell in top["cells"].items():
        if cell["type"].startswith("SB_DFF"):
            bit = cell["connections"]["D"][0]
            single[name] = 0 if bit in driven and uses[bit] == 2 else 1
    return single


def point_of(part: str, config: str, netlist: Path) -> Point:
    """What a netlist takes."""
    cells = Counter(cell["type"] for cell in top_of(json.loads(netlist.read_text()))["cells"].values())
    counted = {
        name: sum(cells[kind] * each for kind, each in kinds.items())
        for name, kinds in PARTS[part].cells.items()
        if name not in RESOURCES
    }
    return {
        "part": part, "config": config, "groups": groups_of(netlist, PARTS[part], parse_config(config)), **counted,
        "commit": results.commit(),
    }  # fmt: skip


def synthesized(task: tuple[str, str]) -> Point:
    """The point of a part and a configuration, synthesized now."""
    part, config = task
    netlist, _ = synthesize(Accelerator(parse_config(config)), PARTS[part])
    return point_of(part, config, netlist)


def enter(point: Point) -> None:
    """Enters a point, in place of one of the same part and configuration."""
    document = load()
    named = point["part"], point["config"]
    document["points"] = [*(each for each in document["points"] if (each["part"], each["config"]) != named), point]
    write(document)


def fit() -> None:
    """Fits all coefficients, and says how far each point is off when it is left out."""
    document = load()
    document["coefficients"], document["errors"], document["options"] = {}, {}, {}
    for key, points in _by_key(document["points"]).items():
        configs = [parse_config(point["config"]) for point in points]
        document["options"][key] = [name for name in OPTIONS if any(getattr(config, name) for config in configs)]
        for point in points:
            _check_blocks(point)
        document["coefficients"][key] = _fitted(points)
        document["errors"][key] = _error(key, points)
    document["speed"] = _speed()
    write(document)


def _by_key(points: list[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        key = f"{parse_config(point['config']).engine} on {PARTS[point['part']].technology}"
        found.setdefault(key, []).append(point)
    return found


def _check_blocks(point: Point) -> None:
    found = blocks(parse_config(point["config"]), PARTS[point["part"]])
    for name in ("multipliers", "block_rams", "single_port_rams"):
        if getattr(found, name) != point.get(name, 0):
            print(f"{point['part']} {point['config']}: {name} {getattr(found, name)}, not {point.get(name, 0)}")


def _fitted(points: list[Point]) -> dict[str, dict[str, dict[str, float]]]:
    """Per group and resource, the coefficients, none below zero."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group in sorted({group for point in points for group in _groups(point)}):
        having = [point for point in points if group in _groups(point)]
        rows = [terms(group, parse_config(point["config"])) for point in having]
        names = list(rows[0])
        matrix = np.array([[row[name] for name in names] for row in rows], float)
        scale = np.where(np.abs(matrix).max(0) > 0, np.abs(matrix).max(0), 1.0)
        found[group] = {}
        for resource in RESOURCES:
            counts = np.array([point["groups"].get(group, {}).get(resource, 0) for point in having], float)
            # Shares of each point count, so that small arrays matter as much as large ones.
            weight = 1 / np.maximum(counts, 0.02 * counts.max() + 1)
            ridge = np.diag([RIDGE * (name != "one") for name in names]) / max(1.0, counts.mean())
            left = np.vstack([matrix / scale * weight[:, None], ridge])
            right = np.concatenate([counts * weight, np.zeros(len(names))])
            solution, _ = nnls(left, right)
            found[group][resource] = {
                name: float(f"{value:.5g}") for name, value in zip(names, solution / scale, strict=True) if value
            }
    return found


def _groups(point: Point) -> list[str]:
    config = parse_config(point["config"])
    return [*GROUPS[config.engine], *count_of_pes(config)]


def _total(fitted: dict, config: Config, resource: str) -> float | None:
    total = 0.0
    for group in [*GROUPS[config.engine], *count_of_pes(config)]:
        if group not in fitted:
            return None
        found = terms(group, config)
        total += sum(value * found[name] for name, value in fitted[group][resource].items())
    return total


def _error(key: str, points: list[Point]) -> dict[str, float | None]:
    deviations: dict[str, list[float]] = {resource: [] for resource in RESOURCES}
    for point in points:
        config = parse_config(point["config"])
        fitted, whole = _fitted([other for other in points if other is not point]), _fitted(points)
        line = [f"{key:24} {point['config'][:70]:70}"]
        for resource in RESOURCES:
            actual = sum(counts[resource] for counts in point["groups"].values())
            without, within = _total(fitted, config, resource), _total(whole, config, resource)
            if without is not None:
                deviations[resource].append(abs(without / actual - 1))
            out = "–" if without is None else f"{without / actual - 1:+.1%}"
            line.append(f"{resource} {actual:6,}: {(within or 0) / actual - 1:+.1%}, left out {out}")
        print("  ".join(line))
    both = [value for values in deviations.values() for value in values]
    means = {name: round(float(np.mean(values)), 4) if values else None for name, values in deviations.items()}
    return {**means, "most": round(max(both), 4) if both else None, "points": len(deviations["luts"])}


Placement = tuple[str, int, float]
"""A machine, its LUTs, the clock that it reached."""


def _speed() -> dict[str, Any]:
    """The clock's model, from the placements of whole accelerators and of arrays in ``results.json``."""
    entries: list[Placement] = [
        (
            machine_of(parse_config(record["configuration"]).engine, BOARDS[record["name"]].part),
            record["luts"],
            float(np.mean(record["reached_mhz"])),
        )
        for record in results.of_kind("board")
        if record["reached_mhz"]
    ]
    deviations = []
    for entry in entries:
        machine = _machines([other for other in entries if other is not entry]).get(entry[0])
        if machine is not None:
            deviations.append(abs(machine["mhz"] * (entry[1] / machine["luts"]) ** -machine["power"] / entry[2] - 1))
    arrays: dict[str, dict[str, float]] = {}
    for record in results.of_kind("element"):
        if record["reached_mhz"]:
            kinds = arrays.setdefault(PARTS[record["part"]].family, {})
            kinds[record["name"]] = min(record["reached_mhz"], kinds.get(record["name"], math.inf))
    return {
        "machines": _machines(entries), "arrays": arrays,
        "error": round(float(np.mean(deviations)), 3), "points": len(deviations),
    }  # fmt: skip


def _machines(entries: list[Placement]) -> dict[str, dict[str, float]]:
    """Per machine, the mean of its placements, and the power of its size by which all machines get slower."""
    grouped: dict[str, list[tuple[float, float]]] = {}
    for name, luts, mhz in entries:
        grouped.setdefault(name, []).append((math.log(luts), math.log(mhz)))
    means = {name: np.mean(those, axis=0) for name, those in grouped.items()}
    sizes, clocks = np.concatenate([np.array(those) - means[name] for name, those in grouped.items()]).T
    power = max(0.0, -float(sizes @ clocks) / float(sizes @ sizes))
    return {
        name: {
            "luts": round(math.exp(size)), "mhz": round(math.exp(clock), 1), "power": round(power, 4),
            "placements": len(grouped[name]),
        }
        for name, (size, clock) in means.items()
    }  # fmt: skip


def load() -> dict[str, Any]:
    """The file's contents."""
    if not FILE.exists():
        return {"format": FORMAT, "points": []}
    return json.loads(FILE.read_text())


def write(document: dict[str, Any]) -> None:
    """Writes the file, a line for each point."""
    points = ",\n".join(json.dumps(point, ensure_ascii=False) for point in document["points"])
    others = {name: value for name, value in document.items() if name not in ("points", "format")}
    lines = [f'"{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in others.items()]
    FILE.write_text(",\n".join([f'{{"format": "{FORMAT}"', *lines, f'"points": [\n{points}\n]}}']) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("synthesize")
    other = commands.add_parser("enter")
    for each in (one, other):
        each.add_argument("part", choices=PARTS)
    other.add_argument("netlist", type=Path)
    other.add_argument("config")
    one.add_argument("configs", nargs="+")
    many.options(one)
    commands.add_parser("fit")
    arguments = parser.parse_args()
    if arguments.command == "fit":
        fit()
    elif arguments.command == "enter":
        enter(point_of(arguments.part, arguments.config, arguments.netlist))
    else:
        with many.spreading(arguments) as run:
            for point in run(synthesized, [(arguments.part, config) for config in arguments.configs]):
                enter(point)


if __name__ == "__main__":
    main()
