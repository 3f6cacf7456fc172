"""Small graphs around one operator, and which kernels onnxruntime computes them with."""

from __future__ import annotations

import numpy as np

import needs
from sateen.frontends.onnx.file import read
from sateen.frontends.onnx.kernels import optimized
from sateen.frontends.onnx.replacement import Kernel

onnx = needs.package("onnx", extra="onnx")
runtime = needs.package("onnxruntime", extra="reference")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

KINDS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}
CODED = ("MatMulIntegerToFloat", "QGemm", "QLinearConv", "QLinearMatMul")
"""Kernels of layers."""


class File:
    """A file of one operator between pairs, and what stands around it."""

    def __init__(self, opset: int = 17):
        self.nodes, self.constants, self.opset = [], {}, opset
        self.inputs: list = []
        self.outputs: list = []

    def node(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        if "shape" in attributes:
            inputs = (*inputs, self.constant(np.array(attributes.pop("shape"), np.int64)))
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def numbers(self, kind: str, scale: float = 0.1) -> list[str]:
        return [self.constant(np.float32(scale)), self.constant(np.zeros((), kind) + (5 if kind == "int8" else 133))]

    def quantize(self, name: str, kind: str) -> str:
        return self.node("QuantizeLinear", name, *self.numbers(kind))

    def real(self, name: str, kind: str) -> str:
        return self.node("DequantizeLinear", name, *self.numbers(kind))

    def given(self, kind: str, *, codes: bool) -> str:
        """The codes of an input, as codes or as real numbers."""
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, KINDS[kind] if codes else 1, [1, 4, 4, 4]))
        return name if codes else self.quantize(name, kind)

    def output(self, name: str, kind: int = TensorProto.FLOAT) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, None))

    def build(self) -> bytes:
        values = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, values)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def found(data: bytes, tmp_path) -> dict[str, Kernel]:
    """What onnxruntime computes each operator with, by its name."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "optimized.onnx")
    points = {tensor.name: numpy_helper.to_array(tensor).dtype.name for tensor in model.graph.initializer}
    kinds = {}
    for node in model.graph.node:
        if node.op_type in CODED:
            kinds[node.name.removesuffix("/MatMulAddFusion")] = Kernel.CODES
            continue
        coded = node.op_type.startswith("QLinear")
        unsigned = coded and points[node.input[-1]] == "uint8"
        kinds[node.name] = (Kernel.UINT8 if unsigned else Kernel.CODES) if coded else Kernel.REAL
    return kinds


def check(file: File, tmp_path) -> None:
    data = file.build()
    model = read(data)
    expected, actual = found(data, tmp_path), optimized(model).kernels
    names = {node.outputs[0]: node.name for node in model.nodes}
    for node in onnx.load(tmp_path / "optimized.onnx").graph.node:
        # Of a MatMul that has become a Gemm of real numbers.
        expected.setdefault(node.name.removesuffix("/MatMulAddFusion"), Kernel.REAL)
    assert actual and {names[output]: kernel for output, kernel in actual.items()} == {
        names[output]: expected[names[output]] for output in actual
    }


def operator(file: File, kind: str, before: list[str]) -> str:
    if kind == "AveragePool":
        return file.node(kind, before[0], kernel_shape=[2, 2], pads=[0, 0, 1, 1])
    return file.node(kind, *before) if kind in ("Add", "Mul") else file.node(kind, before[0])
