"""What a head of attention takes on the device alone, layer by layer, by the counters; entered into ``results.json``.

    python bench/attention.py
"""

from __future__ import annotations

import numpy as np

import results
import sateen
from sateen.graph import Graph, LayerNorm, MatrixProduct, Softmax, Tensor
from sateen.graph import run as golden_model
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

CONFIGURATIONS = {"small,products=1,softmax=1": Rounding.DOUBLE, "small,products=1,softmax=2": Rounding.FLOAT32}
"""TensorFlow Lite's form, and ONNX's."""
LENGTH, DEPTH = 64, 32
"""Rows, and channels of each."""
SCALE = 0.05
LAYERS = {
    "scores": "Q·Kᵀ", "shares": "softmax", "mixed": "its product with V", "norm": "layer normalization",
}  # fmt: skip
NORMALIZING = "small,layer_norm=64"


def main() -> None:
    for configuration, rounding in CONFIGURATIONS.items():
        measure(configuration, head(rounding))
    measure(NORMALIZING, normalization())


def measure(configuration: str, made: Graph) -> None:
    """Runs a graph, and enters its layers' cycles."""
    rng = np.random.default_rng(1)
    x = {name: rng.integers(-128, 128, made.tensors[name].shape).astype(np.int8) for name in made.inputs}
    with sateen.open(f"sim:{configuration}") as device:
        loaded = device.load(sateen.compile(made, device.config, strict=True))
        np.testing.assert_array_equal(loaded.run(x), golden_model(made, x)["y"])
        for layer in loaded.profile.layers:
            cycles = layer.counters.cycles
            results.add(
                "attention", name=LAYERS[layer.layer.name], configuration=configuration, rows=LENGTH,
                channels=made.tensors["y"].shape[-1], cycles=cycles,
                predicted=layer.layer.predicted.cycles, tools=results.SIMULATION,
            )  # fmt: skip
            print(f"{layer.layer.name}: {cycles:,} cycles", flush=True)


def normalization() -> Graph:
    """Rows of twice as many channels, normalized."""
    tensors = [Tensor(name=name, shape=(1, LENGTH, 2 * DEPTH), scale=SCALE, zero_point=2) for name in "xy"]
    ones = np.ones(2 * DEPTH, np.float32)
    op = LayerNorm(name="norm", input="x", output="y", scale=ones, bias=ones, epsilon=1e-5)
    return Graph(name="norm", tensors={t.name: t for t in tensors}, ops=[op], inputs=["x"], outputs=["y"])


def head(rounding: int) -> Graph:
    """Q·Kᵀ, softmax, and its product with V."""
    square, flat = (1, LENGTH, LENGTH), (1, LENGTH, DEPTH)
    tensors = [Tensor(name=name, shape=flat, scale=SCALE, zero_point=2) for name in "qkvy"]
    tensors.append(Tensor(name="scores", shape=square, scale=2 * SCALE, zero_point=-5))
    tensors.append(Tensor(name="shares", shape=square, scale=1 / 256, zero_point=-128))

    def product(name: str, a: str, b: str, y: str, scale: float) -> MatrixProduct:
        multiplier, shift = golden.quantize_multiplier(float(np.float32(scale)))
        return MatrixProduct(
            name=name, a=a, b=b, output=y, bias=np.zeros(1, np.int32), multiplier=multiplier, shift=shift,
            rounding=rounding, transpose_b=name == "scores",
        )  # fmt: skip

    ops = [
        product("scores", "q", "k", "scores", SCALE / 2),
        Softmax(name="shares", input="scores", output="shares", rounding=rounding),
        product("mixed", "shares", "v", "y", 1 / 256),
    ]
    return Graph(name="head", tensors={t.name: t for t in tensors}, ops=ops, inputs=["q", "k", "v"], outputs=["y"])


if __name__ == "__main__":
    main()
