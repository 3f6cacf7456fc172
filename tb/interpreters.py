"""TensorFlow Lite's interpreters, with which graphs are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

import needs
from sateen.frontends import tflite
from sateen.graph import run

__all__ = ["compare", "every_output", "litert", "litert_tensors", "micro", "portable"]


def portable(data: bytes) -> Any:
    """tflite-micro's interpreter, of portable kernels."""
    runtime = needs.package("tflite_micro.python.tflite_micro.runtime", extra="reference")
    return runtime.Interpreter.from_bytes(data, arena_size=4 << 20)


def micro(data: bytes, inputs: list[np.ndarray]) -> np.ndarray:
    """tflite-micro's first output."""
    interpreter = portable(data)
    for index, value in enumerate(inputs):
        interpreter.set_input(value, index)
    interpreter.invoke()
    return interpreter.get_output(0)


def litert(data: bytes, inputs: list[np.ndarray]) -> np.ndarray:
    """The first output of TensorFlow Lite's reference kernels."""
    return every_output(data, inputs)[0]


def every_output(data: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of TensorFlow Lite's reference kernels."""
    module = needs.package("ai_edge_litert.interpreter", extra="reference")
    interpreter = module.Interpreter(
        model_content=data, experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def litert_tensors(data: bytes, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor that TensorFlow Lite's reference kernels compute from one input, by its name here."""
    module = needs.package("ai_edge_litert.interpreter", extra="reference")
    kernels = module.OpResolverType.BUILTIN_REF
    interpreter = module.Interpreter(
        model_content=data, experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    names = tflite.load(data).tensors
    indices = [detail["index"] for detail in interpreter.get_tensor_details()]
    return {f"t{index}": interpreter.get_tensor(index) for index in indices if f"t{index}" in names}


def compare(data: bytes, inputs: list[np.ndarray], interpreter: Any = micro) -> None:
    """Asserts that the graph of a file gives an interpreter's results."""
    graph = tflite.load(data)
    given = {name: graph.tensors[name].from_file(value) for name, value in zip(graph.inputs, inputs, strict=True)}
    actual = graph.tensors[graph.outputs[0]].to_file(run(graph, given)[graph.outputs[0]])
    expected = interpreter(data, inputs)
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)
