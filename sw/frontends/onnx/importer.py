"""Imports quantized ONNX models in QDQ and operator form, with onnxruntime's integers.

Tensors keep the file's names. Images are (N, H, W, C) in the graph, whatever their layout in the file. In QDQ form a
layer is made when its result is quantized; until then its result is :class:`~sateen.frontends.onnx.values.Deferred`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

import numpy as np

from sateen.frontends.onnx.builder import Builder
from sateen.frontends.onnx.file import Node, OnnxModel
from sateen.frontends.onnx.kernels import NEUTRAL, optimized
from sateen.frontends.onnx.kinds import check_quantized, check_static, remedy_of
from sateen.frontends.onnx.replacement import Kernel
from sateen.frontends.onnx.schemas import check_version
from sateen.frontends.onnx.ties import Sums
from sateen.frontends.onnx.values import (
    REAL,
    UNLIMITED,
    Deferred,
    Dequantized,
    MakeResult,
    Quantization,
    QuantizedConstant,
    Value,
    plain,
    stored,
)
from sateen.graph import (
    Array,
    Dequantize,
    Graph,
    GraphError,
    Tensor,
    require,
)

__all__ = ["Handler", "Importer", "Operator"]

Handler = Callable[["Importer", Node], None]
"""Makes the graph's operators for one operator of the file. It reads all attributes and inputs that matter before it
returns, also if it makes the operators later; what it leaves unread must be at its default."""


FLOAT = 1
"""ONNX's number of float32."""
STORED: dict[int, tuple[str, ...]] = {2: ("int8",), 3: ("int8",), 6: ("int32",), 7: ("int32",)}
"""The types here of values that ONNX's types hold, by their numbers."""
MOVED = ("Clip", "Concat", "Resize", "Split", "Upsample")
"""Operators that leave what integers stand for as it is, beside those that are fused."""
QUANTIZED = {(kind, place) for kind in ("Add", "Div", "Mul", "Pow", "PRelu", "Sub") for place in (0, 1)}
QUANTIZED |= {(kind, 1) for kind in ("Conv", "ConvTranspose", "Gemm", "MatMul")}
"""Operators, and places of inputs, whose constants are quantized if the operator is to be computed in integers."""


@dataclass(frozen=True)
class Operator:
    """How operators of one kind are imported."""

    handler: Handler
    versions: tuple[int, ...]
    """The versions of its definition that the handler implements, by the opsets that introduced them."""
    fused: bool = False
    """Whether it becomes part of the layer whose result it takes, if that is not quantized before."""


