"""What models take on a simulated device, with every layer compared with a reference; entered into
``results.json``.

    python bench/models.py CONFIG MODEL…

A model is a file, or the name of a network of `tb/networks.py`. If `MODEL.golden.npz` lies beside a file, it is the
reference: it holds an ``input`` and what the reference interpreter computed for each tensor (``t<index>`` for
TensorFlow Lite, ``q:<name>`` for ONNX). Otherwise the golden model is the reference.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import results
import sateen
from sateen.frontends import load
from sateen.graph import Graph, run

sys.path.insert(0, str(Path(__file__).parent.parent / "tb"))

from networks import NETWORKS

Arrays = dict[str, NDArray]


def recorded(path: Path) -> tuple[NDArray, Arrays] | None:
    """An input and the reference interpreter's tensors for it, in the file's types."""
    beside = path.with_suffix(".golden.npz")
    if not beside.exists():
        return None
    with np.load(beside, allow_pickle=False) as data:
        keys = [key for key in data.files if key.startswith("q:") or key[0] == "t" and key[1:].isdigit()]
        return data["input"][:1], {key.removeprefix("q:"): data[key][:1] for key in keys}


def computed(graph: Graph) -> tuple[NDArray, Arrays]:
    """A random input and the golden model's tensors."""
    source, random = graph.tensors[graph.inputs[0]], np.random.default_rng(0)
    shape = (1, *source.shape[1:])
    x = (
        random.normal(size=shape).astype(np.float32)
        if source.dtype == "float32"
        else random.integers(-128, 128, shape).astype(np.int8)
    )
    return source.to_file(x), {
        name: graph.tensors[name].to_file(value) for name, value in run(graph, x, layers=True).items()
    }


def main() -> None:
    config, *names = sys.argv[1:]
    warnings.simplefilter("ignore", sateen.SateenWarning)
    different = False
    with sateen.open(f"sim:{config}") as device:
        for name in names:
            path = Path(name)
            graph = NETWORKS[name]() if name in NETWORKS else load(path)
            assert isinstance(graph, Graph), f"{name} is no quantized model"
            found = None if name in NETWORKS else recorded(path)
            x, expected = found or computed(graph)
            reference = "golden model" if found is None else "onnxruntime" if path.suffix == ".onnx" else "tflite-micro"
            loaded = device.load(sateen.compile(graph, config))
            _, layers = loaded.run(x, layers=True)
            equal = [key for key, value in expected.items() if np.array_equal(layers[key].reshape(value.shape), value)]
            different |= len(equal) < len(expected)
            # Again without stopping after each layer.
            loaded.run(x)
            profile, model = loaded.profile, loaded.model
            assert profile is not None
            notes = [f"{len(model.fallbacks)} on the host"] if model.fallbacks else []
            notes += [] if model.resident else ["streamed"]
            notes += [f"{model.tiled} in pieces"] if model.tiled else []
            results.add(
                "model", name=path.stem, configuration=config, layers=len(profile.layers), macs=model.macs,
                cycles=profile.cycles, utilization=round(profile.utilization, 4), reference=reference,
                equal=len(equal), tensors=len(expected), notes=notes, tools=results.SIMULATION,
            )  # fmt: skip
            print(f"{path.stem}: {profile.cycles:,} cycles, {len(equal)} of {len(expected)} tensors equal", flush=True)
    sys.exit(different)


if __name__ == "__main__":
    main()
