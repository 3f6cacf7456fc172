"""Reads TensorFlow Lite files into plain records, with checks: no damaged file takes long or much memory to read.

The parser stays in this module. Users of the records meet none of its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tflite

from sateen.frontends.tflite.options import Options, newer_fields
from sateen.graph import Array, GraphError, one_line, require

__all__ = ["IDENTIFIER", "STATES", "RawModel", "RawOperator", "RawTensor", "read"]

IDENTIFIER = b"TFL3"
"""Bytes 4 to 7 of a file."""


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


KINDS = _names(tflite.BuiltinOperator)
TYPES = {19: "INT2", 20: "UINT4", 21: "FLOAT8_E4M3FN", 22: "FLOAT8_E5M2", **_names(tflite.TensorType)}
"""Types of tensors, also those that this version of the schema lacks."""
OPTIONS = _names(tflite.BuiltinOptions)
DETAILS = {1: "custom", 2: "blockwise", 3: "along several axes"}
"""Kinds of quantization that a scale and a zero point do not describe."""
STATES = {"SVDF": (4,), "UNIDIRECTIONAL_SEQUENCE_LSTM": (18, 19)}
"""Kinds of operators that keep states, and the places of these among their inputs."""
SCHEMA = 3
"""The version that every file states."""
DTYPES = {
    "INT4": "<i1",
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
    "BOOL": "?",
}


@dataclass(frozen=True, kw_only=True)
class RawTensor:
    """A tensor as the file has it."""

    index: int
    label: str
    shape: tuple[int, ...]
    type: str
    """A name in the schema's TensorType, such as ``INT8``."""
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    """The axis along which scales differ."""
    data: Array | None
    """The values of a constant."""
    variable: bool = False
    """Whether its values live from one run to the next."""

    def __str__(self) -> str:
        return f"tensor 't{self.index}'" + (f" ({self.label})" if self.label else "")


@dataclass(frozen=True, kw_only=True)
class RawOperator:
    """An operator as the file has it."""

    index: int
    kind: str
    """A name in the schema's BuiltinOperator, such as ``CONV_2D``, or ``CUSTOM``."""
    custom: str
    """The name of a custom operator."""
    inputs: tuple[int, ...]
    """Indexes of tensors; −1 where an optional one is left out."""
    outputs: tuple[int, ...]
    table: Options | None
    """The options' fields, by the schema's names; ``None`` if there are no options."""
    table_kind: str
    """A name in the schema's BuiltinOptions, such as ``Conv2DOptions``."""
    version: int = 1
    padding: tuple[tuple[int, int], tuple[int, int]] | None = None
    """((top, bottom), (left, right)) in place of what the options say; see :mod:`.dilation`."""
    used: set[int] = field(default_factory=set, compare=False)
    """Places of the inputs that the importer has read."""

    def __str__(self) -> str:
        return f"operator {self.index} ({self.custom or self.kind})"

    def options(self, kind: type) -> Options:
        """The options, which must be of a class of the schema."""
        require(self.table is not None, self, "its options are missing; convert the model anew")
        assert self.table is not None
        good = self.table_kind == kind.__name__
        require(
            good, self, f"its options are {self.table_kind}, not {kind.__name__}; convert or download the model anew"
        )
        return self.table


