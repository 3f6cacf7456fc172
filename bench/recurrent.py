"""What recurrent layers with states of 16 bits take on the device, by the counters; entered into ``results.json``.

    python bench/recurrent.py
"""

from __future__ import annotations

import sys

import numpy as np

import results
import sateen
from sateen.frontends import tflite
from sateen.graph import run as golden_model

sys.path.insert(0, str(results.FILE.parents[1] / "tb"))

from recurrent_models import lstm_model, svdf_model

CONFIGURATIONS = "small,recurrent=1024", "small,recurrent=1024,weight_rows=2,overlap=1"
MODELS = {
    "SVDF, 40 inputs, 64 units, 10 steps kept": lambda rng: svdf_model(rng, inputs=40, units=64, rank=1, steps=10),
    "LSTM, 8 inputs, 24 cells, 8 steps": lambda rng: lstm_model(rng, inputs=8, cells=24, steps=8),
    "LSTM, 32 inputs, 32 cells, 16 steps": lambda rng: lstm_model(rng, inputs=32, cells=32, steps=16),
}


def main() -> None:
    for configuration in CONFIGURATIONS:
        with sateen.open(f"sim:{configuration}") as device:
            for name, make in MODELS.items():
                measure(name, make(np.random.default_rng(1)), configuration, device)


def measure(name: str, built, configuration: str, device) -> None:
    """Runs a file's layer, and enters the cycles of all that the device does for it."""
    builder, *ends = built
    graph = tflite.load(builder.build(*ends))
    (source,) = graph.inputs
    x = np.random.default_rng(1).integers(-128, 128, (1, *graph.tensors[source].shape[1:])).astype(np.int8)
    loaded = device.load(sateen.compile(graph, device.config, strict=True))
    values = loaded.run(graph.tensors[source].to_file(x))
    (output,) = graph.outputs
    np.testing.assert_array_equal(values, graph.tensors[output].to_file(golden_model(graph, x)[output]))
    layers = loaded.profile.layers
    results.add(
        "recurrent", name=name, configuration=configuration, macs=sum(layer.layer.macs for layer in layers),
        cycles=sum(layer.counters.cycles for layer in layers),
        predicted=sum(layer.layer.predicted.cycles for layer in layers), tools=results.SIMULATION,
    )  # fmt: skip
    print(f"{configuration}: {name}: {sum(layer.counters.cycles for layer in layers):,} cycles", flush=True)


if __name__ == "__main__":
    main()
