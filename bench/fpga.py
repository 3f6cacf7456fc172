"""Cells of configurations on an LFE5U-85F, and the clocks that they reach with several seeds, entered into
``results.json``.

    python bench/fpga.py [--seeds N] [--jobs M] [PRESET[,field=value…] …]
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import results
from sateen.fpga.flow import place, synthesize
from sateen.fpga.parts import PARTS
from sateen.hw.spec.config import parse_config
from sateen.hw.top import Accelerator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=["small", "large"], metavar="PRESET[,field=value…]")
    parser.add_argument("--seeds", type=int, default=1, help="number of the placer's seeds, from 1")
    parser.add_argument("--jobs", type=int, default=1, help="placements to run at a time")
    arguments = parser.parse_args()
    part, seeds = PARTS["ecp5-85f"], range(1, arguments.seeds + 1)
    for name in arguments.configs:
        config = parse_config(name)
        synthesize(Accelerator(config), part)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            asked = config.clock_hz / 1e6
            reports = list(
                pool.map(
                    lambda seed, c=config, mhz=asked: place(Accelerator(c), part, target_mhz=mhz, seed=seed), seeds
                )
            )
        r = reports[0].resources
        clocks = [report.clock_mhz for report in reports]
        results.add(
            "cells", configuration=name, part="ecp5-85f", seeds=list(seeds), luts=r.luts, registers=r.registers,
            multipliers=r.multipliers, block_rams=r.block_rams, clock_mhz=asked, reached_mhz=clocks,
            tools=results.PLACEMENT,
        )  # fmt: skip
        print(f"{name}: {r.luts:,} LUTs, {r.registers:,} registers, {', '.join(map(str, clocks))} MHz", flush=True)


if __name__ == "__main__":
    main()
