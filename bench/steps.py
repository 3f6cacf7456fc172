"""What an inference takes by the cycle model, step by step from a plain configuration to one with everything that
saves cycles, and on the iCEBreaker's; entered into ``results.json``.

    python bench/steps.py FOLDER

FOLDER has the public models, as ``tflite/NAME.tflite``.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import results
import sateen
from sateen.fpga.boards import BOARDS
from sateen.frontends import load

sys.path.insert(0, str(Path(__file__).parent.parent / "tb"))

from networks import NETWORKS

MODELS = ("ic_resnet8", "kws_dscnn", "visual_wake_words", "ad_autoencoder", "streaming_wakeword")
CONFIGURATIONS = ("large", "large,weight_rows=4", "large,overlap=1", "large,weight_rows=4,overlap=1")
CONFIGURATIONS += ("large,weight_rows=4,overlap=1,window_skip=16",)
CONFIGURATIONS += (BOARDS["icebreaker"].config,)


def main() -> None:
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore", sateen.SateenWarning)
    for name in MODELS:
        graph = NETWORKS[name]() if name in NETWORKS else load(folder / "tflite" / f"{name}.tflite")
        for configuration in CONFIGURATIONS:
            model = sateen.compile(graph, configuration)
            cycles = sum(layer.predicted.cycles for layer in model.layers)
            results.add("predicted", name=name, configuration=configuration, cycles=cycles, tools=())
            print(f"{name} on {configuration}: {cycles:,} cycles", flush=True)


if __name__ == "__main__":
    main()
