"""The kinds of processing elements side by side: what a tile of each costs on an FPGA, and how fast it classifies
digits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
"""More than any tile reaches: nextpnr rests when it has what it was asked for."""
BUDGETS = (
    None,
    *(
        TermBudget(group=8, weight_terms=k, data_terms=s, encoding=Encoding.NAF)
        for k, s in ((24, 4), (16, 3), (12, 3), (8, 3), (8, 2), (4, 2))
    ),
)
"""Term budgets to compare; ``None`` is the smallest exact one, as the compiler finds it per layer."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One tile on one part."""

    part: str
    pe: str
    """The kind; ``mac-logic`` for MACs without hardware multipliers."""
    rows: int
    cols: int
    luts: int
    """Of the tile alone, as Yosys counts, like registers and multipliers."""
    registers: int
    multipliers: int
    clock_mhz: float | None
    """Of the tile between registers, placed and routed; ``None`` if the part does not hold it."""
    cycles: int
    """Of the whole accelerator for one digit, link excluded, by the simulated device's counters."""

    @property
    def inferences_per_second(self) -> float | None:
        """At that clock."""
        return None if self.clock_mhz is None else self.clock_mhz * 1e6 / self.cycles

    @property
    def per_thousand_luts(self) -> float | None:
        """Inferences per second for each 1000 LUTs of the tile."""
        return None if self.inferences_per_second is None else 1000 * self.inferences_per_second / self.luts


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What a term budget keeps and saves."""

    budget: TermBudget | None
    accuracy: float
    """Share of the test digits."""
    pairs: int
    """Term pairs of one inference; for the exact budget, the plain product's 64 a multiplication."""
    cycles: int
    """Of the simulated device, for one digit."""


def measure(
    graph: Graph, x: NDArray[np.int8], parts: list[str], *, rows: int, cols: int, luts: int, progress: Progress
) -> Iterator[Measurement]:
    """Each kind with an array of ``rows × cols``, then with as many columns as ``luts`` LUTs hold, if they hold one.

    The first run of each builds, places and routes; it takes minutes. Everything is kept in the cache.
    """
    for part in parts:
        for pe, multipliers in _variants(part):
            progress(f"{part}: {pe} {rows}×{cols}")
            config = _config(pe, rows, cols, multipliers)
            first = _measured(graph, x, part, pe, config)
            yield first
            yield from _largest(graph, x, part, first, config, luts, progress)


def _largest(
    graph: Graph, x: NDArray[np.int8], part: str, first: Measurement, config: Config, luts: int, progress: Progress
) -> Iterator[Measurement]:
    """The tile with the most columns that so many LUTs hold, if it is not the first; none if they hold none."""
    most = _fill(part, config, first, luts)
    while most > 0 and most != first.cols:
        progress(f"{part}: {first.pe} {config.rows}×{most}")
        try:
            measured = _measured(graph, x, part, first.pe, _config(first.pe, config.rows, most, config.multipliers))
        except FpgaError as error:
            # Yosys's mapper breaks off at a few designs.
            if "Assert" not in str(error):
                raise
        else:
            if measured.clock_mhz is not None:
                yield measured
                return
        most -= max(1, most // 8)


def accuracies(
    graph: Graph, x: NDArray[np.int8], labels: NDArray[np.int64], *, rows: int, cols: int
) -> Iterator[Accuracy]:
    """Each budget of :data:`BUDGETS` on the simulated device with term PEs."""
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

    multiplied: list[tuple[str, int | None]] = [("mac", None)] if PARTS[part].capacity["multipliers"] else []
    return [*multiplied, ("mac-logic", 0), *((pe, None) for pe in PE_KINDS if pe != "mac")]


def _config(pe: str, rows: int, cols: int, multipliers: int | None) -> Config:
    """A small accelerator that holds the digits' network, whatever the array."""
    return dataclasses.replace(
        PRESETS["tiny"], rows=rows, cols=cols, lanes=min(4, cols), pe=pe.partition("-")[0], multipliers=multipliers,
        weight_bytes=1 << 17, positions=64,
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
    """Of a tile between registers; none if these are more than the part has beside it."""
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
    """LUTs; where a logic cell is one with its register, those cells at best."""
    from sateen.fpga.parts import PARTS

    return luts if "registers" in PARTS[part].used else max(luts, registers)


def _fill(part: str, config: Config, measured: Measurement, luts: int) -> int:
    """The most columns that so many LUTs, or logic cells, hold; 0 if they hold none."""
    from sateen.fpga.flow import synthesize
    from sateen.fpga.parts import PARTS

    cols = max(1, min(64, math.floor(luts / _cells(part, measured.luts, measured.registers) * measured.cols)))
    multipliers = PARTS[part].capacity["multipliers"]
    if measured.multipliers:
        cols = min(cols, multipliers // config.rows)

    def fits(cols: int) -> bool:
        made = synthesize(_tile(_config(config.pe, config.rows, cols, config.multipliers)), PARTS[part])[1]
        return _cells(part, made.luts, made.registers) <= luts

    while cols and not fits(cols):
        cols -= 1
    return cols
