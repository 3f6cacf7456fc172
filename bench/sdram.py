"""What an inference takes of which neither weights nor tensors fit the device, with and without SDRAM, entered into
``results.json``.

    python bench/sdram.py [CONFIG:NETWORK …]

``all_cycles`` are those of the simulated device from the first byte to the last, with a link of a byte a cycle. Results
are compared with the golden model.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

import results
import tables
from sateen import SateenWarning, compile, open
from sateen.graph import run

sys.path.append(str(Path(__file__).parents[1] / "tb"))
from networks import NETWORKS

CASES = ("large:mobilenet_v2", "large,sdram=as4c32m16sb:mobilenet_v2")


def measure(config: str, network: str) -> None:
    """Measures the second inference of a network."""
    graph = NETWORKS[network]()
    (name,) = graph.inputs
    x = np.random.default_rng(0).integers(-128, 128, (1, *graph.tensors[name].shape[1:])).astype(np.int8)
    with warnings.catch_warnings(action="ignore", category=SateenWarning), open(f"sim:{config}") as device:
        loaded = device.load(compile(graph, device.config))
        expected = run(graph, x)[graph.outputs[0]]
        for _ in range(2):
            before = device.simulated_cycles
            if not np.array_equal(loaded.run(x), expected):
                raise AssertionError(f"{network} on {config} differs from the golden model")
        profile = loaded.profile
        results.add(
            "sdram", tools=results.SIMULATION, name=network, configuration=config, cycles=profile.cycles,
            all_cycles=device.simulated_cycles - before, link_bytes=profile.link_bytes,
            copied_bytes=profile.copied_bytes, memory_cycles=profile.memory_cycles,
        )  # fmt: skip


def main() -> None:
    for case in sys.argv[1:] or CASES:
        measure(*case.split(":"))
        print(case)
    tables.main()


if __name__ == "__main__":
    main()
