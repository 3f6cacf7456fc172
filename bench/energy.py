"""What an inference takes of energy by estimate (see :mod:`sateen.report.energy`); entered into ``results.json``.

    python bench/energy.py BOARD CONFIG MODEL…

A model is a file, or the name of a network of `tb/networks.py`; its input is that of `bench/models.py`.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import results
import sateen
from models import NETWORKS, computed, recorded
from sateen.fpga.build import find_board
from sateen.frontends import load
from sateen.graph import Graph
from sateen.report.energy import WatchedDevice, energy

TERMS = ("logic", "multipliers", "memory", "clock")


def main() -> None:
    name, text, *models = sys.argv[1:]
    board = find_board(name)
    config = board.with_pll_clock(board.parse(text))
    warnings.simplefilter("ignore", sateen.SateenWarning)
    with WatchedDevice(config) as device:
        for each in models:
            path = Path(each)
            graph = NETWORKS[each]() if each in NETWORKS else load(path)
            assert isinstance(graph, Graph), f"{each} is no quantized model"
            found = None if each in NETWORKS else recorded(path)
            x, _ = found or computed(graph)
            record = energy(device, sateen.compile(graph, config), [{graph.inputs[0]: x}], board.part)
            terms = {term: round(sum(getattr(layer, term).uj for layer in record.layers), 2) for term in TERMS}
            results.add(
                "energy", name=path.stem, board=name, configuration=text, clock_mhz=config.clock_hz / 1e6,
                cycles=int(record.cycles), toggles=int(sum(layer.toggles for layer in record.layers)),
                dynamic_uj=round(record.dynamic.uj, 2), dynamic_low_uj=round(record.dynamic.low_uj, 2),
                dynamic_high_uj=round(record.dynamic.high_uj, 2), static_uj=round(record.static.uj, 2),
                static_low_uj=round(record.static.low_uj, 2), static_high_uj=round(record.static.high_uj, 2),
                **{f"{term}_uj": value for term, value in terms.items()}, tools=results.SIMULATION,
            )  # fmt: skip
            print(f"{path.stem}: {record.dynamic.uj:.4g} µJ and {record.static.uj:.4g} of the idle part", flush=True)


if __name__ == "__main__":
    main()
