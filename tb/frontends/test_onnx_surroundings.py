"""What decides whether onnxruntime has a kernel of codes for an operator, beside the operators around it: numbers of
pairs that differ, numbers that are lists of one, and constants that several operators share. Corners, then at random.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from test_onnx_kernels import KINDS, File, check, found, helper, onnx, operator

import seeds
from sateen.frontends import onnx as frontend
from sateen.frontends.onnx.file import read
from sateen.frontends.onnx.kernels import optimized
from sateen.graph import Graph

POINTS = {"int8": 5, "uint8": 133}
COUNT = 120
"""Networks at random."""
OPERATORS = ("Add", "AveragePool", "Clip", "Conv", "GlobalAveragePool", "Identity", "MatMul", "MaxPool", "Mul", "Relu",
             "Reshape", "Softmax", "Transpose", "pair", "pair")  # fmt: skip
COMPUTING = ("Add", "AveragePool", "Conv", "GlobalAveragePool", "MatMul", "Mul", "Softmax")
FIELDS = {
    "AveragePool": {"kernel_shape": [1, 1]}, "MaxPool": {"kernel_shape": [1, 1]}, "Reshape": {"shape": [1, 4, 4, 4]},
    "Transpose": {"perm": [0, 3, 1, 2]},
}  # fmt: skip


def numbers(
    file: File, kind: str, scale: float = 0.1, point: int | None = None, lists: tuple[bool, ...] = (False, False)
) -> list[str]:
    """A scale and a zero point, each a number or a list of one."""
    point = POINTS[kind] if point is None else point
    values = np.float32(scale), np.array(point).astype(kind)
    return [file.constant(value.reshape(1) if listed else value) for value, listed in zip(values, lists, strict=True)]


def real_input(file: File) -> str:
    name = f"x{len(file.inputs)}"
    file.inputs.append(helper.make_tensor_value_info(name, 1, [1, 4, 4, 4]))
    return name


def pair(file: File, x: str, made: list[str], given: list[str]) -> str:
    return file.node("DequantizeLinear", file.node("QuantizeLinear", x, *made), *given)


def layer(file: File, kind: str, x: str, lists: tuple[bool, ...] = (False, False)) -> str:
    """An operator on one tensor; layers have weights whose numbers may be lists."""
    if kind not in ("Conv", "MatMul"):
        return operator(file, kind, [x, x])
    weights = file.constant(np.ones((4, 4, 3, 3) if kind == "Conv" else (4, 4), np.int8))
    return file.node(kind, x, file.node("DequantizeLinear", weights, *numbers(file, "int8", 0.02, 0, lists)))


def check_by_name(file: File, tmp_path: Path) -> None:
    """Compares kernels, of operators that have become one only that of the one that is left."""
    data = file.build()
    model = read(data)
    expected, names = found(data, tmp_path), {node.outputs[0]: node.name for node in model.nodes}
    actual = {names[output]: kernel for output, kernel in optimized(model).kernels.items()}
    kept = actual.keys() & expected.keys()
    assert {name: actual[name] for name in kept} == {name: expected[name] for name in kept}


def loaded(data: bytes) -> Graph:
    """The graph of a file, whose warnings stand in its notes."""
    with warnings.catch_warnings(action="ignore"):
        return frontend.load(data)


@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("kind", ["Add", "AveragePool", "Conv", "MatMul", "Softmax"])
def test_pairs_of_two_numbers(kind, code, tmp_path):
    """Codes become uint8 whatever the scale with which they are read, but not with another zero point."""
    changes = [(1.0, 0), (1.01, 0), (1.0, 2), (1.01, 2)]
    for before, behind in itertools.product(changes, repeat=2):
        file = File()
        x = real_input(file)
        for last, (factor, step) in enumerate((before, behind)):
            read_with = numbers(file, code, 0.1 * factor, POINTS[code] + step)
            x = pair(file, layer(file, kind, x) if last else x, numbers(file, code), read_with)
        file.output(x)
        check(file, tmp_path)


@pytest.mark.parametrize("clamp", ["", "Relu", "Clip"])
@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("kind", ["Add", "Conv", "Softmax"])
def test_lists_of_one(kind, code, clamp, tmp_path):
    """Operators of two operands have no kernel with them, and limits before them count as limits."""
    for lists in itertools.product((False, True), repeat=6):
        if kind == "Softmax" and any(lists[2:4]):
            continue
        file = File()
        given = numbers(file, code, lists=lists[:2])
        x = pair(file, real_input(file), given, given)
        if kind == "Add":
            given = numbers(file, code, 0.12, lists=lists[2:4])
            y = file.node("Add", x, pair(file, real_input(file), given, given))
        else:
            y = layer(file, kind, x, lists[2:4])
        limits = [file.constant(np.float32(limit)) for limit in (-90, 90)] if clamp == "Clip" else []
        y = file.node(clamp, y, *limits) if clamp else y
        given = numbers(file, code, point=-128 + 128 * (code == "uint8"), lists=lists[4:])
        file.output(pair(file, y, given, given))
        check(file, tmp_path)


@pytest.mark.parametrize("code", KINDS)
@pytest.mark.parametrize("mover", ["MaxPool", "Reshape", "Transpose"])
def test_a_quantizer_among_the_readers(mover, code, tmp_path):
    """Pairs are put behind operators that move values unless these are quantized there already."""
    for scale, quantizers, others in itertools.product((0.1, 0.05), range(2), range(1, 3)):
        file = File()
        given = numbers(file, code)
        moved = file.node(mover, pair(file, real_input(file), given, given), **FIELDS[mover])
        for _ in range(quantizers):
            again = numbers(file, code, scale)
            file.output(file.node("Neg", pair(file, moved, again, again)))
        for kind in ("AveragePool", "Softmax")[:others]:
            file.output(file.node("Neg", pair(file, operator(file, kind, [moved]), given, given)))
        check(file, tmp_path)


@pytest.mark.parametrize("shared", [*itertools.product((False, True), repeat=2)])
def test_equal_operators_of_equal_constants(shared, tmp_path):
    """Scales are compared by their values, zero points are not: then a Softmax has two readers."""
    file = File()
    first = numbers(file, "uint8")
    moved = file.node("Transpose", pair(file, real_input(file), first, first), **FIELDS["Transpose"])
    for _ in range(2):
        own = numbers(file, "uint8")
        given = [first[place] if kept else own[place] for place, kept in enumerate(shared)]
        file.output(file.node("Neg", pair(file, file.node("Softmax", moved), given, given)))
    data = file.build()
    kernels = {*optimized(read(data)).kernels.values()}
    check_by_name(file, tmp_path)
    assert {kernel.name for kernel in kernels} == {"UINT8" if shared[1] else "REAL"}


UNCHANGED = {
    "Add": [0.0], "Add of a list": [[0.0]], "Sub": [0.0], "Mul": [1.0], "Div": [1.0], "Expand": np.array([1, 4, 4, 4]),
    "Expand by ones": np.array([1, 1]), "Add of many": np.zeros((1, 4, 1, 1)).tolist(), "Mul by 2": [2.0],
    "Pow": [1.0], "Tile": np.ones(4, np.int64), "Expand of rows": np.array([1, 4, 4, 8]),
}  # fmt: skip
"""Operators with their constant; the first ones change nothing and are removed, so that pairs meet."""


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("case", UNCHANGED)
def test_operators_that_change_nothing(case, first, tmp_path):
    """Two different pairs around them become one, and that is told."""
    unchanged(case, first, tmp_path)


@pytest.mark.parametrize(
    ("case", "computed"),
    [("Mul", ("Mul", 1, 1)), ("Mul", ("Div", 3, 3)), ("Add", ("Sub", 2.5, 2.5)), ("Mul by 2", ("Add", 1, 1)),
     ("Div", ("Sqrt", 1)), ("Sub", ("Identity", 0)), ("Mul", ("Pow", 1, 5))],
)  # fmt: skip
def test_numbers_that_are_computed_when_the_file_is_read(case, computed, tmp_path):
    unchanged(case, False, tmp_path, computed)


def unchanged(case, first, tmp_path, computed=None):
    """Checks one of them."""
    kind, value = case.split()[0], UNCHANGED[case]
    if first and kind not in ("Add", "Mul"):
        return
    file = File()
    given, other = numbers(file, "int8"), numbers(file, "int8", 0.13)
    x = pair(file, real_input(file), given, given)
    x = file.node("ReduceMax", x, axes=[3]) if "rows" in case else x
    value = np.float32(value[0] if kind in ("Add", "Sub", "Mul", "Div", "Pow") and len(value) == 1 else value)
    constant = file.constant(value if kind not in ("Expand", "Tile") else UNCHANGED[case])
    if computed is not None:
        constant = file.node(computed[0], *(file.constant(np.float32(each)) for each in computed[1:]))
    x = file.node(kind, *([constant, x] if first else [x, constant]))
    file.output(pair(file, x, other, other))
    data = file.build()
    found(data, tmp_path)
    constants = {tensor.name for tensor in onnx.load(tmp_path / "optimized.onnx").graph.initializer}
    changed = any(name.startswith("DoubleQDQRemoved") for name in constants)
    told = any("with other scales than the file's" in note for note in loaded(data).notes)
    assert told == changed == (case in (*UNCHANGED,)[:7])


@pytest.mark.parametrize("case", [*UNCHANGED][:7])
@pytest.mark.parametrize("kind", ["AveragePool", "Softmax", "Conv"])
def test_layers_before_operators_that_change_nothing(kind, case, tmp_path):
    """They have their kernels of codes, and are made in codes here, too; real weights are rounded."""
    for real in (False, True) if kind == "Conv" else (False,):
        file = File()
        given = numbers(file, "uint8")
        x = pair(file, real_input(file), given, given)
        y = file.node("Conv", x, file.constant(np.ones((4, 4, 1, 1), np.float32))) if real else layer(file, kind, x)
        value = UNCHANGED[case] if case.startswith("Expand") else np.float32(UNCHANGED[case][0])
        value = np.array([1]) if case == "Expand" else value
        y = file.node(case.split()[0], y, file.constant(value))
        file.output(pair(file, y, given, given))
        graph = loaded(file.build())
        if real:
            assert any("rounds the real weights of" in note for note in graph.notes)
        else:
            if not case.startswith("Expand"):  # Whether that changes something, the import finds.
                check(file, tmp_path)
            assert not any(type(op).__name__.startswith("Real") for op in graph.ops)


PADS = {"none": [0] * 8, "all": [0, 0, 1, 2, 0, 0, 1, 1], "before": [0, 0, 1, 1, 0, 0, 0, 0]}
STATED = [{}, {"count_include_pad": 1}, {"pads": [1, 1, 1, 1]}, {"pads": [1, 1, 1, 1], "count_include_pad": 1}]


@pytest.mark.parametrize("between", [(), ("Identity",), ("Relu",), None])
@pytest.mark.parametrize("pads", PADS)
def test_pads_before_means(pads, between, tmp_path):
    """onnxruntime makes one operator of both, with a kernel of codes, where padding counts."""
    for stated, ceiled in itertools.product(STATED, (0, 1)):
        file = File()
        given = numbers(file, "int8")
        x = pair(file, real_input(file), given, given)
        x = file.node("Pad", x, file.constant(np.array(PADS[pads])), file.constant(np.float32(0)))
        for kind in between or ():
            x = file.node(kind, x)
        x = pair(file, x, given, given) if between is None else x
        x = file.node("AveragePool", x, kernel_shape=[2, 2], strides=[3, 3], ceil_mode=ceiled, **stated)
        file.output(pair(file, x, given, given))
        check(file, tmp_path)


@pytest.mark.parametrize("value", [None, 0.0, -0.0, 1.0])
@pytest.mark.parametrize("pads", [*PADS.values(), [0, 0, -1, 0, 0, 0, 1, 0], [0, 0, 5, 0, 0, 0, 0, 0]])
def test_pads_before_convolutions(pads, value, tmp_path):
    """Those of zeros become the convolution's, unless they cut off."""
    for stated in ({}, {"pads": [1, 1, 1, 1]}, {"auto_pad": "VALID"}):
        file = File()
        given = numbers(file, "uint8")
        x = pair(file, real_input(file), given, given)
        values = [] if value is None else [file.constant(np.float32(value))]
        x = file.node("Pad", x, file.constant(np.array(pads)), *values)
        weights = file.node("DequantizeLinear", file.constant(np.ones((4, 4, 2, 2), np.uint8)), *given)
        file.output(pair(file, file.node("Conv", x, weights, **stated), given, given))
        check(file, tmp_path)


