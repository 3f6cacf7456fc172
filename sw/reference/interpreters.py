"""Interpreters of model files: every tensor of the graph by its name, in the layout and type of the file."""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sateen.errors import SateenError
from sateen.extras import install_hint
from sateen.files import read_source
from sateen.graph import Array, Graph, LayerNorm, Tensor

__all__ = ["Interpreter", "exact_session", "interpreter", "normalizes"]

EXACT_SUMS = "session.x64quantprecision"
"""onnxruntime's option for slower kernels that do not saturate."""
WEIGHTS = {
    "ConvInteger": 1, "DynamicQuantizeMatMul": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1, "QAttention": 1,
    "QGemm": 3, "QLinearConv": 3, "QLinearMatMul": 3,
}  # fmt: skip
"""onnxruntime's kernels that sum products of codes: which input has the weights."""

ARENA_BYTES = 64 << 20
"""tflite-micro's memory; where tensors are kept, each has its own."""
NORMALIZES = (1, 32)
"""onnxruntime's first version with the layer normalization of the golden model."""
CONVERTED = "qdq_s8_to_u8_quant"
"""How onnxruntime's names of int8 tensors begin that it makes uint8."""
TENSOR = re.compile(r"t(\d+)")
"""A tensor of a TensorFlow Lite file in its graph: its index."""


class Interpreter(Protocol):
    """One interpreter with a model."""

    name: str
    note: str
    """What there is to say of its last results."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All tensors for one batch of the size of the model's own. Variables keep what they have from run to run; of a
        graph's states, what replaces them is returned."""

    def reset(self) -> None:
        """Gives variables the values that they begin with."""


def interpreter(path: Path, graph: Graph) -> Interpreter:
    """The interpreter that a model's file is compared with: tflite-micro, LiteRT where that lacks an operator, or
    onnxruntime.

    Raises
    ------
    SateenError
        If its package is missing, or it refuses the model.
    """
    if path.suffix == ".onnx":
        return _OnnxRuntime(path, graph)
    data, _ = read_source(path)
    refused = []
    for kind in (_Micro, _LiteRt):
        try:
            made = kind(data, graph)
            # Some kernels refuse a type only when they run.
            made.run({name: _zeros(graph.tensors[name]) for name in graph.inputs})
            made.reset()
            return made
        except (RuntimeError, ValueError) as error:
            refused.append(f"{kind.name}: {error}")
    raise SateenError(f"{path}: no interpreter takes this model ({'; '.join(refused)})")


def _zeros(tensor: Tensor) -> Array:
    return np.zeros(tensor.file_shape, "uint8" if tensor.unsigned else tensor.dtype)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SateenError(
            f"comparing with the interpreter needs {name.split('.')[0]} ({error}); {install_hint('reference', 'onnx')}"
        ) from error


def _indices(graph: Graph) -> dict[str, int]:
    """The tensors of the file that the graph has, by name: their indices. Behind a run a variable has what replaces the
    graph's state."""
    matches = {name: TENSOR.fullmatch(name) for name in graph.tensors}
    return {graph.states.get(name, name): int(match[1]) for name, match in matches.items() if match}


class _Micro:
    name = "tflite-micro"
    note = ""

    def __init__(self, data: bytes, graph: Graph):
        runtime = _package("tflite_micro.python.tflite_micro.runtime")
        if _has_svdf_without_bias(data):
            # It reads the bias all the same, and the process ends.
            raise ValueError("it ends at an SVDF without a bias")
        kept = runtime.InterpreterConfig.kPreserveAllTensors
        self.interpreter = runtime.Interpreter.from_bytes(data, arena_size=ARENA_BYTES, intrepreter_config=kept)
        self.graph, self.indices = graph, _indices(graph)
        self.shapes = [self.interpreter.get_input_details(index)["shape"] for index in range(len(graph.inputs))]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for index, (name, shape) in enumerate(zip(self.graph.inputs, self.shapes, strict=True)):
            self.interpreter.set_input(np.ascontiguousarray(inputs[name].reshape(shape)), index)
        self.interpreter.invoke()
        return {name: self.interpreter.GetTensor(index, 0)["tensor_data"] for name, index in self.indices.items()}

    def reset(self) -> None:
        self.interpreter.reset()


