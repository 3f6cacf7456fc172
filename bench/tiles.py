"""Ways to multiply in a tile, on an LFE5U-85F: cells of the tile alone, counted by Yosys, and the clock that it reaches
between registers; entered into ``results.json``.

    python bench/tiles.py [--cells] ROWSxCOLS [KIND …]

``--cells``: they are not placed.

Kinds: ``mac``, a multiplier for each PE; ``packed``, one for two; ``twice``, one for two that takes them in turn, at
twice the clock; ``mac-logic``, LUTs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import results
from sateen.fpga.floorplan import plan_sites
from sateen.fpga.flow import Resources, run_nextpnr, synthesize
from sateen.fpga.netlists import prepare
from sateen.fpga.parts import PARTS
from sateen.fpga.probe import Probe
from sateen.hw.multiply import Multiply
from sateen.hw.pe import packed
from sateen.hw.pe.shape import ArrayShape
from sateen.hw.stream.delay import delayed
from sateen.hw.tile import Tile

PART = PARTS["ecp5-85f"]
KINDS = ("mac", "packed", "twice", "mac-logic")
TARGET_MHZ = 400
"""More than any tile reaches, because nextpnr stops optimizing at the requested clock."""


class Twice(wiring.Component):
    """As :class:`sateen.hw.pe.packed.PackedMultiply`: the factors take turns in a multiplier of the domain ``fast``,
    whose clock is twice that of ``sync``, its edges at the same time."""

    def __init__(self, *, b_bits: int = 8):
        factor, product = In(signed(b_bits)), Out(signed(8 + min(8, b_bits)))
        super().__init__(
            {"a": In(signed(8)), "low": factor, "high": factor, "low_product": product, "high_product": product}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiply = multiply = DomainRenamer("fast")(Multiply(a_bits=8, b_bits=len(self.low)))
        toggle, seen, high = Signal(), Signal(), Signal(len(multiply.product))
        m.d.sync += toggle.eq(~toggle)
        m.d.fast += [seen.eq(toggle), high.eq(multiply.product)]
        m.d.comb += [
            multiply.a.eq(self.a),
            # They differ in the first half of a cycle.
            multiply.b.eq(Mux(toggle != seen, self.low, self.high)),
            # Of the low factor it is there before the second edge of the slow clock, of the high one a half later.
            self.low_product.eq(delayed(m, multiply.product, 3, name="low")),
            self.high_product.eq(delayed(m, high, 3, name="high")),
        ]
        return m


class Clocked(wiring.Component):
    """A probe, with the clock of a domain ``fast``."""

    def __init__(self, probe: Probe):
        self.probe = probe
        super().__init__({"fast_clk": In(1), "i": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.fast = ClockDomain(reset_less=True)
        m.submodules.probe = self.probe
        m.d.comb += [ClockSignal("fast").eq(self.fast_clk), self.probe.i.eq(self.i), self.o.eq(self.probe.o)]
        return m


def measure(kind: str, rows: int, cols: int, *, placed: bool) -> dict[str, Any]:
    """A tile's cells, and its clocks in MHz if it is placed."""
    tile = _tile(kind, rows, cols)
    if kind == "twice":
        with mock.patch.object(packed, "PackedMultiply", Twice):
            file, probed = synthesize(Clocked(Probe(tile)), PART)
        # The probe is that of a tile with the same ports.
        other = _tile("packed", rows, cols)
        alone, around = synthesize(other, PART)[1], synthesize(Probe(other), PART)[1]
    else:
        alone = synthesize(tile, PART)[1]
        file, probed = synthesize(Probe(tile), PART) if placed else (Path(), alone)
        around = probed
    names = ("luts", "registers", "multipliers")
    cells = {name: getattr(probed, name) - getattr(around, name) + getattr(alone, name) for name in names}
    return {**cells, **(_clocks(file, probed) if placed else {"reached_mhz": None, "fast_mhz": None})}


def _clocks(file: Path, cells: Resources) -> dict[str, int | None]:
    given = prepare(file.read_bytes(), plan_sites(file, PART, cells))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "sateen.json").write_bytes(given)
        run_nextpnr(PART, ["--freq", str(TARGET_MHZ), "--seed", "1"], work)
        report = json.loads((work / "report.json").read_text())
    clocks = {"fast" if "fast" in net else "slow": round(clock["achieved"]) for net, clock in report["fmax"].items()}
    return {"reached_mhz": clocks["slow"], "fast_mhz": clocks.get("fast")}


def _tile(kind: str, rows: int, cols: int) -> Tile:
    pe = "packed" if kind == "twice" else kind.partition("-")[0]
    shape = ArrayShape(rows=rows, cols=cols, pe=pe, multipliers=0 if kind == "mac-logic" else None)
    return Tile(shape, position_bits=6)


def main() -> None:
    placed, arguments = "--cells" not in sys.argv, [each for each in sys.argv[1:] if each != "--cells"]
    rows, cols = map(int, arguments[0].split("x"))
    for kind in arguments[1:] or KINDS:
        found = measure(kind, rows, cols, placed=placed)
        results.add(
            "tile", name=kind, array=f"{rows}×{cols}", configuration=None, part=PART.title,
            seeds=[1] if placed else None, **found,
            tools=results.PLACEMENT if placed else results.SYNTHESIS,
        )  # fmt: skip
        print(kind, found, flush=True)


if __name__ == "__main__":
    main()
