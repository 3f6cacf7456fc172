"""Cells and clock of each board's default configuration after place and route, as a Markdown table.

    python bench/boards.py [--seeds N] [--jobs M] [BOARD[:PRESET[,field=value…]] …] [MODEL.tflite …]

With several seeds of the placer, `reached` lists the clock of each; the margin is that of the best, which `sateen
build` keeps.

Latencies come from the cycle model, at the board's clock, for the digits network and the given models. `streamed` means
that weights come over the link. Latencies include neither the link nor layers on the host.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import sateen
from sateen.cli.progress import status
from sateen.digits import load_data, load_network
from sateen.fpga.boards import BOARDS
from sateen.fpga.build import Recipe, build, find_board
from sateen.fpga.tools import FpgaError
from sateen.hw.spec.config import Config
from sateen.hw.spec.pe import Precision


def latencies(config: Config, models: list[Path]) -> list[str]:
    """Per model, the milliseconds of an inference without the link, or a note that it does not fit."""
    warnings.simplefilter("ignore", sateen.SateenWarning)
    found = []
    for source, options in [(load_network(), {"calibration": load_data()[0]}), *((path, {}) for path in models)]:
        try:
            model = sateen.compile(source, config, **options)
        except sateen.SateenError:
            found.append("does not fit")
            continue
        cycles = sum(layer.predicted.cycles for layer in model.layers)
        found.append(f"{1e3 * cycles / config.clock_hz:.3g}" + ("" if model.resident else ", streamed"))
        if model.fallbacks:
            found[-1] += f", {len(model.fallbacks)} on the host"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="BOARD[:PRESET[,field=value…]] | MODEL.tflite")
    parser.add_argument("--seeds", type=int, default=1, help="number of the placer's seeds, from 1")
    parser.add_argument("--jobs", type=int, default=1, help="seeds to place at a time")
    arguments = parser.parse_args()
    models = [Path(name) for name in arguments.names if Path(name).suffix]
    names = [name for name in arguments.names if not Path(name).suffix] or list(BOARDS)
    seeds = tuple(range(1, arguments.seeds + 1))
    heads = [f"{name}, ms" for name in ("digits", *(path.stem for path in models))]
    print(f"| board | configuration | LUTs | DSPs | block RAMs | clock | reached | peak GMAC/s | {' | '.join(heads)} |")
    print(f"|---|---|{'---:|' * (6 + len(heads))}")
    for name in names:
        board_name, _, text = name.partition(":")
        board = find_board(board_name)
        config = board.with_pll_clock(board.parse(text))
        try:
            recipe = Recipe(board=board_name, config=config, seeds=seeds)
            with status(f"building {name}"):
                result = build(recipe, jobs=arguments.jobs)
        except FpgaError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        cells = result.report.resources
        reached = ", ".join(str(clock) for clock in result.clocks.values())
        kind = config.pe_kind
        peak = (
            config.rows
            * config.cols
            * kind.group
            * config.clock_hz
            / kind.beat_cycles(kind.settings(Precision()))
            / 1e9
        )
        rams = f"{cells.block_rams}" + (f" and {cells.single_port_rams} of 32 KiB" if cells.single_port_rams else "")
        columns = [
            board.title, f"`{text or board.config}`", f"{cells.luts:,}", str(cells.multipliers), rams,
            f"{result.clock_mhz:g} MHz", f"{reached} MHz, {result.margin:+.0%}", f"{peak:.3g}",
            *latencies(config, models),
        ]  # fmt: skip
        print(f"| {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
