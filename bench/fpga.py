"""What configurations take of an LFE5U-85F, and the clock that they reach there: a Markdown table.

    python bench/fpga.py [PRESET[,field=value…] …]
"""

from __future__ import annotations

import sys

from weft.fpga.flow import place
from weft.fpga.parts import PARTS
from weft.hw.spec.config import parse_config
from weft.hw.top import Accelerator


def main() -> None:
    print("| configuration | LUTs | registers | multipliers | block RAMs | clock, MHz |")
    print("|---|---|---|---|---|---|")
    for name in sys.argv[1:] or ["small", "large"]:
        config = parse_config(name)
        report = place(Accelerator(config), PARTS["ecp5-85f"], target_mhz=config.clock_hz / 1e6)
        r = report.resources
        print(f"| `{name}` | {r.luts:,} | {r.registers:,} | {r.multipliers} | {r.block_rams} | {report.clock_mhz} |", flush=True)


if __name__ == "__main__":
    main()
