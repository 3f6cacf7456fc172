"""Trains a network on scans of digits, compiles it, and writes what the design and its bench need:

``digits.sateen``, the compiled model; ``digits.vh``, where its input and output stand in the accelerator's memory and
which part of the program computes it; ``images.npz``, images to classify, as integers, and their labels.

    python model.py [PRESET[,field=value…]]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier

import sateen
from sateen.digits import load_data
from sateen.graph.network import Flatten, FullyConnected, Network, Relu


def network(images, labels):
    """64 pixels → 16 → 10."""
    trained = MLPClassifier((16,), solver="lbfgs", random_state=0, max_iter=1000)
    trained.fit(images.reshape(len(images), -1), labels)
    (first, second), (bias, last) = trained.coefs_, trained.intercepts_
    return Network(
        name="digits",
        input_shape=(8, 8, 1),
        layers=[
            Flatten(name="pixels"),
            FullyConnected(name="hidden", weights=first.T.astype(np.float32), bias=bias.astype(np.float32)),
            Relu(name="relu"),
            FullyConnected(name="digits", weights=second.T.astype(np.float32), bias=last.astype(np.float32)),
        ],
    )


def main(config="tiny"):
    train, train_labels, test, test_labels = load_data()
    model = sateen.compile(network(train, train_labels), config, calibration=train[:200])
    model.save(Path("digits.sateen"))
    pixels = model.graph.tensors[model.graph.inputs[0]]
    np.savez("images.npz", images=pixels.quantize(test), labels=test_labels)

    # One piece of program, from the input that stands in the memory to the output there.
    (step,) = [step for step in model.steps if not step.host]
    parts = [part for layer in model.layers for part in layer.parts]
    facts = {
        "IMAGE_ADDRESS": model.addresses[step.writes[0]],
        "SCORES_ADDRESS": model.addresses[step.reads[0]],
        "FIRST": parts[0].first,
        "COUNT": sum(part.count for part in parts),
    }
    assert model.resident and len(step.writes) == len(step.reads) == 1
    Path("digits.vh").write_text("".join(f"localparam {name} = {value};\n" for name, value in facts.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
