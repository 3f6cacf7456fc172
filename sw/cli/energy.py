"""``sateen energy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sateen.cli.bitstream import BOARD
from sateen.cli.inputs import INPUT, MeanOption, Preprocessing, ResizeOption, ScaleOption, load_inputs
from sateen.cli.output import progress, status
from sateen.cli.printing import JsonFile, console, write_document
from sateen.cli.sources import MODEL, load_source
from sateen.cli.tables import Column, number, print_table
from sateen.errors import InputError
from sateen.fpga.area import AreaUnknown
from sateen.fpga.build import find_board
from sateen.fpga.energy import Coefficients, EnergyUnknown, Estimate
from sateen.fpga.parts import PARTS, Part
from sateen.hw.spec.config import Config, parse_config
from sateen.report.energy import EnergyRecord, WatchedDevice
from sateen.report.energy import energy as estimate

__all__ = ["energy"]


def energy(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help=MODEL)],
    input: Annotated[list[Path], typer.Option("--input", "-i", help=INPUT)],
    board: Annotated[str | None, typer.Option("--board", "-b", help=BOARD)] = None,
    part: Annotated[str | None, typer.Option(help="A part instead of a board, as ecp5-85f.")] = None,
    config: Annotated[
        str | None, typer.Option(help="PRESET[,field=value…]; by default the board's own, or small.")
    ] = None,
    mean: MeanOption = None,
    scale: ScaleOption = None,
    resize: ResizeOption = False,
    json: JsonFile = None,
) -> None:
    """Estimates an inference's energy, by layer and by module, from toggles that the simulation counts."""
    parsed, chip = _target(board, part, config)
    try:
        Coefficients.of(parsed, chip)
    except (EnergyUnknown, AreaUnknown) as error:
        raise InputError(f"energy is not known there: {error}; name another --config, --board or --part") from error
    source = load_source(model_file)
    given = load_inputs(input, source.graph, Preprocessing(mean=mean, scale=scale, resize=resize)).values
    model = source.compiled(parsed)
    count = len(next(iter(given.values())))
    with status(f"opening sim:{parsed.text}"):
        device = WatchedDevice(parsed)
    with device, progress("counting toggles", count) as report:
        items = [{name: values[item : item + 1] for name, values in given.items()} for item in range(count)]
        record = estimate(device, model, items, chip, progress=report)
    _print(record)
    write_document(json, record)


def _target(board: str | None, part: str | None, config: str | None) -> tuple[Config, Part]:
    """The configuration with its clock, and the part."""
    if (board is None) == (part is None):
        raise InputError("name a board with --board, or a part with --part")
    if board is not None:
        place = find_board(board)
        return place.with_pll_clock(place.parse(config) if config else place.parse()), place.part
    if part not in PARTS:
        raise InputError(f"--part must be one of {', '.join(PARTS)}, not {part!r}")
    return parse_config(config or "small"), PARTS[part]


def _print(record: EnergyRecord) -> None:
    print_table(
        [
            Column("layer"), Column("op", rank=6), number("cycles", 5), number("toggles a cycle", 4),
            number("logic, µJ", 2), number("multipliers", 3), number("block RAMs", 3), number("clock", 3),
            number("together"),
        ],
        [
            [layer.name, layer.op, f"{layer.cycles:,.0f}", f"{layer.toggles / max(1.0, layer.cycles):,.0f}",
             *(_uj(each.uj) for each in (layer.logic, layer.multipliers, layer.memory, layer.clock, layer.dynamic))]
            for layer in record.layers
        ],
        total=["total", "", f"{record.cycles:,.0f}", "", *_totals(record), _uj(record.dynamic.uj)],
    )  # fmt: skip
    console.print()
    print_table(
        [Column("modules"), number("bits of registers", 3), number("toggles a bit and cycle", 1), number("logic, µJ"),
         number("multipliers", 2)],
        [[each.name, f"{each.registers:,}", f"{each.activity:.4f}", _uj(each.logic.uj), _uj(each.multipliers.uj)]
         for each in record.modules],
    )  # fmt: skip
    milliseconds = 1e3 * record.cycles / record.clock_hz
    console.print()
    console.print(
        f"an inference, {milliseconds:.3g} ms at {record.clock_hz / 1e6:g} MHz on {record.part}: "
        f"{_between(record.dynamic)} by what switches, {_between(record.static)} that the idle part takes meanwhile "
        f"({record.static_mw:,.3g} mW), {_between(record.total)} together"
    )
    console.print(
        "an estimate: toggles of registers are counted, all else are published figures of parts of the same "
        "generation; nothing was measured on this part, and the truth may be anywhere between the bounds. What moves "
        "over the link is left out" + (f", and the host's {', '.join(record.host)}" if record.host else "")
    )
    for title in dict.fromkeys(source.title for source in record.sources):
        console.print(f"source: {title} ({', '.join(s.figure for s in record.sources if s.title == title)})")


def _totals(record: EnergyRecord) -> list[str]:
    names = ("logic", "multipliers", "memory", "clock")
    return [_uj(sum(getattr(layer, name).uj for layer in record.layers)) for name in names]


def _uj(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _between(found: Estimate) -> str:
    return f"{_uj(found.uj)} µJ ({_uj(found.low_uj)} to {_uj(found.high_uj)})"
