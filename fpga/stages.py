"""What Yosys and nextpnr are doing, from the ends of their logs."""

from __future__ import annotations

import re

__all__ = ["nextpnr_stage", "yosys_stage"]

HEADING = re.compile(r"^([\d.]+)\. (?:Executing|Running|Continuing) (.+?)(?: \(.*| pass.*|\.+)?$", re.MULTILINE)
"""How Yosys begins each step."""
SOLVED = re.compile(r"at iteration #(\d+), type ALL: .*legal = (\d+)")
REFINED = re.compile(r"at iteration #(\d+): temp = \S+, timing cost = \d+, wirelen = (\d+)")
CLOCK = re.compile(r"Max frequency for clock +'[^']*': ([\d.]+) MHz")
ARCS = re.compile(r"Routing (\d+) arcs")
ROUTED = re.compile(r"^Info: +\d+ \| +\d+ +\d+ \| +\d+ +\d+ \| +(\d+)\|", re.MULTILINE)


FIRST = ", whose first call takes a minute longer"
"""The tools are WebAssembly, which is compiled once."""


def yosys_stage(log: str) -> str:
    """Yosys's present step, as ``synthesizing, step 2.31 (OPT_EXPR)``."""
    if not log:
        return f"starting Yosys{FIRST}"
    found = HEADING.findall(log)
    return f"synthesizing, step {found[-1][0]} ({found[-1][1]})" if found else "synthesizing"


def nextpnr_stage(log: str) -> str:
    """nextpnr's present stage, with the clock that it estimates once cells have places: the least of all clocks of its
    last analysis."""
    if not log:
        return f"starting nextpnr{FIRST}"
    arcs = list(ARCS.finditer(log))
    clocks = CLOCK.findall(log)
    estimate = f", estimated clock {float(clocks[-1]):.1f} MHz" if clocks else ""
    if "Router1 time" in log or "Router2 time" in log:
        return f"analysing the timing{estimate}"
    if routed := ROUTED.findall(log):
        total = int(arcs[-1][1]) if arcs else 0
        return f"routing, {int(routed[-1]):,} {f'of {total:,} ' if total else ''}arcs left{estimate}"
    if arcs:
        return f"routing {int(arcs[-1][1]):,} arcs{estimate}"
    if refined := REFINED.findall(log):
        return f"refining the placement, round {refined[-1][0]}, {int(refined[-1][1]):,} tiles of wire"
    if solved := SOLVED.findall(log):
        return f"placing, round {solved[-1][0]}, {int(solved[-1][1]):,} tiles of wire"
    return "packing cells"
