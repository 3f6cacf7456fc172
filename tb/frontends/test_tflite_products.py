"""TensorFlow Lite's matrix products of two tensors, against the interpreters."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import seeds
from interpreters import litert, micro
from sateen.frontends import tflite
from sateen.graph import FullyConnected, GraphError, run
from tflite_models import ModelBuilder

NUMBERS = [
    ((0.05, 3), (0.07, -20), (0.9, 1)),
    ((1 / 256, -128), (0.05, 127), (0.03, -128)),
    ((0.031, 127), (0.5, -128), (2.0, 0)),
    ((2.0**-4, 0), (2.0**-6, 5), (2.0**-5, -3)),
    ((0.0372, -5), (0.0211, 0), (0.0613, 17)),
]
ADJOINT = [(False, False), (False, True), (True, False), (True, True)]
SHAPES = [
    ((1, 5, 16), (1, 16, 7)),
    ((1, 3, 4, 9), (1, 3, 9, 2)),
    ((1, 3, 4, 9), (1, 1, 9, 2)),
    ((3, 4, 9), (3, 9, 2)),
    ((4, 9), (9, 2)),
    ((1, 9), (9, 2)),
    ((1, 2, 1, 64), (1, 2, 64, 33)),
]


def product(shapes, a, b, y, *, adjoint=(False, False), type="INT8", constant=()):
    """A file of one product, and codes for its operands that are no constants."""
    m, rng = ModelBuilder(), np.random.default_rng(seeds.own())
    flipped = [(*s[:-2], s[-1], s[-2]) if flag else s for s, flag in zip(shapes, adjoint, strict=True)]
    codes = [rng.integers(-128, 128, shape).astype(np.int8) for shape in flipped]
    operands = [
        m.tensor(shape, type, scale=s, zero_point=z, **({"data": codes[place]} if place in constant else {}))
        for place, (shape, (s, z)) in enumerate(zip(flipped, (a, b), strict=True))
    ]
    shape = (np.zeros(shapes[0], np.int8) @ np.zeros(shapes[1], np.int8)).shape
    result = m.tensor(shape, type, scale=y[0], zero_point=y[1])
    fields = {"AdjX": adjoint[0], "AdjY": adjoint[1]}
    m.op("BATCH_MATMUL", operands, [result], "BatchMatMulOptions", version=2, **fields)
    given = [place for place in (0, 1) if place not in constant]
    return m.build([operands[place] for place in given], [result]), [codes[place] for place in given]


def check(data, inputs, *interpreters, equal=np.testing.assert_array_equal):
    """Asserts that the graph gives the interpreters' results; returns the graph."""
    graph = tflite.load(data)
    shapes = [graph.tensors[name].shape for name in graph.inputs]
    given = {name: value.reshape(shape) for name, value, shape in zip(graph.inputs, inputs, shapes, strict=True)}
    actual = run(graph, given)[graph.outputs[0]]
    for interpreter in interpreters:
        expected = interpreter(data, inputs)
        equal(actual.reshape(expected.shape), expected)
    return graph


@pytest.mark.parametrize(("a", "b", "y"), NUMBERS)
@pytest.mark.parametrize("shapes", SHAPES)
def test_products(shapes, a, b, y):
    for adjoint in ADJOINT:
        check(*product(shapes, a, b, y, adjoint=adjoint), micro, litert)


def test_scales_are_multiplied_in_double_precision():
    """Where the product in float32 makes ties that the exact one does not. LiteRT takes that, tflite-micro the exact
    one."""
    rng = np.random.default_rng(seeds.own())
    found = 0
    while found < 5:
        a, b = rng.uniform(0.01, 0.1, 2).astype(np.float32)
        if float(a * b) > float(a) * float(b):
            found += 1
            check(*product(((1, 16, 1), (1, 1, 16)), (float(a), 0), (float(b), 0), (float(a * b) * 2, 0)), micro)


@pytest.mark.parametrize("adjoint", ADJOINT)
@pytest.mark.parametrize("zero_point", [0, -3, 127])
def test_constant_operands(adjoint, zero_point):
    """A matrix on the right becomes weights."""
    numbers = ((0.05, 3), (0.07, zero_point), (0.9, 1))
    data, inputs = product(((1, 5, 6), (6, 4)), *numbers, adjoint=adjoint, constant=(1,))
    graph = check(data, inputs, micro, litert)
    assert isinstance(graph.ops[0], FullyConnected) != adjoint[0]
    for shapes, place in ((((1, 3, 5, 6), (1, 3, 6, 4)), 1), (((5, 6), (1, 6, 4)), 0)):
        check(*product(shapes, *numbers, adjoint=adjoint, constant=(place,)), micro, litert)


def test_real_products():
    rng = np.random.default_rng(seeds.own())
    for shapes in SHAPES:
        m = ModelBuilder()
        given = [m.tensor(shape, "FLOAT32") for shape in shapes]
        values = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        result = m.tensor((values[0] @ values[1]).shape, "FLOAT32")
        m.op("BATCH_MATMUL", given, [result], "BatchMatMulOptions")
        equal = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        check(m.build(given, [result]), values, litert, equal=equal)


def test_refusals():
    data, _ = product(((1, 5, 6), (1, 6, 4)), *[(0.1, 5)] * 3, type="UINT8")
    with pytest.raises(GraphError, match="product of codes is of INT8: quantize to int8"):
        tflite.load(data)
    data, _ = product(((2, 5, 6), (3, 2, 6, 4)), *NUMBERS[0])
    assert tflite.load(data).tensors["t0"].shape == (1, 2, 5, 6)


def test_a_batch_beside_another_axis():
    """The first axis of the second operand is as long as the batch, and is none."""
    check(*product(((2, 2, 4, 9), (2, 9, 2)), *NUMBERS[0]), micro, litert)
    check(*product(((2, 2, 4, 9), (2, 2, 9, 2)), *NUMBERS[0]), micro, litert)
