"""What configurations take of an LFE5U-85F, and the clock that they reach there: a Markdown table.

    python bench/fpga.py [PRESET[,field=value…] …]
"""

from __future__ import annotations

import sys

from weft.fpga.ecp5 import place
from weft.hw.spec.config import parse_config


def main() -> None:
    print("| configuration | LUTs | registers | multipliers | block RAMs | clock, MHz |")
    print("|---|---|---|---|---|---|")
    for name in sys.argv[1:] or ["small", "large"]:
        report = place(parse_config(name))
        r = report.resources
        print(f"| `{name}` | {r.luts:,} | {r.registers:,} | {r.multipliers} | {r.block_rams} | {report.clock_mhz} |", flush=True)


if __name__ == "__main__":
    main()
