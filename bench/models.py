"""What public models take on a simulated device, every layer compared with the golden model: a Markdown table.

    python bench/models.py CONFIG MODEL…
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

import weft
from weft.graph import run


def main() -> None:
    config, *paths = sys.argv[1:]
    print("| model | layers | MACs | cycles | utilization | |")
    print("|---|---:|---:|---:|---:|---|")
    warnings.simplefilter("ignore", weft.WeftWarning)
    with weft.open(f"sim:{config}") as device:
        for path in map(Path, paths):
            model = weft.compile(path, config)
            source = model.graph.tensors[model.graph.inputs[0]]
            random = np.random.default_rng(0)
            if source.dtype == "float32":
                x = random.normal(size=(1, *source.shape[1:])).astype(np.float32)
            else:
                x = random.integers(-128, 128, (1, *source.shape[1:])).astype(np.int8)
            loaded = device.load(model)
            _, layers = loaded.run(source.to_own(x), layers=True)
            expected = run(model.graph, x, layers=True)
            equal = all(np.array_equal(value, model.graph.tensors[name].to_own(expected[name])) for name, value in layers.items())
            profile = loaded.profile
            assert profile is not None
            macs = sum(layer.layer.macs for layer in profile.layers)
            notes = [] if equal else ["**not equal**"]
            notes += [f"{len(model.fallbacks)} on the host"] if model.fallbacks else []
            notes += [] if model.resident else ["streamed"]
            print(
                f"| {path.name} | {len(profile.layers)} | {macs:,} | {profile.cycles:,} | {profile.utilization:.0%} | {', '.join(notes)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
