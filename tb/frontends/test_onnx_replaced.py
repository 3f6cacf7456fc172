"""Constants that are inputs, too, so that callers may replace them: onnxruntime optimizes less for it, and has other
kernels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from test_onnx_kernels import KINDS, File, check, helper
from test_onnx_surroundings import FIELDS, layer, numbers, pair, real_input

MOVERS = {
    "MaxPool": {"kernel_shape": [1, 1]}, "Reshape": {"shape": [1, 4, 16]}, "Squeeze": {"shape": [0]},
    "Transpose": {"perm": [0, 2, 3, 1]}, "Unsqueeze": {"shape": [4]},
}  # fmt: skip
"""Operators that values move through; ``shape`` is a constant input."""


def replaced(file: File, *names: str) -> None:
    """Makes constants inputs."""
    for name in names:
        value = file.constants[name]
        number = helper.np_dtype_to_tensor_dtype(value.dtype)
        file.inputs.append(helper.make_tensor_value_info(name, number, value.shape))


@pytest.mark.parametrize("which", ["all", "points", "scales"])
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("kind", ["Add", "AveragePool", "Conv", "MatMul", "Softmax", "Relu", "Clip"])
def test_constants_that_callers_may_replace(kind, code, which, tmp_path):
    """They are inputs, too, and keep some optimizations from what depends on them."""
    for doubled, moved in ((False, False), (True, False), (False, True)):
        file = File()
        given, other = numbers(file, code), numbers(file, code, 0.11, -128 + 128 * (code == "uint8"))
        x = pair(file, real_input(file), given, given)
        x = file.node("Transpose", x, **FIELDS["Transpose"]) if moved else x
        x = pair(file, x, given, given) if doubled else x
        y = layer(file, "AveragePool" if kind in ("Relu", "Clip") else kind, x)
        limits = [file.constant(np.float32(limit)) for limit in (-90, 90)] if kind == "Clip" else []
        y = file.node(kind, y, *limits) if kind in ("Relu", "Clip") else y
        file.output(pair(file, y, other, other))
        for name, value in file.constants.items():
            kinds = {"all": "fiu", "points": "iu", "scales": "f"}[which]
            if value.dtype.kind in kinds and value.dtype != np.int64 and name not in limits:
                replaced(file, name)
        check(file, tmp_path)


@pytest.mark.parametrize("which", ["scale", "point", "shape"])
@pytest.mark.parametrize("mover", MOVERS)
def test_pairs_around_what_moves_values(mover, which, tmp_path):
    """Pairs with numbers that may be replaced move across a Transpose alone."""
    for before in (False, True):
        file = File()
        given, other = numbers(file, "uint8"), numbers(file, "uint8", 0.11)
        moved = {**MOVERS[mover]}
        shape = [file.constant(np.array(moved.pop("shape"), np.int64))] if "shape" in moved else []
        x = pair(file, real_input(file), *[other if before else given] * 2)
        x = x if before else file.node(mover, x, *shape, **moved)
        x = file.node("AveragePool" if mover in ("MaxPool", "Transpose") or before else "Softmax", x,
                      **({"kernel_shape": [1, 1]} if mover in ("MaxPool", "Transpose") or before else {}))  # fmt: skip
        x = file.node(mover, x, *shape, **moved) if before else x
        file.output(pair(file, x, *[given if before else other] * 2))
        replaced(file, *{"scale": given[:1], "point": given[1:], "shape": shape}[which])
        check(file, tmp_path)


@pytest.mark.parametrize("bias", ["real", "codes"])
@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_layers_with_a_bias(kind, bias, tmp_path):
    """Only for a convolution's bias it matters which numbers are constant."""
    for place in range(9):
        file = File()
        given, weights, result = (numbers(file, "uint8", scale, 0) for scale in (0.1, 0.02, 0.15))
        values = file.constant(np.ones((4, 4, 1, 1) if kind == "Conv" else (4, 4), np.uint8))
        added = file.constant(np.ones(4, np.float32 if bias == "real" else np.int32))
        units = numbers(file, "int32", 0.002, 0) if bias == "codes" else []
        names = [*given, values, *weights, added, *units, *result]
        x = pair(file, real_input(file), given, given)
        x = x if kind == "Conv" else file.node("Reshape", x, shape=[16, 4])
        added = file.node("DequantizeLinear", added, *units) if units else added
        y = file.node(kind, x, file.node("DequantizeLinear", values, *weights), added)
        file.output(pair(file, y, result, result))
        replaced(file, *names[place : place + 1])
        check(file, tmp_path)


@pytest.mark.parametrize("which", ["scales", "points"])
@pytest.mark.parametrize("same", [False, True])
def test_a_pair_twice(same, which, tmp_path):
    """The same tensors are the same numbers, whoever replaces them."""
    for code, end in itertools.product(KINDS, (False, True)):
        file = File()
        first = numbers(file, code)
        second = first if same else numbers(file, code)
        y = pair(
            file, layer(file, "AveragePool", pair(file, real_input(file), *[numbers(file, code)] * 2)), first, first
        )
        y = file.node("QuantizeLinear", y, *second)
        file.output(file.node("DequantizeLinear", y, *second) if end else y, 1 if end else KINDS[code])
        replaced(file, *dict.fromkeys(each[which == "points"] for each in (first, second)))
        check(file, tmp_path)


def test_a_clamp_before_codes_without_a_zero_point(tmp_path):
    """A Relu changes none of these codes, if the scale is a constant."""
    for stated, replaces in itertools.product((1, 2), (False, True)):
        file = File()
        given = numbers(file, "uint8")
        y = layer(file, "AveragePool", pair(file, real_input(file), given, given))
        last = numbers(file, "uint8", 0.11, 0)[:stated]
        file.output(pair(file, file.node("Relu", y), last, last))
        replaced(file, *last[: int(replaces)])
        check(file, tmp_path)


@pytest.mark.parametrize("readers", [1, 2])
def test_a_transpose_that_others_read(readers, tmp_path):
    """Pairs with numbers that may be replaced move behind it for one of them alone."""
    file = File()
    given = numbers(file, "uint8")
    x = file.node("Transpose", pair(file, real_input(file), *[given] * 2), **MOVERS["Transpose"])
    for _ in range(readers):
        y = file.node("AveragePool", x, kernel_shape=[1, 1 + len(file.outputs)])
        file.output(pair(file, y, *[numbers(file, "uint8", 0.11)] * 2))
    replaced(file, *given[1:])
    check(file, tmp_path)
