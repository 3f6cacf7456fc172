"""What each board's default configuration takes and reaches after place and route: a Markdown table.

    python bench/boards.py [BOARD[:PRESET[,field=value…]] …] [MODEL.tflite …]

Latencies are those of the models, resident on the device, by the cycle model, at the board's clock; always that of the digits network.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import weft
from weft.digits import load_data, load_network
from weft.fpga.boards import BOARDS
from weft.fpga.build import Recipe, board_of, build
from weft.fpga.tools import FpgaError
from weft.hw.spec.config import Config


def latencies(config: Config, models: list[Path]) -> list[str]:
    """Per model, the milliseconds of an inference without the link, or why there are none."""
    warnings.simplefilter("ignore", weft.WeftWarning)
    found = []
    for source, options in [(load_network(), {"calibration": load_data()[0]}), *((path, {}) for path in models)]:
        try:
            model = weft.compile(source, config, **options)
        except weft.WeftError:
            found.append("does not fit")
            continue
        cycles = sum(layer.predicted.cycles for layer in model.layers)
        found.append(f"{1e3 * cycles / config.clock_hz:.3g}" + ("" if model.resident else ", streamed"))
    return found


def main() -> None:
    models = [Path(name) for name in sys.argv[1:] if Path(name).suffix]
    names = [name for name in sys.argv[1:] if not Path(name).suffix] or [name for name, board in BOARDS.items() if board.config]
    heads = [f"{name}, ms" for name in ("digits", *(path.stem for path in models))]
    print(f"| board | configuration | LUTs | DSPs | block RAMs | clock | reached | peak GMAC/s | {' | '.join(heads)} |")
    print(f"|---|---|{'---:|' * (6 + len(heads))}")
    for name in names:
        board_name, _, text = name.partition(":")
        board = board_of(board_name)
        config = board.fitted(board.parse(text))
        try:
            result = build(Recipe(board=board_name, config=config), tell=lambda step: print(step, file=sys.stderr))
        except FpgaError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        cells = result.report.resources
        peak = config.rows * config.cols * config.clock_hz / 1e9
        columns = [
            board.title, f"`{text or board.config}`", f"{cells.luts:,}", str(cells.multipliers), str(cells.block_rams),
            f"{result.clock_mhz:g} MHz", f"{result.report.clock_mhz} MHz, {result.margin:+.0%}", f"{peak:.3g}",
            *latencies(config, models),
        ]  # fmt: skip
        print(f"| {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
