"""What narrow weights gain that share bytes: cycles of an inference, by the cycle model, and bytes of the weight store,
of a model whose weights are cut to their highest bits; entered into ``results.json``.

    python bench/narrow.py MODEL.tflite
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import results
import sateen
from sateen.frontends import load

sys.path.insert(0, str(Path(__file__).parent.parent / "tb"))

from networks import narrowed

WAYS = ((8, 1, 1), (4, 1, 2), (4, 2, 2), (2, 1, 4))
"""Bits of a weight, words that are loaded at once, weights in a byte."""


def main() -> None:
    graph = load(Path(sys.argv[1]))
    warnings.simplefilter("ignore", sateen.SateenWarning)
    for bits, rows, shared in WAYS:
        fields = {"weight_bits": bits, "weight_rows": rows, "weights_per_byte": shared}
        given = [f"{name}={value}" for name, value in fields.items() if value != 1]
        configuration = ",".join(["large", *given])
        model = sateen.compile(narrowed(graph, bits), configuration)
        cycles = sum(layer.predicted.cycles for layer in model.layers)
        size = sum(segment.weights.nbytes for segment in model.segments)
        results.add(
            "narrow", name=graph.name, configuration=configuration, bits=bits, cycles=cycles, bytes=size, tools=()
        )
        print(f"{graph.name} on {configuration}: {cycles:,} cycles, {size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
