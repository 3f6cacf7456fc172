"""A comparison of the kinds of processing elements: the cost of a tile on an FPGA, and its speed on the digits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sateen.compiler import Model, compile
from sateen.fpga.tools import DoesNotFit, FpgaError
from sateen.graph import Graph, run
from sateen.hw.spec.config import PRESETS, Config
from sateen.hw.spec.pe import PE_KINDS, Encoding, TermBudget
from sateen.quantize import term_pairs, with_terms
from sateen.runtime import Device
from sateen.runtime import open as open_device

__all__ = ["BUDGETS", "Accuracy", "Measurement", "accuracies", "measure"]

POSITION_BITS = 6
TARGET_MHZ = 300.0
"""More than any tile reaches, because nextpnr stops optimizing at the requested clock."""
BUDGETS = (
    None,
    *(
        TermBudget(group=8, weight_terms=k, data_terms=s, encoding=Encoding.NAF)
        for k, s in ((24, 4), (16, 3), (12, 3), (8, 3), (8, 2), (4, 2))
    ),
)
"""Term budgets to compare; ``None`` is the smallest exact one, which the compiler finds for each layer."""

Progress = Callable[[str], None]
Spread = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One tile on one part."""

    part: str
    pe: str
    """The kind; ``mac-logic`` for MACs without hardware multipliers."""
    rows: int
    cols: int
    luts: int
    """LUTs of the tile alone, counted by Yosys, as are registers and multipliers."""
    registers: int
    multipliers: int
    clock_mhz: float | None
    """Clock of the tile between registers, placed and routed; ``None`` if it does not fit the part."""
    cycles: int
    """Cycles of the whole accelerator for one digit, without the link, by the simulated device's counters."""

    @property
    def inferences_per_second(self) -> float | None:
        """Inferences per second at ``clock_mhz``."""
        return None if self.clock_mhz is None else self.clock_mhz * 1e6 / self.cycles

    @property
    def per_thousand_luts(self) -> float | None:
        """Inferences per second for each 1000 LUTs of the tile."""
        return None if self.inferences_per_second is None else 1000 * self.inferences_per_second / self.luts


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy and cost with a term budget."""

    budget: TermBudget | None
    accuracy: float
    """Share of the test digits classified correctly."""
    pairs: int
    """Term pairs of one inference; for the exact budget, 64 for each multiplication."""
    cycles: int
    """Cycles of the simulated device for one digit."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of PE to measure on a part."""

    graph: Graph
    x: NDArray[np.int8]
    part: str
    pe: str
    multipliers: int | None
    rows: int
    cols: int
    luts: int

    def measured(self, progress: Progress) -> Iterator[Measurement]:
        """The array of ``rows × cols``, and the one with the most columns that fit ``luts`` LUTs, unless it is the same
        or no column fits."""
        config = _config(self.pe, self.rows, self.cols, self.multipliers)
        progress(f"{self.part}: {self.pe} {self.rows}×{self.cols}")
        first = _measured(self.graph, self.x, self.part, self.pe, config)
        yield first
        most = _fill(self.part, config, first, self.luts)
        while most > 0 and most != first.cols:
            progress(f"{self.part}: {self.pe} {self.rows}×{most}")
            config = _config(self.pe, self.rows, most, self.multipliers)
            try:
                found = _measured(self.graph, self.x, self.part, self.pe, config)
            except FpgaError as error:
                # Yosys's mapper fails on a few designs.
                if "Assert" not in str(error):
                    raise
            else:
                if found.clock_mhz is not None:
                    yield found
                    return
            step = config.pe_kind.columns
            most -= max(1, most // 8 // step) * step


def measure(
    graph: Graph,
    x: NDArray[np.int8],
    parts: list[str],
    *,
    rows: int,
    cols: int,
    luts: int,
    progress: Progress,
    spread: Spread | None = None,
) -> Iterator[Measurement]:
    """Measures each kind with an array of ``rows × cols``, then with as many columns as fit ``luts`` LUTs, if one fits.

    The first run of each builds, places and routes, which takes minutes. Everything is cached where it is measured.

    Parameters
    ----------
    spread
        Measures the kinds in other processes, see :meth:`sateen.workers.Workers.run`; by default one after the other in
        this one.
    """
    tasks = [
        Task(graph=graph, x=x, part=part, pe=pe, multipliers=multipliers, rows=rows, cols=cols, luts=luts)
        for part in parts
        for pe, multipliers in _variants(part)
    ]
    if spread is None:
        for task in tasks:
            yield from task.measured(progress)
        return
    progress(f"{len(tasks)} kinds of PEs on {len(parts)} parts")
    for found in spread(_elsewhere, tasks):
        yield from found


def _elsewhere(task: Task) -> list[Measurement]:
    return list(task.measured(lambda text: None))


def accuracies(
    graph: Graph, x: NDArray[np.int8], labels: NDArray[np.int64], *, rows: int, cols: int
) -> Iterator[Accuracy]:
    """Measures each budget of :data:`BUDGETS` on the simulated device with term PEs."""
    config = _config("term", rows, cols, None)
    with open_device(_device(config)) as device:
        for budget in BUDGETS:
            reduced = with_terms(graph, {op.name: budget for op in graph.ops})
            answers = run(reduced, x)[graph.outputs[0]].argmax(axis=1)
            cycles = _simulated(device, compile(reduced, config), x)
            yield Accuracy(
                budget=budget,
                accuracy=float((answers == labels).mean()),
                pairs=term_pairs(reduced),
                cycles=cycles,
            )


def _variants(part: str) -> list[tuple[str, int | None]]:
    from sateen.fpga.parts import PARTS

    multiplied: list[tuple[str, int | None]] = []
    if PARTS[part].capacity["multipliers"]:
        multiplied = [("mac", None), ("packed", None)]
    return [*multiplied, ("mac-logic", 0), *((pe, None) for pe in PE_KINDS if pe not in ("mac", "packed"))]


def _config(pe: str, rows: int, cols: int, multipliers: int | None) -> Config:
    """A small accelerator that holds the digits network with any array, of weights that have 8 bits in each kind."""
    return dataclasses.replace(
        PRESETS["tiny"], rows=rows, cols=cols, lanes=min(4, cols), pe=pe.partition("-")[0], multipliers=multipliers,
        weight_bytes=1 << 17, positions=64, weight_bits=8,
    )  # fmt: skip


def _device(config: Config) -> str:
    fields = {name: value for name, value in config.to_dict().items() if value != getattr(PRESETS["tiny"], name)}
    return "sim:" + ",".join(["tiny", *(f"{name}={value}" for name, value in fields.items())])


def _measured(graph: Graph, x: NDArray[np.int8], part: str, pe: str, config: Config) -> Measurement:
    from sateen.fpga.flow import synthesize
    from sateen.fpga.parts import PARTS

    _, cells = synthesize(_tile(config), PARTS[part])
    fits = _cells(part, cells.luts, cells.registers) <= PARTS[part].capacity["luts"]
    clock = _clock(part, config) if fits else None
    model = compile(graph, config)
    with open_device(_device(config)) as device:
        cycles = _simulated(device, model, x)
    return Measurement(
        part=part,
        pe=pe,
        rows=config.rows,
        cols=config.cols,
        luts=cells.luts,
        registers=cells.registers,
        multipliers=cells.multipliers,
        clock_mhz=clock,
        cycles=cycles,
    )


def _clock(part: str, config: Config) -> float | None:
    """Clock of a tile between registers; ``None`` if tile and registers exceed the part."""
    from sateen.fpga.flow import place
    from sateen.fpga.parts import PARTS
    from sateen.fpga.probe import Probe

    try:
        return place(Probe(_tile(config)), PARTS[part], target_mhz=TARGET_MHZ).clock_mhz
    except DoesNotFit:
        return None


def _simulated(device: Device, model: Model, x: NDArray[np.int8]) -> int:
    """Cycles of the first item, by the device's counters."""
    loaded = device.load(model)
    loaded.run(x[:1])
    assert loaded.profile is not None
    return loaded.profile.cycles


def _tile(config: Config):  # type: ignore[no-untyped-def]
    from sateen.hw.export import PARTS

    return PARTS["tile"](config)


def _cells(part: str, luts: int, registers: int) -> int:
    """LUTs, or, where a logic cell is a LUT with its register, the lower bound on logic cells."""
    from sateen.fpga.parts import PARTS

    return luts if "registers" in PARTS[part].used else max(luts, registers)


def _fill(part: str, config: Config, measured: Measurement, luts: int) -> int:
    """The most columns that fit ``luts`` LUTs or logic cells; 0 if none fits."""
    from sateen.fpga.flow import synthesize
    from sateen.fpga.parts import PARTS

    cols = max(1, min(64, math.floor(luts / _cells(part, measured.luts, measured.registers) * measured.cols)))
    multipliers, step = PARTS[part].capacity["multipliers"], config.pe_kind.columns
    if measured.multipliers:
        cols = min(cols, multipliers // config.rows * step)
    cols -= cols % step

    def fits(cols: int) -> bool:
        made = synthesize(_tile(_config(config.pe, config.rows, cols, config.multipliers)), PARTS[part])[1]
        return _cells(part, made.luts, made.registers) <= luts

    while cols and not fits(cols):
        cols -= step
    return cols
