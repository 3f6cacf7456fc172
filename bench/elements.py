"""Enters what ``sateen compare-pe`` measured into ``results.json``.

python bench/elements.py compare-pe.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import results
from sateen.report.compare import Measurement


def main() -> None:
    document: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    known = Measurement.__dataclass_fields__
    for tile in document["tiles"]:
        one = Measurement(**{name: value for name, value in tile.items() if name in known})
        rates = (one.inferences_per_second, one.per_thousand_luts)
        rate, per = (None if value is None else round(value) for value in rates)
        results.add(
            "element", name=one.pe, array=f"{one.rows}×{one.cols}", configuration=None, part=one.part, seeds=None,
            luts=one.luts, registers=one.registers, multipliers=one.multipliers,
            reached_mhz=None if one.clock_mhz is None else round(one.clock_mhz), cycles=one.cycles,
            inferences_per_second=rate, per_1000_luts=per, tools=(*results.SIMULATION, *results.PLACEMENT),
        )  # fmt: skip
    for budget in document["budgets"]:
        terms = budget["budget"]
        name = "exact" if terms is None else f"g={terms['group']} k={terms['weight_terms']} s={terms['data_terms']}"
        results.add(
            "budget", name=name, configuration=None, accuracy=round(budget["accuracy"], 4), term_pairs=budget["pairs"],
            cycles=budget["cycles"], tools=results.SIMULATION,
        )  # fmt: skip


if __name__ == "__main__":
    main()