@dataclass(frozen=True, kw_only=True)
class RawModel:
    """The parts of a file that matter here."""

    tensors: Sequence[RawTensor]
    operators: Sequence[RawOperator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int = 1
    """Of the file; those behind the first are left out."""
    called: Mapping[int, RawModel] = field(default_factory=dict)
    """Of these the ones that CALL_ONCE names, by number."""

    @property
    def batch(self) -> int:
        """The size that all inputs and outputs begin with, which is that of a batch; 1 if they disagree."""
        shapes = [self.tensors[index].shape for index in (*self.inputs, *self.outputs)]
        leading = {shape[0] for shape in shapes if shape}
        return leading.pop() if len(leading) == 1 and all(shapes) else 1


def _text(name: bytes | None) -> str:
    """A name in one line."""
    return one_line((name or b"").decode("utf-8", "replace"))


def read(data: bytes) -> RawModel:
    """The first subgraph of a file.

    Raises
    ------
    GraphError
        If the file is damaged or none of TensorFlow Lite.
    """
    require(data[4:8] == IDENTIFIER, "file", "it is no TensorFlow Lite model; its bytes 4 to 7 must be TFL3")
    with _guarded("file", "it is damaged"):
        return _Reader(data).model()


@contextmanager
def _guarded(who: object, what: str) -> Iterator[None]:
    """Turns any exception of the parser into a :class:`GraphError`.

    The parser trusts the file; a damaged one makes it raise nearly anything.
    """
    try:
        yield
    except GraphError:
        raise
    except Exception as error:
        raise GraphError(
            f"{who}: {what} ({type(error).__name__}: {error}); convert or download the model anew"
        ) from error


def _halves(raw: bytes, count: int) -> bytes:
    """``count`` values of 4 bits as such of 8 bits; the lower half of a byte comes first."""
    pairs = np.frombuffer(raw, np.int8)
    values = np.stack([(pairs << 4) >> 4, pairs >> 4], axis=-1).reshape(-1)
    # An odd count leaves half a byte.
    return values[: len(values) - (len(values) - count == 1)].tobytes()


def _number(code: Any) -> int:
    """The number of an operator's kind, from the field that has replaced an older one of 8 bits.

    The package's own reader returns the older field for numbers below 127, and some tools leave that out.
    """
    place = code._tab.Offset(10)
    return int.from_bytes(code._tab.Bytes[code._tab.Pos + place :][:4], "little", signed=True) if place else 0


class _Reader:
    def __init__(self, data: bytes):
        self.data = data
        self.file = tflite.Model.GetRootAsModel(data, 0)

    def model(self) -> RawModel:
        """The records."""
        require(self.file.SubgraphsLength() > 0, "file", "it holds no graph")
        version = self.file.Version()
        require(
            version == SCHEMA, "file", f"its schema has the version {version}, not {SCHEMA}; convert the model anew"
        )
        model = self._graph(0)
        numbers = {
            operator.options(tflite.CallOnceOptions).InitSubgraphIndex
            for operator in model.operators
            if operator.kind == "CALL_ONCE"
        }
        there = [number for number in sorted(numbers) if 0 < number < model.subgraphs]
        return replace(model, called={number: self._graph(number) for number in there})

    def _graph(self, number: int) -> RawModel:
        graph = self.file.Subgraphs(number)
        count = self._count(graph.TensorsLength())
        return RawModel(
            tensors=[self._tensor(index, graph.Tensors(index)) for index in range(count)],
            operators=[
                self._operator(index, graph.Operators(index), count)
                for index in range(self._count(graph.OperatorsLength()))
            ],
            inputs=self._indexes("graph", graph.InputsLength(), graph.Inputs, count),
            outputs=self._indexes("graph", graph.OutputsLength(), graph.Outputs, count),
            subgraphs=self.file.SubgraphsLength(),
        )

    def _count(self, length: int) -> int:
        """A vector's length, checked against the size of the file."""
        if length > len(self.data):
            raise ValueError(f"a list of {length} entries in {len(self.data)} bytes")
        return length

    def _indexes(
        self, who: object, length: int, get: Callable[[int], int], count: int, least: int = 0
    ) -> tuple[int, ...]:
        indexes = tuple(int(get(place)) for place in range(self._count(length)))
        for index in indexes:
            require(
                least <= index < count, who, f"it names tensor {index}, but there are {count}; convert the model anew"
            )
        return indexes

    def _tensor(self, index: int, tensor: Any) -> RawTensor:
        require(tensor is not None, f"tensor {index}", "it is missing")
        kind = TYPES.get(tensor.Type(), f"type {tensor.Type()}")
        shape = tuple(int(tensor.Shape(axis)) for axis in range(self._count(tensor.ShapeLength())))
        quantization = tensor.Quantization()
        scales: tuple[float, ...] = ()
        zero_points: tuple[int, ...] = ()
        if quantization is not None:
            scales = tuple(float(quantization.Scale(i)) for i in range(self._count(quantization.ScaleLength())))
            zero_points = tuple(
                int(quantization.ZeroPoint(i)) for i in range(self._count(quantization.ZeroPointLength()))
            )
        label = _text(tensor.Name())
        who = f"tensor 't{index}'" + (f" ({label})" if label else "")
        self._plain(who, tensor, quantization)
        data, variable = self._constant(who, tensor.Buffer(), kind, shape), bool(tensor.IsVariable())
        require(data is None or not variable, who, "it is a variable, but the file has its values; convert it without")
        return RawTensor(
            index=index, label=label, shape=shape, type=kind, scales=scales, zero_points=zero_points,
            axis=quantization.QuantizedDimension() if quantization is not None else 0,
            data=data, variable=variable,
        )  # fmt: skip

    def _plain(self, who: str, tensor: Any, quantization: Any) -> None:
        """Checks that no field of a tensor says what a :class:`RawTensor` does not.

        Left out are ``min`` and ``max``, which record a calibration, and ``shape_signature`` and ``has_rank``, which
        tell what other shapes the tensor could have.
        """
        require(tensor.Sparsity() is None, who, "it is sparse; convert the model without sparsity")
        require(tensor.VariantTensorsLength() == 0, who, "it is a variant, which is not supported")
        newer = newer_fields(tensor._tab, "Tensor")
        require(not newer, who, f"it has the {', '.join(newer)}, which is newer than what is known here")
        if quantization is not None:
            details = quantization.DetailsType()
            kind = DETAILS.get(details, f"of kind {details}")
            require(details == 0, who, f"its quantization is {kind}, which is not supported; quantize it per channel")

    def _constant(self, who: str, buffer: int, kind: str, shape: tuple[int, ...]) -> Array | None:
        require(buffer < self.file.BuffersLength(), who, f"its buffer {buffer} is missing; convert the model anew")
        raw = self._bytes(who, self.file.Buffers(buffer))
        if not raw or kind not in DTYPES:
            return None
        dtype = np.dtype(DTYPES[kind])
        if kind == "INT4":
            raw = _halves(raw, int(np.prod(shape, dtype=object)))
        good = len(raw) == int(np.prod(shape, dtype=object)) * dtype.itemsize and all(size >= 0 for size in shape)
        require(good, who, f"its {len(raw)} bytes do not fill its shape {shape} of {kind}; convert the model anew")
        return np.frombuffer(raw, dtype).reshape(shape)

    def _bytes(self, who: str, buffer: Any) -> bytes:
        """A buffer's bytes, which in files beyond 2 GiB stand behind the tables."""
        if buffer is None:
            return b""
        begin, size = buffer.Offset(), buffer.Size()
        if begin > 1:
            require(begin + size <= len(self.data), who, "its buffer lies outside of the file; download the model anew")
            return self.data[begin : begin + size]
        return bytes(buffer.DataAsNumpy()) if buffer.DataLength() else b""

    def _operator(self, index: int, operator: Any, count: int) -> RawOperator:
        code = self.file.OperatorCodes(operator.OpcodeIndex())
        require(operator.OpcodeIndex() < self.file.OperatorCodesLength(), f"operator {index}", "its code is missing")
        number = max(_number(code), code.DeprecatedBuiltinCode())
        kind = KINDS.get(number, f"kind {number}")
        who, custom = f"operator {index} ({kind})", _text(code.CustomCode())
        table_kind = OPTIONS.get(operator.BuiltinOptionsType(), f"kind {operator.BuiltinOptionsType()}")
        with _guarded(f"operator {index} ({custom or kind})", "its options are damaged"):
            table = self._options(table_kind, operator.BuiltinOptions())
        if kind != "CUSTOM":
            self._ordinary(who, kind, operator)
        return RawOperator(
            index=index, kind=kind, custom=custom, version=code.Version(),
            inputs=self._indexes(who, operator.InputsLength(), operator.Inputs, count, -1),
            outputs=self._indexes(who, operator.OutputsLength(), operator.Outputs, count),
            table=table, table_kind=table_kind,
        )  # fmt: skip

    def _ordinary(self, who: str, kind: str, operator: Any) -> None:
        """Checks that an operator has none of the fields that a :class:`RawOperator` lacks, except those of recurrent
        layers that say the same as their kind: which inputs are states, and what layer normalization computes with."""
        fields = {
            "custom options": operator.CustomOptionsLength() > 0 or operator.LargeCustomOptionsSize() > 0,
            "options of a second kind": operator.BuiltinOptions2Type() != 0,
            "intermediate tensors": operator.IntermediatesLength() > 0 and kind not in STATES,
            "variables that it changes": any(
                operator.MutatingVariableInputs(place) and place not in STATES.get(kind, ())
                for place in range(self._count(operator.MutatingVariableInputsLength()))
            ),
        }
        found = [name for name, given in fields.items() if given] + newer_fields(operator._tab, "Operator")
        require(not found, who, f"it has {', '.join(found)}, which is not supported; convert the model without")

    def _options(self, kind: str, table: Any) -> Options | None:
        if table is None or kind == "NONE":
            return None
        if kind not in OPTIONS.values():
            return Options(kind, {}, {})
        return Options.of(kind, table)