class Importer(Builder):
    """Builds a graph. Handlers of operators add tensors and operators to it."""

    def __init__(self, model: OnnxModel, name: str, alike: Set[str] = frozenset()):
        """``alike`` are results that an earlier import found to be as their inputs are."""
        made = (name for node in model.nodes for name in node.outputs)
        super().__init__({*model.constants, *model.inputs, *made}, free=model.free)
        self.model, self.name = model, name
        self.values: dict[str, Value] = dict(model.constants)
        self._read = {*model.outputs, *(name for node in model.nodes for name in node.inputs if name)}
        self._rounded: dict[str, float] = {}
        self._real_operators: Mapping[str, Operator] = {}
        self._reals: dict[str, Tensor] = {}
        self._makers = {name: node for node in model.nodes for name in node.outputs}
        self.alike: set[str] = set()
        """Results of Expand that are as their inputs are."""
        # With a free batch other interpreters do not know that.
        self.optimized = optimized(model, frozenset() if model.free else alike)
        """What onnxruntime makes of the file."""

    def graph(self, operators: Mapping[str, Operator], reals: Mapping[str, Operator] | None = None) -> Graph:
        """The graph of the whole model. ``operators`` are by their kinds; ``reals`` are those of which the host can
        compute the real result."""
        self._real_operators = reals or {}
        require(
            len(self.model.inputs) > 0 and len(self.model.outputs) > 0, "file", "its graph has no input or no output"
        )
        for node in self.model.nodes:
            check_static(node)
            known = node.kind in operators or node.kind in self._real_operators
            require(known, node, f"{node.kind} is not supported; {remedy_of(node)}")
        if self._real_operators:
            check_quantized(self.model)
        for node in self.model.nodes:
            if node.kind == "Constant":
                self._import(node, operators)
        for name, (kind, shape) in self.model.inputs.items():
            self.values[name] = self._input(name, kind, shape, operators)
        for node in self.model.nodes:
            if node.kind != "Constant":
                self._import(node, operators)
        outputs = [self._output(name) for name in self.model.outputs]
        self._note_rounded()
        self.drop_unread({*outputs, *self.model.inputs})
        return Graph(
            name=self.name, tensors=self.tensors, ops=self.ops, inputs=list(self.model.inputs), outputs=outputs,
            notes=tuple(self.notes),
        )  # fmt: skip

    def kernel(self, node: Node, rank: int = 2) -> Kernel:
        """What computes an operator in onnxruntime, on a first input with so many axes."""
        name, found = node.outputs[0], self.optimized
        return (found.rows if rank > 2 and name in found.rows else found.kernels).get(name, Kernel.CODES)

    def compare_sums(
        self, node: Node, made: Tensor, sums: Callable[[], Sums], limits: tuple[int, int] | None = None, *,
        in_units: bool = True,
    ) -> None:  # fmt: skip
        """Notes a layer that onnxruntime computes with real numbers, if its results may differ: codes within
        ``limits``, or real numbers; and one that it computes with codes, if its bias is not ``in_units`` of the sums,
        which is taken for that."""
        source = self.tensors[self.ops[-1].inputs[0]]
        if self.kernel(node, len(source.file_shape)) is not Kernel.REAL:
            if not in_units:
                self.biased.append(node)
            return
        if limits is None:
            differ = not sums().is_exact()
        else:
            low, high = (limit - made.zero_point for limit in limits)
            differ = sums().differ(made.scale, range(low, high + 1))
        if differ:
            self.open[made.name] = node

    def rounds(self, node: Node, error: float) -> None:
        """Notes that an operator's constants are rounded: by how much its result differs for it, in steps."""
        if error > 0:
            self._rounded[str(node)] = max(error, self._rounded.get(str(node), 0.0))

    def _note_rounded(self) -> None:
        if self._rounded:
            node, error = max(self._rounded.items(), key=lambda item: item[1])
            self.notes.append(
                f"{len(self._rounded)} layers have biases that are no whole numbers of their sums' units and are "
                f"rounded; {node} most, by {error:.2g} steps of its result"
            )

    def _import(self, node: Node, operators: Mapping[str, Operator]) -> None:
        source = self.optimized.removed.get(node.outputs[0]) if node.kind in NEUTRAL and node.outputs else None
        if source is not None:
            self.values[node.outputs[0]] = self.values[source]
            return
        operator = operators.get(node.kind)
        if node.kind in self._real_operators and (operator is None or self._is_real(node, fused=operator.fused)):
            operator = self._real_operators[node.kind]
        assert operator is not None
        schema = node.schema
        require(schema is not None, node, f"the file's opset has no {node.kind}; export the model with a later one")
        assert schema is not None
        check_version(node, schema, node.kind, operator.versions)
        node.check_known(schema)
        require(len(node.outputs) > 0, node, "it has no output; export the model anew")
        operator.handler(self, node)
        node.check_used()
        for place, name in enumerate(node.outputs):
            missing = name in self._read and name not in self.values
            require(not missing, node, f"its output {place}, {name!r}, is not supported; export the model without it")

    def _input(self, name: str, kind: str, shape: tuple[int, ...], operators: Mapping[str, Operator]) -> Tensor:
        who = f"tensor {name!r}"
        known = kind in ("FLOAT", "INT8", "UINT8")
        require(known, who, f"its type {kind} is not supported; give the model a float input or an int8 one")
        if kind == "FLOAT":
            # The file may have channels last: then they are fewer than the rows.
            last = len(shape) == 4 and shape[3] < shape[1]
            return self.add_tensor(name, shape, Quantization(1.0, 0, False), dtype="float32", image=not last)
        return self.add_tensor(name, shape, self._input_quantization(name, kind.lower(), operators), image=True)

    def _input_quantization(self, name: str, stored: str, operators: Mapping[str, Operator]) -> Quantization:
        """The quantization of an integer input, which its first reader states, perhaps behind operators that move its
        values; if none does, they stand for themselves."""
        names = {name}
        for node in self.model.nodes:
            read = next((other for other in node.inputs if other in names), None)
            if read is not None and (
                node.operator_form or node.kind.removeprefix("com.microsoft.") == "DequantizeLinear"
            ):
                # A copy: the operator's handler is to use its scale, too.
                found = self.quantization(replace(node, used=set()), node.inputs.index(read) + 1, stored)
                self.check_stored(node, name, stored == "uint8", found)
                return found
            operator = operators.get(node.kind)
            if read is not None and (node.kind in MOVED or operator is not None and operator.fused):
                names.update(node.outputs)
        return plain(stored == "uint8")

    def _output(self, name: str) -> str:
        value = self.values.get(name)
        require(value is not None, "file", f"no operator makes its output {name!r}")
        constant = isinstance(value, QuantizedConstant | np.ndarray)
        require(not constant, f"tensor {name!r}", "it is an output, and a constant; export the model without it")
        return value.name if isinstance(value, Tensor) else self._real(f"tensor {name!r}", name).name

    def _is_real(self, node: Node, *, fused: bool) -> bool:
        """Whether an operator is computed with real numbers: an input is nothing else, or the result of a layer that
        it does not take part in; or a Cast makes another type of it."""
        to = int(node.attributes.get("to", 0)) if node.kind == "Cast" else 0
        for place, name in enumerate(node.inputs):
            value = self.values.get(name)
            if isinstance(value, Tensor):
                if value.dtype == "float32" or node.kind == "Cast" and value.dtype not in STORED.get(to or 0, ()):
                    return True
            elif node.kind == "Cast" and to != FLOAT:
                return not isinstance(value, np.ndarray)
            elif isinstance(value, Deferred):
                if not value.has_codes and not fused:
                    return True
            elif isinstance(value, np.ndarray) and value.dtype == np.float32:
                found = node.kind == "Concat" or (node.kind, place) in QUANTIZED
                if found:
                    return True
        return False

    def is_stated(self, node: Node, place: int) -> bool:
        """Whether a constant input is the file's, and not computed from shapes, in which a free batch is 1."""
        maker = self._makers.get(node.inputs[place])
        return maker is None or maker.kind == "Constant"

    def is_read_once(self, name: str) -> bool:
        """Whether one input of one operator reads a tensor, and it is no output."""
        count = sum(other == name for node in self.model.nodes for other in node.inputs)
        return count == 1 and name not in self.model.outputs

    def import_real(self, node: Node) -> None:
        """Computes an operator with real numbers."""
        operator = self._real_operators.get(node.kind)
        require(operator is not None, node, f"{node.kind} is not supported on these inputs; split it off")
        assert operator is not None
        operator.handler(self, node)

    def real(self, node: Node, place: int = 0) -> Tensor:
        """The real values of an input that is no constant."""
        value = self.value(node, place)
        if isinstance(value, Tensor) and value.dtype == "float32":
            return value
        require(not isinstance(value, Tensor), node, f"its input {node.inputs[place]!r} is integers, not real numbers")
        return self._real(node, node.inputs[place])

    def _real(self, who: object, name: str) -> Tensor:
        if name in self._reals:
            return self._reals[name]
        value, free = self.values[name], name if name not in self.tensors else self.name_of(f"{name}.real")
        if isinstance(value, Deferred) and value.has_codes and value.inherited is not None:
            value = Dequantized(value.make(self.name_of(f"{name}.codes"), value.inherited, value.limits))
            self.values[name] = value
        if isinstance(value, Dequantized):
            x = value.tensor
            made = self.put(free, x.shape, REAL, x.file_layout, dtype="float32")
            self.ops.append(Dequantize(name=self.op_name(f"{free}.dequantize"), input=x.name, output=free))
            self._reals[name] = made
        elif isinstance(value, Deferred) and value.real is not None:
            self._reals[name] = value.real(free)
        else:
            constant = isinstance(value, QuantizedConstant | np.ndarray)
            require(not constant, who, f"its input {name!r} is a constant, which is not supported; fold the operator")
            maker = self._makers[name]
            operator = self._real_operators.get(maker.kind)
            require(
                operator is not None,
                who,
                f"it needs real numbers of {maker}, whose result is quantized here; place QuantizeLinear and "
                "DequantizeLinear behind that",
            )
            assert operator is not None
            operator.handler(self, maker)
        return self._reals[name]

    def set_real(self, node: Node, result: Tensor, place: int = 0) -> None:
        """States an operator's real result."""
        name = node.outputs[place]
        self._reals[name] = result
        self.values.setdefault(name, result)

    def real_name(self, node: Node, place: int = 0) -> str:
        """A name for an operator's real result."""
        name = node.outputs[place]
        return name if name not in self.tensors else self.name_of(f"{name}.real")

    def quantization(self, node: Node, place: int, stored: str = "uint8") -> Quantization:
        """The scale and the zero point at two consecutive places of an operator's inputs. The zero point's type is that
        of the codes, which is ``stored`` if it is left out."""
        scale, zero_point = self.constant(node, place), self.constant(node, place + 1, np.zeros((), stored))
        require(scale.size == 1 and zero_point.size == 1, node, "activations must have one scale for all channels")
        require(
            zero_point.dtype in (np.int8, np.uint8),
            node,
            f"its codes are {zero_point.dtype}, not int8 or uint8; quantize to 8 bits",
        )
        unsigned = zero_point.dtype == np.uint8
        value = float(self.scales(node, place)[0])
        require(
            np.isfinite(value) and value > 0,
            node,
            f"its scale {node.inputs[place]!r} must be finite and above 0, not {value!r}",
        )
        return Quantization(value, int(zero_point.reshape(-1)[0]) - (128 if unsigned else 0), unsigned)

    def scales(self, node: Node, place: int) -> Array:
        """A constant input of scales: one, or a list."""
        values = self.constant(node, place)
        good = values.dtype == np.float32
        require(good, node, f"its scale {node.inputs[place]!r} is {values.dtype}; export the model in float32")
        good = values.size == 1 or values.ndim == 1
        require(good, node, f"its scales {node.inputs[place]!r} are in blocks of {values.shape}; quantize by channel")
        return values.reshape(-1)

    def constant(self, node: Node, place: int, default: Array | None = None) -> Array:
        """A constant input."""
        node.used.add(place)
        if not node.has(place):
            require(default is not None, node, f"its input {place} is missing; export the model anew")
            assert default is not None
            return default
        value = self.values.get(node.inputs[place])
        require(
            isinstance(value, np.ndarray),
            node,
            f"its input {node.inputs[place]!r} must be a constant; it is computed at run time",
        )
        assert isinstance(value, np.ndarray)
        return value

    def integers(self, node: Node, place: int, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A constant input of whole numbers."""
        values = self.constant(node, place, None if default is None else np.array(default, np.int64))
        require(values.dtype.kind in "iu", node, f"its input {place} must be whole numbers, not {values.dtype}")
        return tuple(int(value) for value in values.reshape(-1))

    def value(self, node: Node, place: int = 0) -> Value:
        """An input of any kind."""
        node.used.add(place)
        require(node.has(place), node, f"its input {place} is missing; export the model anew")
        name = node.inputs[place]
        require(name in self.values, node, f"its input {name!r} is not known; export the model anew")
        return self.values[name]

    def set_result(self, node: Node, make: MakeResult, place: int = 0, stored: str = "uint8") -> None:
        """Makes the operator's result: at once in operator form, with the quantization at ``place`` of the inputs; in
        QDQ form when it is quantized."""
        name = node.outputs[0]
        if node.operator_form:
            self.values[name] = make(name, self.quantization(node, place, stored), UNLIMITED)
        else:
            self.values[name] = Deferred(make)

    def quantized_input(self, node: Node, place: int = 0) -> Tensor:
        """The integers of a real input."""
        value = self.value(node, place)
        if isinstance(value, Deferred) and value.has_codes and value.inherited is not None:
            value = Dequantized(value.make(self.name_of(f"{node.inputs[place]}.codes"), value.inherited, value.limits))
            self.values[node.inputs[place]] = value
        if isinstance(value, Dequantized):
            return value.tensor
        coded = isinstance(value, Tensor) and value.dtype != "float32"
        require(not coded, node, f"its input {node.inputs[place]!r} is integers; dequantize them first")
        raise GraphError(
            f"{node}: its input {node.inputs[place]!r} is not quantized, and {node.kind} needs that here; "
            "place QuantizeLinear and DequantizeLinear before it"
        )

    def codes(self, node: Node, place: int = 0) -> Tensor:
        """The integers that an operator takes: in QDQ form those of a real input; in operator form the input's, which
        stand for what the next two inputs say."""
        if not node.operator_form:
            return self.quantized_input(node, place)
        value = self.value(node, place)
        name, good = node.inputs[place], isinstance(value, Tensor) and value.dtype == "int8"
        constant = isinstance(value, QuantizedConstant | np.ndarray)
        require(not constant, node, f"its input {name!r} is a constant, which {node.kind} cannot take here; fold it")
        require(good, node, f"its input {name!r} is no int8 or uint8 tensor; quantize to 8 bits")
        assert isinstance(value, Tensor)
        return self.restated(node, value, self.quantization(node, place + 1, stored(value)))
