"""What an inference takes by the cycle model, step by step from a plain configuration to one with everything that
saves cycles, and on the iCEBreaker's; entered into ``results.json``.

    python bench/steps.py FOLDER [CONFIG]

FOLDER has the public models, as ``tflite/NAME.tflite``. With a configuration, nothing is entered: the layers are
printed, with the cycles that they would take if all PEs were at work, those in which they are, and what the others wait
for.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import results
import sateen
from inferences import LEAN, PLACED, TALL
from sateen.fpga.boards import BOARDS
from sateen.frontends import load
from sateen.graph import Graph

sys.path.insert(0, str(Path(__file__).parent.parent / "tb"))

from networks import NETWORKS

MODELS = ("ic_resnet8", "kws_dscnn", "visual_wake_words", "ad_autoencoder", "streaming_wakeword")
CONFIGURATIONS = ("large", "large,weight_rows=4", "large,overlap=1", "large,weight_rows=4,overlap=1")
CONFIGURATIONS += ("large,weight_rows=4,overlap=1,window_skip=16",)
CONFIGURATIONS += ("large,weight_rows=4,overlap=1,window_skip=16,residual=2",)
CONFIGURATIONS += (LEAN, TALL, f"{TALL},residual=2", PLACED, BOARDS["icebreaker"].config)


def layers(graph: Graph, configuration: str) -> None:
    """Prints what each layer takes."""
    model, total = sateen.compile(graph, configuration), 0
    pes = model.config.rows * model.config.cols * model.config.group
    print(f"{graph.name:28}    least     busy   cycles  weights activations accumulators results")
    for layer in model.layers:
        p = layer.predicted
        total += p.cycles
        waits = f"{p.weights:8,} {p.activations:11,} {p.accumulators:12,} {p.output:7,}"
        print(f"{layer.name[:28]:28} {-(-layer.macs // pes):8,} {p.busy:8,} {p.cycles:8,} {waits}")
    print(f"{'':28} {-(-model.macs // pes):8,} {'':8} {total:8,}", flush=True)


def main() -> None:
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore", sateen.SateenWarning)
    for name in MODELS:
        graph = NETWORKS[name]() if name in NETWORKS else load(folder / "tflite" / f"{name}.tflite")
        if len(sys.argv) > 2:
            layers(graph, sys.argv[2])
            continue
        for configuration in CONFIGURATIONS:
            model = sateen.compile(graph, configuration)
            cycles = sum(layer.predicted.cycles for layer in model.layers)
            results.add(
                "predicted", name=name, configuration=configuration, cycles=cycles, streamed=not model.resident,
                tools=(),
            )  # fmt: skip
            print(f"{name} on {configuration}: {cycles:,} cycles", flush=True)


if __name__ == "__main__":
    main()
