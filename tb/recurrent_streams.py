"""What tflite-micro gives of recurrent models, input by input, and models on devices in its place."""

from __future__ import annotations

import numpy as np

from interpreters import portable
from sateen.frontends import tflite

__all__ = ["check_states", "stream"]


def stream(built, steps: int, seed: int = 0):
    """The graph of a file, random inputs in its layout, and tflite-micro's results, of which each follows from all
    inputs before."""
    builder, inputs, outputs, *once = built
    data = builder.build(inputs, outputs, once=once[0] if once else None)
    graph, interpreter = tflite.load(data), portable(data)
    shape = builder.tensors[inputs[0]]["shape"]
    x = np.random.default_rng(seed).integers(-128, 128, (steps, *shape))
    x = x.astype({"INT8": np.int8, "INT16": np.int16, "FLOAT32": np.float32}[builder.tensors[inputs[0]]["type"]])
    # Corners, which last long enough to fill all states.
    x[steps // 2], x[steps // 2 + 1] = -128, 127
    expected = []
    for values in x:
        interpreter.set_input(values, 0)
        interpreter.invoke()
        expected.append(interpreter.get_output(0).reshape(-1).copy())
    tensor = graph.tensors[graph.inputs[0]]
    return graph, x.reshape(steps, *tensor.file_shape[1:]), np.stack(expected)


def check_states(model, x, expected) -> None:
    """Asserts that a model on a device keeps its states from run to run, and takes and resets them. ``x`` and
    ``expected`` are those of :func:`stream`."""
    first = model.run(x[:3]).reshape(3, -1)
    saved = model.states
    # One by one, and then again from what was saved.
    rest = np.concatenate([model.run(values).reshape(1, -1) for values in x[3:]])
    np.testing.assert_array_equal(np.concatenate([first, rest]), expected)
    model.states = saved
    np.testing.assert_array_equal(model.run(x[3:]).reshape(len(x) - 3, -1), expected[3:])
    model.reset()
    np.testing.assert_array_equal(model.run(x).reshape(len(x), -1), expected)
