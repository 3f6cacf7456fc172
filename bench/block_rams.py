"""How soon a block RAM of an ECP5 answers, with and without its output register, which Yosys does not use; entered into
``results.json``: ns from the clock's edge to the data, and the clock that a read through one LUT into a register
reaches, alone on an LFE5U-85F.

    python bench/block_rams.py
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import results
from sateen.fpga.flow import run_nextpnr, synthesize
from sateen.fpga.parts import PARTS

SPEED_GRADES = ("6", "8")
WIDTH, ADDRESS_BITS, LOW_BITS = 18, 10, 4
"""Of a block RAM of 1,024 words; the lowest bits of its address say which half of a word is written."""
TARGET_MHZ = 700
"""More than it reaches, because nextpnr stops optimizing at the requested clock."""


class Read(wiring.Component):
    """A memory between registers, whose bits meet in pairs behind it."""

    def __init__(self, *, registered: bool):
        self.registered = registered
        super().__init__(
            {
                "i": In(WIDTH), "write": In(1), "write_address": In(ADDRESS_BITS), "address": In(ADDRESS_BITS),
                "o": Out(WIDTH),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        data, read, write = Signal(WIDTH), Signal(WIDTH), Signal()
        addresses = {"A": Signal(ADDRESS_BITS, name="written"), "B": Signal(ADDRESS_BITS, name="asked")}
        m.d.sync += [
            data.eq(self.i), write.eq(self.write), addresses["A"].eq(self.write_address),
            addresses["B"].eq(self.address), self.o.eq(read ^ read.rotate_left(1)),
        ]  # fmt: skip
        mode = "OUTREG" if self.registered else "NOREG"
        connections: dict[str, object] = {}
        for port, address in addresses.items():
            connections |= {f"p_DATA_WIDTH_{port}": WIDTH, f"p_REGMODE_{port}": mode, f"i_CLK{port}": ClockSignal()}
            connections |= {f"i_{name}{port}": 1 for name in ("CE", "OCE")} | {f"i_RST{port}": 0}
            connections |= {f"i_CS{port}{bit}": 0 for bit in range(3)}
            connections |= {f"i_AD{port}{LOW_BITS + bit}": address[bit] for bit in range(ADDRESS_BITS)}
            # Both halves of a word are written.
            connections |= {f"i_AD{port}{bit}": int(port == "A" and bit < 2) for bit in range(LOW_BITS)}
        connections |= {f"i_DIA{bit}": data[bit] for bit in range(WIDTH)} | {"i_WEA": write, "i_WEB": 0}
        connections |= {f"o_DOB{bit}": read[bit] for bit in range(WIDTH)}
        m.submodules.memory = Instance("DP16KD", **connections)
        return m


def measure(speed_grade: str, *, registered: bool) -> tuple[float, float]:
    """ns from the edge to the data, and the clock in MHz."""
    part = PARTS["ecp5-85f"]
    part = replace(part, arguments=tuple(speed_grade if each == "6" else each for each in part.arguments))
    file, _ = synthesize(Read(registered=registered), part)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "sateen.json").write_bytes(file.read_bytes())
        options = ["--freq", str(TARGET_MHZ), "--seed", "1", "--detailed-timing-report"]
        run_nextpnr(part, options, work)
        report = json.loads((work / "report.json").read_text())
    (clock,) = report["fmax"].values()
    ways = [path for path in report["critical_paths"] if path["path"][0]["from"]["cell"] == "memory"]
    return ways[0]["path"][0]["delay"], clock["achieved"]


def main() -> None:
    for grade in SPEED_GRADES:
        for registered in (False, True):
            answers_ns, clock = measure(grade, registered=registered)
            found = {"answers_ns": round(answers_ns, 2), "reached_mhz": round(clock)}
            results.add(
                "block_ram", name="with its output register" if registered else "as Yosys uses it",
                part=f"LFE5U-85F, speed grade {grade}", seeds=[1], **found, tools=results.PLACEMENT,
            )  # fmt: skip
            print(grade, registered, found, flush=True)


if __name__ == "__main__":
    main()
