"""Structures of processing elements without multipliers, by what they multiply a second for each of their LUTs, on an
LFE5U-85F; entered into ``results.json``.

    python bench/terms.py [NAME …]

A PE's cells are counted by Yosys, a distributed RAM of 16×4 as 6 LUTs (it takes four, and two more are not to be used);
so are those of the foot of a column of 64 weights, and of what 16 columns share before a row. The clock is that of 4×4
PEs with their feet between registers, placed and routed. Loaders, which encode weights, are not counted.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

import lean_elements as lean
import results
import term_structures as of_terms
from sateen.fpga.flow import place, synthesize
from sateen.fpga.parts import PARTS
from sateen.fpga.probe import Probe
from sateen.hw.pe.bitserial import BitSerial, Horner
from sateen.hw.pe.mac import Mac
from sateen.hw.pe.term import TermMac, Total
from sateen.hw.pe.term_edges import TermFeeder
from term_accuracy import any_terms, narrow, powers, scheduled_terms

PART = PARTS["ecp5-85f"]
TARGET_MHZ = 400
"""More than any array reaches, because nextpnr stops optimizing at the requested clock. For 4×4 term MACs it had not
ended after twelve minutes."""
SIDE = 4
"""Rows and columns of PEs that are placed."""
LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
RIGHT = ("activation", "swap", "slide", "capture", "values")
"""Ports from a PE to the one at its right; the others lead down."""
SUM_BITS = 22

Make = Callable[[], wiring.Component]


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a structure computes, and how long that takes."""

    name: str
    cycles: float
    """Of the PE, for its weights and one activation each."""
    weights: int
    """Of which it computes the products in these cycles."""
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A structure with its operating points."""

    name: str
    pe: Make
    points: tuple[Point, ...]
    foot: Make | None = None
    feeder: Make | None = None
    """What a row of PEs needs before it."""
    target_mhz: float = TARGET_MHZ


class Grid(wiring.Component):
    """PEs with their feet. Its ports are those of the PEs at the edges, and the feet's."""

    def __init__(self, structure: Structure):
        self.pes = [[structure.pe() for _ in range(SIDE)] for _ in range(SIDE)]
        self.feet = [structure.foot() for _ in range(SIDE)] if structure.foot else []
        members = {}
        self.ends: list[tuple[str, wiring.Component, str]] = []
        for row, line in enumerate(self.pes):
            for column, pe in enumerate(line):
                for name, member in pe.signature.members.items():
                    base, _, way = name.rpartition("_")
                    place = column if base in RIGHT else row
                    if way not in "io" or not base or place == (0 if way == "i" else SIDE - 1):
                        self._end(members, f"{name}_{row}_{column}", pe, name, member)
        for column, foot in enumerate(self.feet):
            for name, member in foot.signature.members.items():
                if name != "i":
                    self._end(members, f"foot_{name}_{column}", foot, name, member)
        super().__init__(members)

    def _end(self, members: dict, port: str, part: wiring.Component, name: str, member: object) -> None:
        if self.feet and name == "sum_o":
            return
        members[port] = member
        self.ends.append((port, part, name))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for row, line in enumerate(self.pes):
            for column, pe in enumerate(line):
                m.submodules[f"pe_{row}_{column}"] = pe
                for name in (name for name in pe.signature.members if name.endswith("_i")):
                    right = name[:-2] in RIGHT
                    if column if right else row:
                        before = self.pes[row][column - 1] if right else self.pes[row - 1][column]
                        m.d.comb += getattr(pe, name).eq(getattr(before, f"{name[:-2]}_o"))
        for column, foot in enumerate(self.feet):
            m.submodules[f"foot_{column}"] = foot
            m.d.comb += foot.i.eq(self.pes[-1][column].sum_o)
        for port, part, name in self.ends:
            here, inside = getattr(self, port), getattr(part, name)
            m.d.comb += inside.eq(here) if part.signature.members[name].flow is In else here.eq(inside)
        return m


def structures() -> Iterator[Structure]:
    """All that are measured."""
    by_bits = {bits: narrow(bits) for bits in (2, 3, 4, 5, 8)}
    yield from _parallel(by_bits)
    yield from _serial(by_bits)
    yield from _terms()


def _parallel(by_bits: dict[int, float]) -> Iterator[Structure]:
    for bits, accuracy in by_bits.items():
        if bits != 5:
            yield Structure(
                name=f"mac-logic, weights of {bits}",
                pe=lambda bits=bits: Mac(weight_bits=bits, sum_bits=8 + bits + 6, multiplier=False),
                points=(Point(name="activations of 8", cycles=1, weights=1, accuracy=accuracy),),
            )
    for bits, activation in ((2, 8), (3, 8), (4, 8), (5, 8), (8, 8), (8, 4), (4, 4), (2, 4), (4, 2), (2, 2)):
        yield Structure(
            name=f"lean MAC, weights of {bits}" + (f", {activation}" if activation < 8 else ""),
            pe=lambda bits=bits, activation=activation: lean.LeanMac(bits, activation),
            points=(_of_bits(activation, 1, 1, by_bits[bits]),),
        )
    power = Point(name="activations of 8", cycles=1, weights=1, accuracy=powers())
    yield Structure(name="power of two a weight", pe=lean.LogMac, points=(power,))


def _of_bits(activation: int, cycles: float, weights: int, accuracy: float) -> Point:
    """The accuracy is known of activations of 8 bits only."""
    known = accuracy if activation == 8 else None
    return Point(name=f"activations of {activation}", cycles=cycles, weights=weights, accuracy=known)