def _has_svdf_without_bias(data: bytes) -> bool:
    tflite = _package("tflite")
    model = tflite.Model.GetRootAs(data)
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for operator in map(graph.Operators, range(graph.OperatorsLength())):
            code = model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
            if code == tflite.BuiltinOperator.SVDF and (operator.InputsLength() < 4 or operator.Inputs(3) < 0):
                return True
    return False


class _LiteRt:
    name = "LiteRT with reference kernels"
    note = ""

    def __init__(self, data: bytes, graph: Graph):
        module = _package("ai_edge_litert.interpreter")
        self.interpreter = module.Interpreter(
            model_content=data,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        self.interpreter.allocate_tensors()
        self.graph, self.indices = graph, _indices(graph)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for name, detail in zip(self.graph.inputs, self.interpreter.get_input_details(), strict=True):
            self.interpreter.set_tensor(detail["index"], inputs[name].reshape(detail["shape"]))
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self.indices.items()}

    def reset(self) -> None:
        self.interpreter.reset_all_variables()


class _OnnxRuntime:
    """With its optimizations, as users run it. Integer tensors are read from the file that it makes of the model before
    it changes layouts: further outputs of the model itself would change what is computed with codes and what with real
    numbers."""

    name = "onnxruntime"

    def __init__(self, path: Path, graph: Graph):
        onnx, self.runtime = _package("onnx"), _package("onnxruntime")
        self.graph, self.note = graph, ""
        try:
            model = onnx.load(path)
        except Exception as error:
            raise SateenError(f"{path}: onnx cannot read it ({error})") from error
        unnamed = [node for node in model.graph.node if not node.name]
        for place, node in enumerate(unnamed):
            node.name = f"{node.op_type} of {place}"
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "optimized.onnx"
            source = model.SerializeToString() if unnamed else str(path)
            self._session(path, source, "ORT_ENABLE_EXTENDED", file)
            optimized = onnx.load(file)
        self.plain = self._session(path, source, "ORT_ENABLE_ALL")
        real = _real_layers(optimized)
        if real:
            self.note = (
                f"onnxruntime computes {len(real)} of its layers with weights in real numbers, first {real[0]!r}: "
                "results next to a tie of rounding follow the order of its sums, and may differ by one"
            )
        version = self.runtime.__version__
        if not normalizes(self.runtime) and any(isinstance(op, LayerNorm) for op in graph.ops):
            self.note = (
                f"onnxruntime {version} normalizes layers otherwise than {'.'.join(map(str, NORMALIZES))}, "
                "whose results the golden model has: they may differ by one; install that version"
            )
        codes = {name for name, tensor in graph.tensors.items() if tensor.dtype != "float32"}
        self.inner = _inner_tensors(model, optimized, codes)
        session = self._with(path, optimized, self.inner)
        integers = [output.name for output in session.get_outputs() if output.type != "tensor(float)"]
        self.inner = {name: self.inner[name] for name in integers if name in self.inner}
        self.every = self._with(path, optimized, self.inner)

    def _with(self, path: Path, model: Any, names: Iterable[str]) -> Any:
        """A session of an optimized file in which these tensors are outputs, too."""
        more = type(model)()
        more.CopyFrom(model)
        outputs = {output.name for output in model.graph.output}
        more.graph.output.extend(type(model.graph.output[0])(name=name) for name in names if name not in outputs)
        return self._session(path, more.SerializeToString(), "ORT_DISABLE_ALL")

    def _session(self, path: Path, source: str | bytes, level: str, optimized: Path | None = None) -> Any:
        options = self.runtime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(self.runtime.GraphOptimizationLevel, level)
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        try:
            return exact_session(self.runtime.InferenceSession, source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise SateenError(f"{path}: onnxruntime refuses the model ({error})") from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        given = {}
        for argument in self.plain.get_inputs():
            shape = argument.shape
            fixed = shape and all(isinstance(size, int) for size in shape)
            values = inputs[argument.name]
            given[argument.name] = values.reshape(shape) if fixed else values
        results = self._results(self.every, given)
        outputs = self._results(self.plain, given)
        changed = [
            name for name, values in outputs.items() if not np.array_equal(values, results[name], equal_nan=True)
        ]
        if changed:
            self.note = f"onnxruntime gives another {changed[0]!r} when its integer tensors are read, too"
        return {self.inner[name]: self._stored(name, results[name]) for name in self.inner} | outputs

    def reset(self) -> None:
        """ONNX files have no variables."""

    def _stored(self, name: str, values: Array) -> Array:
        """Integers in the type of the file: inside, onnxruntime makes uint8 of int8."""
        tensor = self.graph.tensors[self.inner[name]]
        converted = values.dtype == np.uint8 and tensor.dtype == "int8" and not tensor.unsigned
        return (values.astype(np.int16) - 128).astype(np.int8) if converted else values

    @staticmethod
    def _results(session: Any, given: Mapping[str, Array]) -> dict[str, Array]:
        names = [output.name for output in session.get_outputs()]
        try:
            return dict(zip(names, session.run(names, given), strict=True))
        except Exception as error:
            raise SateenError(f"onnxruntime cannot run the model ({error})") from error


def normalizes(runtime: Any) -> bool:
    """Whether this version of onnxruntime has the layer normalization of the golden model, on processors with AVX2."""
    return tuple(map(int, runtime.__version__.split(".")[:2])) >= NORMALIZES


def exact_session(make: Any, source: str | bytes, options: Any, **others: Any) -> Any:
    """A session of onnxruntime, by what makes one, whose sums of products of uint8 and int8 are exact. x86 processors
    without VNNI saturate them by default. The exact kernels are asked for only where a layer has int8 weights, since
    onnxruntime then chooses others for its sums of tensors, too. Of some kinds of codes it has no exact kernel, and the
    default is taken."""
    if _has_signed_weights(make, source, options, others):
        options.add_session_config_entry(EXACT_SUMS, "1")
        try:
            return make(source, options, **others)
        except Exception:
            options.add_session_config_entry(EXACT_SUMS, "0")
    return make(source, options, **others)


def _has_signed_weights(make: Any, source: str | bytes, options: Any, others: Mapping[str, Any]) -> bool:
    """Whether a layer that onnxruntime's optimizations make computes with constant int8 weights."""
    level = options.graph_optimization_level
    writing = type(options)()
    writing.log_severity_level = 4
    # The last level writes files for this processor alone, and warns of it.
    writing.graph_optimization_level = min(level, type(level).ORT_ENABLE_EXTENDED, key=int)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimized.onnx"
        writing.optimized_model_filepath = str(file)
        make(source, writing, **others)
        model = _package("onnx").load(file, load_external_data=False)
    signed = {each.name for each in model.graph.initializer if each.data_type == each.INT8}
    return any(
        node.input[WEIGHTS[node.op_type]] in signed
        for node in model.graph.node
        if node.op_type in WEIGHTS and len(node.input) > WEIGHTS[node.op_type]
    )


def _real_layers(model: Any) -> list[str]:
    """Layers with weights that onnxruntime's optimizations have left between dequantized tensors."""
    real = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    kinds = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul")
    return [node.name for node in model.graph.node if node.op_type in kinds and real & set(node.input)]


def _inner_tensors(model: Any, optimized: Any, codes: Set[str]) -> dict[str, str]:
    """The tensors of an optimized file that are quantized tensors of the model, and their names there. Tensors keep
    their names, except those that become uint8, whose operators keep theirs."""
    nodes = {node.name: node for node in model.graph.node if node.name}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def quantized(node: Any) -> str:
        """The codes of an operator's result."""
        while node is not None and node.op_type != "QuantizeLinear":
            behind = readers.get(node.output[0], [])
            node = behind[0] if len(behind) == 1 and behind[0].op_type in ("Clip", "QuantizeLinear", "Relu") else None
        return node.output[0] if node is not None else ""

    known = {name for node in model.graph.node for name in node.output}
    found: dict[str, str] = {}
    for node in optimized.graph.node:
        found |= {name: name for name in node.output if name in codes & known}
        if node.output[0].startswith(CONVERTED) and quantized(nodes.get(node.name)) in codes:
            found[node.output[0]] = quantized(nodes[node.name])
    return found
