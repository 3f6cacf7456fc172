"""What models take on a simulated device, with every layer compared with a reference; entered into
``results.json``.

    python bench/models.py [--jobs N | --scheduler ADDRESS] CONFIG MODEL…

A model is a file, or the name of a network of `tb/networks.py`. If `MODEL.golden.npz` lies beside a file, it is the
reference: it holds an ``input`` and what the reference interpreter computed for each tensor (``t<index>`` for
TensorFlow Lite, ``q:<name>`` for ONNX). Otherwise the golden model is the reference.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import many
import results
import sateen
from sateen.frontends import load
from sateen.graph import Graph, ResidualConv2D, run

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


def measured(task: tuple[str, str]) -> dict[str, Any]:
    """What a model takes on a configuration: the fields of its record."""
    config, name = task
    warnings.simplefilter("ignore", sateen.SateenWarning)
    path = Path(name)
    graph = NETWORKS[name]() if name in NETWORKS else load(path)
    assert isinstance(graph, Graph), f"{name} is no quantized model"
    found = None if name in NETWORKS else recorded(path)
    x, expected = found or computed(graph)
    reference = "golden model" if found is None else "onnxruntime" if path.suffix == ".onnx" else "tflite-micro"
    with sateen.open(f"sim:{config}") as device:
        loaded = device.load(sateen.compile(graph, config))
        _, layers = loaded.run(x, layers=True)
        # Again without stopping after each layer: the counters are those of this run, and so are the results.
        results = loaded.run(x)
        layers |= results if isinstance(results, dict) else {graph.outputs[0]: results}
    # Results of convolutions to which a tensor is added on their way out do not exist.
    joined = {op.between.name for op in loaded.model.graph.ops if isinstance(op, ResidualConv2D)}
    expected = {key: value for key, value in expected.items() if key not in joined}
    equal = [key for key, value in expected.items() if np.array_equal(layers[key].reshape(value.shape), value)]
    profile, model = loaded.profile, loaded.model
    assert profile is not None
    notes = [f"{len(model.fallbacks)} on the host"] if model.fallbacks else []
    notes += [] if model.resident else ["streamed"]
    notes += [f"{model.tiled} in pieces"] if model.tiled else []
    return {
        "name": path.stem, "configuration": config, "layers": len(profile.layers), "macs": model.macs,
        "cycles": profile.cycles, "utilization": round(profile.utilization, 4), "reference": reference,
        "equal": len(equal), "tensors": len(expected), "notes": notes,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--print-only", action="store_true", help="leave results.json as it is")
    many.options(parser)
    arguments = parser.parse_args()
    different = False
    with many.spreading(arguments) as run:
        for found in run(measured, [(arguments.config, name) for name in arguments.models]):
            different |= found["equal"] < found["tensors"]
            if not arguments.print_only:
                results.add("model", **found, tools=results.SIMULATION)
            print(
                f"{found['name']}: {found['cycles']:,} cycles, {found['equal']} of {found['tensors']} tensors equal",
                flush=True,
            )
    sys.exit(different)


if __name__ == "__main__":
    main()