def _serial(by_bits: dict[int, float]) -> Iterator[Structure]:
    for bits, accuracy in by_bits.items():
        planes = {"foot": _foot(lean.PlaneFoot, bits + 6), "feeder": lambda: lean.Planes(1)}
        points = tuple(_of_bits(activation, activation, 1, accuracy) for activation in (8, 4, 3, 2, 1))
        if bits != 5:
            yield Structure(
                name=f"bitserial, weights of {bits}",
                pe=lambda bits=bits: BitSerial(weight_bits=bits, sum_bits=bits + 6),
                foot=_foot(Horner, bits + 6), feeder=planes["feeder"], points=points,
            )  # fmt: skip
            yield Structure(
                name=f"bit planes, weights of {bits}", pe=lambda bits=bits: lean.BitPlane(bits), points=points, **planes
            )
        yield Structure(
            name=f"tables of sums, weights of {bits}",
            pe=lambda bits=bits: lean.TableSum(bits),
            foot=_foot(lean.PlaneFoot, bits + 6), feeder=lambda: lean.Planes(4, folded=True),
            points=tuple(_of_bits(activation, activation, 4, accuracy) for activation in (8, 4, 3, 2, 1)),
        )  # fmt: skip


def _foot(kind: Callable[..., wiring.Component], partial_bits: int) -> Make:
    return lambda: kind(partial_bits=partial_bits, sum_bits=SUM_BITS)


SCHEDULES = {
    4: (7, 6, 5, 4),
    6: (6, 6, 5, 5, 4, 3),
    8: (7, 6, 6, 5, 5, 4, 4, 3),
    12: (6, 6, 5, 5, 5, 4, 4, 4, 3, 3, 3, 2),
    16: (7, 6, 5, 4, 3, 2, 1, 0) * 2,
}
"""Exponents of k terms. Of several that were tried, that with the best accuracy."""


def _terms() -> Iterator[Structure]:
    kept = {terms: any_terms(terms) for terms in (4, 8, 12, 16, 24)}
    total = _foot(Total, 19)
    yield Structure(
        name="term MAC", pe=lambda: TermMac(sum_bits=19), foot=total, target_mhz=150,
        feeder=lambda: TermFeeder(rows=1, tag=data.StructLayout({"tag": 1})),
        points=tuple(
            Point(name=f"k={terms} s={data_terms}", cycles=max(2, terms) * data_terms, weights=8, accuracy=None)
            for terms, data_terms in ((4, 2), (8, 3), (12, 3), (16, 3), (24, 4))
        ),
    )  # fmt: skip
    for slots, budgets in ((8, (4, 8)), (16, (12, 16)), (32, (24,))):
        yield Structure(
            name=f"A: shifted words, up to {slots} terms",
            pe=lambda slots=slots: of_terms.TermShift(slots), foot=_foot(of_terms.Doubling, 19),
            points=tuple(Point(name=f"k={k}", cycles=k, weights=8, accuracy=kept[k]) for k in budgets),
        )  # fmt: skip
    for slots, budgets in ((8, (4, 6, 8)), (16, (12, 16))):
        yield Structure(
            name=f"B: sorted, up to {slots} terms",
            pe=lambda slots=slots: of_terms.TermSorted(slots), foot=_foot(of_terms.Doubling, 12),
            points=tuple(
                Point(name=f"k={k}", cycles=k, weights=7, accuracy=scheduled_terms(SCHEDULES[k], 7)) for k in budgets
            ),
        )  # fmt: skip
    yield Structure(
        name="B: sorted, an accumulator a PE", pe=lambda: of_terms.TermDoubling(8),
        points=(Point(name="k=8", cycles=8, weights=7, accuracy=scheduled_terms(SCHEDULES[8], 7)),),
    )  # fmt: skip
    for exponents, first in ((4, 4), (8, 0)):
        accuracy = scheduled_terms(range(first, 8), 8)
        yield Structure(
            name=f"C: bit planes of {exponents} terms",
            pe=lambda exponents=exponents: of_terms.TermPlanes(exponents), foot=_foot(lean.PlaneFoot, exponents + 4),
            feeder=lambda: lean.Planes(8), points=(_of_bits(8, 8, 8, accuracy), _of_bits(4, 4, 8, accuracy)),
        )  # fmt: skip
    # A column's 64 weights are eight groups; after them eight sums are read.
    yield Structure(
        name="D: sums by exponent", pe=of_terms.ExponentSums, foot=_foot(Horner, 16),
        points=tuple(Point(name=f"k={k}", cycles=k + 1, weights=8, accuracy=kept[k]) for k in (4, 8)),
    )  # fmt: skip


def cells(make: Make | None) -> tuple[int, int]:
    """LUTs and registers."""
    if make is None:
        return 0, 0
    netlist, _ = synthesize(make(), PART)
    counts = Counter(cell["type"] for cell in json.loads(netlist.read_text())["modules"]["sateen"]["cells"].values())
    return sum(many * counts[kind] for kind, many in LUTS.items()), counts["TRELLIS_FF"]


def main() -> None:
    for structure in structures():
        if sys.argv[1:] and not any(name in structure.name for name in sys.argv[1:]):
            continue
        (luts, registers), foot, feeder = map(cells, (structure.pe, structure.foot, structure.feeder))
        clock = place(Probe(Grid(structure)), PART, target_mhz=structure.target_mhz).clock_mhz
        for point in structure.points:
            results.add(
                "structure", name=structure.name, point=point.name, configuration=None, part=PART.title, seeds=[1],
                array=f"{SIDE}×{SIDE}", weights=point.weights, cycles=point.cycles, accuracy=point.accuracy,
                luts=luts, registers=registers, foot_luts=foot[0], feeder_luts=feeder[0], reached_mhz=round(clock),
                tools=results.PLACEMENT,
            )  # fmt: skip
        print(structure.name, luts, registers, foot, feeder, clock, flush=True)


if __name__ == "__main__":
    main()
