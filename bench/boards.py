"""Cells and clock of each board's default configuration after place and route, entered into ``results.json``.

    python bench/boards.py [--seeds N] [--jobs M | --scheduler ADDRESS] [BOARD[:CONFIG] …] [MODEL.tflite …]
    python bench/boards.py --compare BOARD[:CONFIG] …

With several seeds of the placer, `reached_mhz` has the clock of each; `sateen build` keeps the best. Latencies come
from the cycle model, at the board's clock, for the digits network and the given models. `streamed` means that weights
are sent, or come from SDRAM, in each inference. Latencies include neither the link nor layers on the host.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import many
import results
import sateen
import tables
from sateen.cli.progress import status
from sateen.cli.work import spread
from sateen.digits import load_data, load_network
from sateen.fpga.boards import BOARDS
from sateen.fpga.build import Recipe, build, find_board
from sateen.fpga.tools import ClockMissed, FpgaError
from sateen.hw.spec.config import Config
from sateen.hw.spec.pe import Precision


def latencies(config: Config, models: list[Path]) -> dict[str, dict[str, Any]]:
    """By model, what an inference takes without the link; nothing of those that do not fit."""
    warnings.simplefilter("ignore", sateen.SateenWarning)
    found = {}
    sources: list[tuple[Any, dict[str, Any]]] = [(load_network(), {"calibration": load_data()[0]})]
    for source, options in [*sources, *((path, {}) for path in models)]:
        try:
            model = sateen.compile(source, config, **options)
        except sateen.SateenError:
            continue
        cycles = sum(layer.predicted.cycles for layer in model.layers)
        name = source.stem if isinstance(source, Path) else "digits"
        found[name] = {
            "ms": float(f"{1e3 * cycles / config.clock_hz:.3g}"),
            "streamed": not model.resident,
            "on_host": len(model.fallbacks),
        }
    return found


def measure(name: str, seeds: int, arguments: argparse.Namespace, models: list[Path]) -> dict[str, Any] | None:
    """The record of ``BOARD[:CONFIG]``; ``None`` if it cannot be built."""
    board_name, _, text = name.partition(":")
    board = find_board(board_name)
    config = board.with_pll_clock(board.parse(text))
    try:
        recipe = Recipe(board=board_name, config=config, seeds=tuple(range(1, seeds + 1)))
        # Seeds are placed by programs, which need no processes of their own here.
        with (
            status(f"building {name}"),
            spread(arguments.scheduler, arguments.jobs if arguments.scheduler else 1) as run,
        ):
            result = build(recipe, jobs=arguments.jobs, spread=run)
    except ClockMissed as error:
        # What was reached is a figure, too; what an inference would take is none.
        print(f"{name}: {error}", file=sys.stderr)
        result = error.build
    except FpgaError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None
    cells, kind = result.report.resources, config.pe_kind
    macs = config.rows * config.cols * kind.group / kind.beat_cycles(kind.settings(Precision()))
    return {
        "name": board_name, "configuration": _without_clock(text or board.config), "part": board.part.title,
        "seeds": list(recipe.seeds), "luts": cells.luts, "registers": cells.registers,
        "multipliers": cells.multipliers, "block_rams": cells.block_rams, "large_rams": cells.single_port_rams,
        "clock_mhz": round(result.clock_mhz, 2), "reached_mhz": list(result.clocks.values()),
        "peak_gmacs": float(f"{macs * config.clock_hz / 1e9:.3g}"),
        "latency": latencies(config, models) if result.margin >= 0 else {},
    }  # fmt: skip


def _without_clock(text: str) -> str:
    """A configuration's text but for its clock, which a record has by itself."""
    return ",".join(field for field in text.split(",") if not field.startswith("clock_hz="))


def compared(record: dict[str, Any]) -> str:
    """What has become of a build's figures since they were entered last."""
    last = next((one for one in results.of_kind("board") if _named(one) == _named(record)), None)
    title = f"{record['name']}, {record['configuration']}"
    if last is None:
        return f"{title}: no figures were entered before"
    rows = [(name, last[name], record[name]) for name in ("luts", "registers", "multipliers", "block_rams")]
    rows.append(("reached_mhz", max(last["reached_mhz"]), max(record["reached_mhz"])))
    lines = [f"{title}, beside the figures of {last['commit']}:"]
    for name, before, now in rows:
        change = f"{now - before:+,.6g} ({now / before - 1:+.1%})" if before else ""
        lines.append(f"  {name:<12} {now:>10,}  {change if now != before else 'the same'}")
    return "\n".join(lines)


def _named(record: dict[str, Any]) -> tuple[str, str]:
    return record["name"], record["configuration"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="BOARD[:PRESET[,field=value…]] | MODEL.tflite")
    parser.add_argument("--seeds", type=int, default=1, help="number of the placer's seeds, from 1")
    parser.add_argument(
        "--compare", action="store_true", help="print what changed since the last record; enter nothing"
    )
    many.options(parser)
    arguments = parser.parse_args()
    models = [Path(name) for name in arguments.names if Path(name).suffix]
    names = [name for name in arguments.names if not Path(name).suffix] or list(BOARDS)
    reached = True
    for name in names:
        commit = results.commit()
        record = measure(name, arguments.seeds, arguments, models)
        reached &= record is not None and max(record["reached_mhz"]) >= record["clock_mhz"]
        if record is not None and arguments.compare:
            print(compared(record))
        elif record is not None:
            results.add("board", **record, commit=commit, tools=results.PLACEMENT)
    if not arguments.compare:
        print(tables.boards(), tables.latencies(), sep="\n\n")
    elif not reached:
        sys.exit(1)


if __name__ == "__main__":
    main()