class Random:
    """A network of pairs and operators between them."""

    def __init__(self, seed: int):
        self.rng = rng = np.random.default_rng(seed)
        self.file = File(int(rng.choice([10, 11, 12, 13, 17, 18, 19, 21, 22, 23, 24])))
        self.code, self.scale = str(rng.choice(["int8", "uint8", ""])), float(rng.choice([0.1, 0.0625, 0.05]))
        self.share, self.known, self.constant = float(rng.choice([0, 0.5, 1])), {}, self.file.constant
        self.file.constant = self.shared  # type: ignore[method-assign]
        self.made = [self.pair(real_input(self.file)) for _ in range(2)]
        for _ in range(int(rng.integers(1, 5))):
            y = self.operator(str(rng.choice(OPERATORS)), self.any())
            if self.happens(0.15):
                self.again()
            self.made.append(y)
        y = self.made[-1]
        if self.happens(0.3):
            kind = self.kind()
            self.file.output(self.file.node("QuantizeLinear", y, *self.numbers(kind)[0]), KINDS[kind])
        else:
            self.file.output(self.pair(y))
        self.prune()
        self.replace()

    def happens(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def any(self) -> str:
        return self.made[int(self.rng.integers(len(self.made)))]

    def kind(self) -> str:
        return self.code or str(self.rng.choice(["int8", "uint8"]))

    def shared(self, value) -> str:
        """The name of a constant, perhaps of one that there is."""
        value = np.asarray(value)
        key = value.dtype.name, value.shape, value.tobytes()
        if key not in self.known or not self.happens(self.share):
            self.known[key] = self.constant(value)
        return self.known[key]

    def lists(self) -> tuple[bool, bool]:
        return self.happens(0.1), self.happens(0.1)

    def numbers(self, kind: str) -> tuple[list[str], list[str]]:
        """Those of a QuantizeLinear, and of the DequantizeLinear behind it: mostly the same."""
        scale = self.scale * float(self.rng.choice([1, 1, 1.5]))
        point = int(self.rng.choice([0, 3, -128, 127, -5])) + 128 * (kind == "uint8")
        stated = point != 0 or kind == "int8" or self.happens(0.7)
        made = numbers(self.file, kind, scale, point, self.lists())[: 1 + stated]
        if self.happens(0.7):
            return made, made
        factor, step = 1.01 if self.happens(0.3) else 1.0, int(point < 100 and self.happens(0.2))
        read_with = numbers(self.file, kind, scale * factor, point + step, self.lists())
        return made, read_with[: 1 + (stated or self.happens(0.3))]

    def pair(self, x: str) -> str:
        made, given = self.numbers(self.kind())
        codes = self.file.node("QuantizeLinear", x, *made)
        y = self.file.node("DequantizeLinear", codes, *given)
        if self.happens(0.1):
            self.file.output(self.file.node("Abs", self.file.node("DequantizeLinear", codes, *given)))
        if self.happens(0.05):
            self.file.output(self.file.node("Neg", y))
        return y

    def weights(self, *shape: int) -> str:
        kind = self.kind()
        codes = self.file.constant(np.ones(shape, kind))
        return self.file.node("DequantizeLinear", codes, *numbers(self.file, kind, 0.02, 0, self.lists()))

    def operator(self, kind: str, x: str) -> str:
        file = self.file
        if kind == "pair":
            return self.pair(x)
        inputs = [x]
        if kind in ("Add", "Mul"):
            inputs.append(self.any() if self.happens(0.6) else self.weights(1, 4, 4, 4))
        elif kind in ("Conv", "MatMul"):
            inputs.append(self.weights(4, 4, 1, 1) if kind == "Conv" else self.weights(4, 4))
            if kind == "Conv" and self.happens(0.4):
                units = [file.constant(np.float32(self.rng.choice([0.002, 0.004]))), file.constant(np.int32(0))]
                inputs.append(file.node("DequantizeLinear", file.constant(np.ones(4, np.int32)), *units))
        elif kind == "Clip" and file.opset > 10:
            ends = [(-1, 1), (0, 6), (-90, 90), (0, None), (None, 3)][int(self.rng.integers(5))]
            inputs += ["" if end is None else file.constant(np.float32(end)) for end in ends]
            inputs = inputs if inputs[-1] else inputs[:-1]
        y = file.node(kind, *inputs, **FIELDS.get(kind, {}))
        if kind == "GlobalAveragePool":
            y = file.node("Mul", self.pair(y) if self.happens(0.5) else y, x)
        return self.pair(y) if self.happens(0.8) else y

    def again(self) -> None:
        """The last operator once more."""
        node = self.file.nodes[-1]
        fields = {field.name: helper.get_attribute_value(field) for field in node.attribute}
        self.file.output(self.file.node("Neg", self.pair(self.file.node(node.op_type, *node.input, **fields))))

    def prune(self) -> None:
        """Drops what nobody reads: onnxruntime keeps some of it."""
        live, kept = {output.name for output in self.file.outputs}, []
        for node in reversed(self.file.nodes):
            if live & {*node.output}:
                kept.append(node)
                live |= {*node.input}
        self.file.nodes = kept[::-1]
        self.file.inputs = [each for each in self.file.inputs if each.name in live]


    def replace(self) -> None:
        """Makes some constants, or all, inputs that callers may replace."""
        share = float(self.rng.choice([0, 0, 0, 0.1, 0.3, 1]))
        for name in {name: None for node in self.file.nodes for name in node.input if name in self.file.constants}:
            if self.happens(share):
                value = self.file.constants[name]
                kind = helper.np_dtype_to_tensor_dtype(value.dtype)
                self.file.inputs.append(helper.make_tensor_value_info(name, kind, value.shape))


def check_random(seed: int, folder: Path) -> str:
    """Compares the network of a seed."""
    file = Random(seed).file
    again = f"repeat with SATEEN_SEED={seed} python -m pytest tb/frontends/test_onnx_surroundings.py"
    if not any(node.op_type in COMPUTING for node in file.nodes):
        return "nothing to compute"
    try:
        check_by_name(file, folder)
    except AssertionError as error:
        raise AssertionError(f"network {seed}: {error}; {again}") from error
    except Exception as error:
        # It makes operators of lists that their definitions forbid, and refuses them.
        if "TypeInferenceError" in str(error):
            return "refused by onnxruntime"
        raise AssertionError(f"network {seed}: {type(error).__name__}: {error}; {again}") from error
    return "equal"


def test_random_surroundings(tmp_path):
    one = os.environ.get(seeds.VARIABLE)
    outcomes = [check_random(seed, tmp_path) for seed in ([int(one)] if one else range(COUNT))]
    assert one or outcomes.count("equal") > COUNT // 2


def soak(seed: int) -> str:
    """Compares the network of a seed; what it came to, in a word."""
    with tempfile.TemporaryDirectory() as folder:
        return check_random(seed, Path(folder))
