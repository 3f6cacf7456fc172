"""Random TensorFlow Lite models in which one thing is changed: refused in one line, or the integers of an interpreter.

A change may contradict the rest of the file, as a shape that does not follow from an operator does. The interpreters
then disagree, since tflite-micro believes the file and LiteRT computes shapes anew: one of the two has to agree.
"""

from __future__ import annotations

import numpy as np
import pytest

import seeds
from interpreters import every_output, portable
from sateen.frontends import tflite
from sateen.frontends.tflite.file import RawModel, RawOperator, read
from sateen.graph import GraphError, run
from tflite_networks import changed_network

BASE = (seeds.BASE - 1) * 100_000
"""The first network's seed."""


def micro(data: bytes, given: list[np.ndarray]) -> list[np.ndarray]:
    """tflite-micro's outputs."""
    made = portable(data)
    for place, value in enumerate(given):
        made.set_input(value, place)
    made.invoke()
    return [made.get_output(place).copy() for place in range(len(read(data).outputs))]


def _numbers(model: RawModel, operator: RawOperator) -> set[object]:
    """Scales and zero points of what an operator reads and makes."""
    tensors = [model.tensors[index] for index in (*operator.inputs, *operator.outputs)]
    return {(tensor.scales, tensor.zero_points) for tensor in tensors}


def soak(seed: int) -> str:
    """Checks the changed network of a seed; ``AssertionError`` if it is neither refused nor an interpreter's."""
    data, values, what = changed_network(np.random.default_rng(seed))
    try:
        graph = tflite.load(data)
    except GraphError as error:
        assert "\n" not in str(error), error
        return "refused"
    model = read(data)
    given = [value[0] for value in values]
    if [model.tensors[index].shape for index in model.inputs] != [value.shape for value in given]:
        return "another input"
    shaped = {n: v.reshape(graph.tensors[n].shape) for n, v in zip(graph.inputs, given, strict=True)}
    results = run(graph, shaped)
    # tflite-micro's RELU6 ignores the scale of its result.
    scaled = any(len(_numbers(model, operator)) > 1 for operator in model.operators if operator.kind == "RELU6")
    interpreters = [every_output] if scaled else [micro, every_output]
    refusals = 0
    for interpreter in interpreters:
        try:
            expected = interpreter(data, given)
        except (RuntimeError, ValueError):
            refusals += 1
            continue
        if all(np.array_equal(results[n].ravel(), v.ravel()) for n, v in zip(graph.outputs, expected, strict=True)):
            return "equal"
    # LiteRT multiplies a product's scales in single precision, so it may be off by one where it is alone.
    alone = refusals == len(interpreters) - 1
    if alone and any(operator.kind == "FULLY_CONNECTED" for operator in model.operators):
        return "not compared"
    # Of sums of codes LiteRT's reference kernel adds up something else than the values.
    if scaled and any(operator.kind == "SUM" for operator in model.operators):
        return "not compared"
    assert refusals == len(interpreters), f"network {seed} differs: {what or 'nothing was changed'}"
    return "refused by the interpreters"


@pytest.mark.parametrize("first", range(0, 100, 50))
def test_changed_networks(first):
    found = [soak(seed) for seed in range(BASE + first, BASE + first + 50)]
    assert found.count("equal") > 5 and found.count("refused") > 5
